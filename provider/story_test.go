package provider

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mobileid/flows"
	"mobileid/internal/operation"

	"encoding/json"
	"github.com/go-jose/go-jose/v4"
)

func TestALoginGivesTokensThatWork(t *testing.T) {
	h := newHouse(t)
	res := h.tokens("scope", "openid email phone")
	if res.str("token_type") != "Bearer" || res.json["expires_in"] != 300.0 || res.str("scope") != "openid email phone" || res.str("refresh_token") == "" {
		t.Errorf("answer %s", res.text)
	}
	c := claims(t, res.str("id_token"))
	now := float64(h.clk.Now().Unix())
	for k, want := range map[string]any{"iss": issuer, "sub": h.user, "aud": "cli_web", "nonce": "n", "acr": operation.ACRWeb, "sid": "sid_1",
		"txn": "op_1", "iat": now, "auth_time": now, "exp": now + 600} {
		if c[k] != want {
			t.Errorf("claim %s is %v, want %v", k, c[k], want)
		}
	}
	if c["at_hash"] == nil || c["sca"].(map[string]any)["kno"] != "pin" || len(c["amr"].([]any)) != 3 {
		t.Errorf("claims %v", c)
	}
	verifyIDToken(t, h, res.str("id_token"))
	for _, way := range []string{"header", "form"} {
		r := httptest.NewRequest(http.MethodGet, issuer+"/userinfo", nil)
		if way == "form" {
			r = post("/userinfo", form("access_token", res.str("access_token")).Encode())
		} else {
			r.Header.Set("Authorization", "Bearer "+res.str("access_token"))
		}
		info := call(h.p.Userinfo, r)
		if info.str("sub") != h.user || info.str("email") != "anna@example.com" || info.json["email_verified"] != true || info.str("phone_number") != "+44" || info.json["name"] != nil {
			t.Errorf("userinfo by %s: %d %s", way, info.StatusCode, info.text)
		}
	}
}

// verifyIDToken checks header and signature against the published keys.
func verifyIDToken(t *testing.T, h *house, token string) {
	t.Helper()
	var set jose.JSONWebKeySet
	res := call(h.p.JWKS, httptest.NewRequest(http.MethodGet, issuer+"/jwks", nil))
	if err := json.Unmarshal([]byte(res.text), &set); err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	head := jws.Signatures[0].Protected
	if _, err := jws.Verify(set.Key(head.KeyID)[0].Key); err != nil || head.ExtraHeaders["typ"] != "JWT" {
		t.Errorf("ID token: %v, header %v", err, head)
	}
	if strings.Contains(res.text, `"d"`) {
		t.Error("the key set holds a private key")
	}
}

func TestARefreshGivesANewTokenAndTheSameLogin(t *testing.T) {
	h := newHouse(t)
	first := h.tokens()
	h.clk.Advance(time.Hour)
	res := h.token("grant_type", grantToken, "refresh_token", first.str("refresh_token"))
	if res.StatusCode != 200 || res.str("refresh_token") == first.str("refresh_token") || !h.alive(res.str("access_token")) {
		t.Fatalf("refresh: %d %s", res.StatusCode, res.text)
	}
	was, is := claims(t, first.str("id_token")), claims(t, res.str("id_token"))
	if is["auth_time"] != was["auth_time"] || is["sub"] != was["sub"] || is["iat"] == was["iat"] || is["nonce"] != nil || is["acr"] != was["acr"] || is["at_hash"] == was["at_hash"] {
		t.Errorf("ID token after refresh %v, before %v", is, was)
	}
}

func TestClientCredentialsGiveATokenWithoutAUser(t *testing.T) {
	h := newHouse(t)
	res := h.token("grant_type", grantClient)
	if res.StatusCode != 200 || res.str("scope") != "users:write" || res.json["refresh_token"] != nil || res.json["id_token"] != nil {
		t.Fatalf("%d %s", res.StatusCode, res.text)
	}
	tok, err := h.p.VerifyAccessToken(t.Context(), res.str("access_token"))
	if err != nil || tok.ClientID != "cli_web" || tok.MerchantID != "mer_1" || tok.UserID != "" || !tok.HasScope("users:write") || tok.Client.ID != "cli_web" {
		t.Errorf("token %+v, %v", tok, err)
	}
	h.token("grant_type", grantClient, "scope", "openid").refuses(t, 400, codeInvalidScope)
	h.token("grant_type", grantClient, "scope", "other").refuses(t, 400, codeInvalidScope)
}

// ciba starts a backchannel request as cli_web and returns its id.
func (h *house) ciba() string {
	h.t.Helper()
	res := call(h.p.BackchannelAuthorize, h.as("cli_web", "/bc-authorize", form("scope", "openid", "login_hint", "anna", "binding_message", "Pay 10.50 EUR")))
	if res.StatusCode != 200 || res.str("mobileid_match_code") != "42" || res.json["expires_in"] != 180.0 || res.json["interval"] != 5.0 {
		h.t.Fatalf("bc-authorize: %d %s", res.StatusCode, res.text)
	}
	return res.str("auth_req_id")
}

// approve has the user say yes.
func (h *house) approve(id string) {
	h.flows.set(id, flows.BackchannelState{Status: flows.StatusApproved, Scopes: []string{"openid"}, Expires: h.p.clk.Now().Add(3 * time.Minute),
		Outcome: operation.Outcome{OperationID: "op_2", State: operation.Completed, UserID: h.user, DeviceID: h.device, At: h.p.clk.Now(), AMR: []string{"pop"}, ACR: operation.ACRWeb}})
}

func TestABackchannelRequestGivesTokensOnceApproved(t *testing.T) {
	h := newHouse(t)
	id := h.ciba()
	h.token("grant_type", grantCIBA, "auth_req_id", id).refuses(t, 400, "authorization_pending")
	h.approve(id)
	res := h.token("grant_type", grantCIBA, "auth_req_id", id)
	if res.StatusCode != 200 || !h.alive(res.str("access_token")) || res.str("refresh_token") == "" {
		t.Fatalf("%d %s", res.StatusCode, res.text)
	}
	c := claims(t, res.str("id_token"))
	if c["sub"] != h.user || c["txn"] != "op_2" || c["at_hash"] == nil || c["acr"] != operation.ACRWeb {
		t.Errorf("claims %v", c)
	}
	if h.flows.waited != 25*time.Second {
		t.Errorf("the poll was held %v", h.flows.waited)
	}
	if r := h.token("grant_type", grantToken, "refresh_token", res.str("refresh_token")); r.StatusCode != 200 {
		t.Errorf("refresh: %s", r.text)
	}
}
