package provider

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"mobileid/flows"
	"mobileid/internal/audit"
	"mobileid/internal/db"
	"mobileid/internal/operation"
	"mobileid/internal/view"
)

// payment is what the tests pay, in its canonical form.
const payment = `[{"creditorName":"Bäckerei <A>","instructedAmount":{"amount":"12.50","currency":"EUR"},"type":"payment_initiation"}]`

// recomputed is the hash that a relying party makes of details it was given: keys
// sorted, no blanks, nothing escaped that need not be (RFC 8785).
func recomputed(t *testing.T, details any) string {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(details); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(bytes.TrimSpace(buf.Bytes()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// signed writes the decision of an operation in which the user approved details.
func (h *house) signed(id, clientID, details string) operation.Outcome {
	h.t.Helper()
	sum := sha256.Sum256([]byte(details))
	out := operation.Outcome{OperationID: id, Kind: operation.KindAuthentication, State: operation.Completed, MerchantID: "mer_1", ClientID: clientID, UserID: h.user,
		DeviceID: h.device, At: h.clk.Now(), AMR: []string{"pop"}, ACR: operation.ACRWeb, ViewHash: "vh", DataHash: base64.RawURLEncoding.EncodeToString(sum[:]), Data: []byte(details)}
	err := h.db.Update(h.t.Context(), func(tx *db.Tx) error {
		return operation.Record(tx, audit.NewWriter(), out, []byte("[]"), "", nil)
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// cibaOf is an approved backchannel request whose details the store tells as asked.
func (h *house) cibaOf(asked string, out operation.Outcome) string {
	h.t.Helper()
	res := call(h.p.BackchannelAuthorize, h.as("cli_web", "/bc-authorize", form("scope", "openid", "login_hint", "anna", paramDetails, payment)))
	if res.StatusCode != 200 {
		h.t.Fatalf("bc-authorize: %d %s", res.StatusCode, res.text)
	}
	id := res.str("auth_req_id")
	h.flows.set(id, flows.BackchannelState{Status: flows.StatusApproved, Scopes: []string{"openid"}, Details: asked, Expires: h.clk.Now().Add(3 * time.Minute), Outcome: out})
	return id
}

func TestGrantedDetailsAreToldWithEveryToken(t *testing.T) {
	for _, format := range []string{"opaque", formatJWT} {
		t.Run(format, func(t *testing.T) {
			h := newHouse(t)
			h.change("cli_web", func(s *db.ClientSettings) { s.TokenFormat = format })
			out := h.signed("op_1", "cli_web", payment)
			check := func(name string, res reply) {
				t.Helper()
				if res.StatusCode != 200 || recomputed(t, res.json["authorization_details"]) != out.DataHash {
					t.Fatalf("%s: %d %s", name, res.StatusCode, res.text)
				}
				c := claims(t, res.str("id_token"))
				if c["txn"] != out.OperationID || c["mobileid_data_hash"] != out.DataHash || c["mobileid_view_hash"] != "vh" {
					t.Errorf("%s: ID token %v", name, c)
				}
				if format == formatJWT {
					if c := claims(t, res.str("access_token")); recomputed(t, c["authorization_details"]) != out.DataHash {
						t.Errorf("%s: access token %v", name, c)
					}
				}
				for _, token := range []string{"access_token", "refresh_token"} {
					in := call(h.p.Introspect, h.as("cli_web", "/introspect", form("token", res.str(token))))
					if in.json["active"] != true || recomputed(t, in.json["authorization_details"]) != out.DataHash {
						t.Errorf("%s: introspection of %s: %s", name, token, in.text)
					}
				}
			}
			res := h.redeem(h.code(paramDetails, " "+strings.Replace(payment, `"EUR"`, ` "\u0045UR" `, 1)))
			check("code", res)
			check("refresh", h.token("grant_type", grantToken, "refresh_token", res.str("refresh_token")))
			out = h.signed("op_2", "cli_web", payment)
			check("ciba", h.token("grant_type", grantCIBA, "auth_req_id", h.cibaOf(payment, out)))
		})
	}
}

func TestD21_AmountOrPayeeChangedByOneByteAnywhereFails(t *testing.T) {
	for name, swap := range map[string][2]string{"amount": {"12.50", "12.51"}, "payee": {"<A>", "<B>"}, "currency": {"EUR", "EUS"}, "dropped": {payment, ""}} {
		changed := strings.Replace(payment, swap[0], swap[1], 1)
		t.Run(name+": between the approval and the code", func(t *testing.T) {
			h := newHouse(t)
			h.signed("op_1", "cli_web", changed)
			res := h.authorize(get(request(paramDetails, payment)))
			to, err := res.Location()
			if err != nil || to.Query().Get("error") != codeAccessDenied || to.Query().Has("code") {
				t.Errorf("%d %s %s", res.StatusCode, res.Header.Get("Location"), res.text)
			}
		})
		t.Run(name+": in what a code stands for", func(t *testing.T) {
			h := newHouse(t)
			h.signed("op_1", "cli_web", payment)
			code := h.code(paramDetails, payment)
			h.rewrite(codeKey(digest(code)), func(r *record) { r.Details = changed })
			h.redeem(code).refuses(t, 400, codeInvalidGrant)
		})
		t.Run(name+": with its hash", func(t *testing.T) {
			h := newHouse(t)
			h.signed("op_1", "cli_web", payment)
			code := h.code(paramDetails, payment)
			h.rewrite(codeKey(digest(code)), func(r *record) { r.Details, r.DataHash = changed, hashDetails(changed) })
			h.redeem(code).refuses(t, 400, codeInvalidGrant)
		})
		t.Run(name+": in a backchannel request", func(t *testing.T) {
			h := newHouse(t)
			id := h.cibaOf(changed, h.signed("op_1", "cli_web", payment))
			h.token("grant_type", grantCIBA, "auth_req_id", id).refuses(t, 400, codeInvalidGrant)
		})
		t.Run(name+": at the token endpoint", func(t *testing.T) {
			h := newHouse(t)
			h.signed("op_1", "cli_web", payment)
			h.redeem(h.code(paramDetails, payment), paramDetails, changed+" ").refuses(t, 400, codeInvalidDetails)
		})
	}
}

// rewrite changes a record in kv, as who can write there could.
func (h *house) rewrite(key string, change func(*record)) {
	h.t.Helper()
	val, err := h.kv.Get(h.t.Context(), key)
	if err != nil {
		h.t.Fatal(err)
	}
	r, err := decodeRecord(val)
	if err != nil {
		h.t.Fatal(err)
	}
	change(r)
	if err := h.kv.Swap(h.t.Context(), key, val, r.encode(), time.Minute); err != nil {
		h.t.Fatal(err)
	}
}

func TestD22_WhatTheUserApprovedGivesOneGrant(t *testing.T) {
	h := newHouse(t)
	out := h.signed("op_1", "cli_web", payment)
	first, second := h.code(paramDetails, payment), h.code(paramDetails, payment)
	if res := h.redeem(first); res.StatusCode != 200 {
		t.Fatalf("%s", res.text)
	}
	h.redeem(second).refuses(t, 400, codeInvalidGrant)
	h.token("grant_type", grantCIBA, "auth_req_id", h.cibaOf(payment, out)).refuses(t, 400, codeInvalidGrant)
	t.Run("and none to another client", func(t *testing.T) {
		h := newHouse(t)
		h.signed("op_1", "cli_other", payment)
		if to, err := h.authorize(get(request(paramDetails, payment))).Location(); err != nil || to.Query().Get("error") != codeAccessDenied {
			t.Errorf("%v %v", to, err)
		}
	})
}

func TestFaultyDetailsAreRefusedByNameInBothFlows(t *testing.T) {
	h := newHouse(t)
	for raw, says := range map[string]string{
		`{`:                                "authorization_details is not JSON",
		`[]`:                               "authorization_details must be a list",
		`[{"type":"account_information"}]`: "authorization_details[0].type is not known",
		strings.Replace(payment, `"12.50"`, `12.5`, 1):                     "authorization_details holds a number",
		strings.Replace(payment, `"EUR"`, `"EUX"`, 1):                      "authorization_details[0].instructedAmount.currency must be",
		strings.Replace(payment, `"creditorName"`, `"creditorname"`, 1):    "authorization_details[0].creditorname is not a member",
		strings.Replace(payment, `"type"`, `"creditorName":"B","type"`, 1): `authorization_details has the member`,
	} {
		res := call(h.p.BackchannelAuthorize, h.as("cli_web", "/bc-authorize", form("scope", "openid", "login_hint", "anna", paramDetails, raw)))
		res.refuses(t, 400, codeInvalidDetails)
		if !strings.HasPrefix(res.str("error_description"), says) {
			t.Errorf("%s: %s", raw, res.text)
		}
		to, err := h.authorize(get(request(paramDetails, raw))).Location()
		if err != nil || to.Query().Get("error") != codeInvalidDetails || !strings.HasPrefix(to.Query().Get("error_description"), says) {
			t.Errorf("%s: %v %v", raw, to, err)
		}
	}
	if len(h.flows.starts) != 0 {
		t.Errorf("%d requests were started", len(h.flows.starts))
	}
	t.Run("of a type the client is not registered for", func(t *testing.T) {
		res := call(h.p.BackchannelAuthorize, h.as("cli_other", "/bc-authorize", form("scope", "openid", "login_hint", "anna", paramDetails, payment)))
		res.refuses(t, 400, codeInvalidDetails)
	})
	t.Run("by a setting that names a type of nobody's", func(t *testing.T) {
		s := db.ClientSettings{GrantTypes: []string{grantClient}, DetailsTypes: append(view.Types(), "other")}
		if err := CheckClient(&s); err == nil || !strings.Contains(err.Error(), "authorization_details_types") {
			t.Error(err)
		}
	})
}

func FuzzAuthorizationDetails(f *testing.F) {
	f.Add(payment)
	f.Add(`[{"type":"mobileid_signature","content":"# a","contentType":"text/markdown"}]`)
	f.Fuzz(func(t *testing.T, raw string) {
		d, err := view.ParseDetails(paramDetails, []byte(raw), view.Types())
		if err != nil {
			return
		}
		var v any
		if err := json.Unmarshal(d.Canonical, &v); err != nil || recomputed(t, v) != hashDetails(string(d.Canonical)) && !strings.ContainsAny(raw, "\\\u2028\u2029\x7f") {
			t.Fatalf("%s: %v", d.Canonical, err)
		}
	})
}
