package provider

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/keys"
	"mobileid/internal/operation"
	"mobileid/internal/view"

	"github.com/go-jose/go-jose/v4"
)

// document is a public answer, made once, with its headers. Answers share their
// values, which are never written to.
type document struct {
	body   []byte
	etag   string
	header []docHeader
}

// docHeader is one header of a document, by its canonical name.
type docHeader struct {
	name  string
	value []string
}

func newDocument(v any, contentType string) (document, error) {
	body, err := json.Marshal(v)
	sum := sha256.Sum256(body)
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	return document{body, etag, []docHeader{
		{"Cache-Control", []string{"public, max-age=300"}}, {"Etag", []string{etag}}, {"Content-Type", []string{contentType}},
		{"Content-Length", []string{strconv.Itoa(len(body))}}, // without it net/http would cut a long body into chunks
	}}, err
}

// serve answers a GET with the document, which may be kept for five minutes.
func (d *document) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		writeJSON(w, http.StatusMethodNotAllowed, errorBody{codeInvalidRequest, "the method must be GET"})
		return
	}
	for _, always := range d.header {
		h[always.name] = always.value
	}
	if d.known(r.Header["If-None-Match"]) {
		h.Del("Content-Type")
		h.Del("Content-Length")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(d.body)
}

// known reports whether the caller has the document already (RFC 9110 section 13.1.2).
func (d *document) known(tags []string) bool {
	for _, list := range tags {
		for tag := range strings.SplitSeq(list, ",") {
			if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag == d.etag || tag == "*" {
				return true
			}
		}
	}
	return false
}

// metadata is the provider's description (OIDC Discovery section 3, RFC 8414,
// CIBA Core section 4, RFC 9207, the logout specifications). Its lists come from what the handlers use.
type metadata struct {
	Issuer                   string   `json:"issuer"`
	AuthorizationEndpoint    string   `json:"authorization_endpoint"`
	TokenEndpoint            string   `json:"token_endpoint"`
	UserinfoEndpoint         string   `json:"userinfo_endpoint"`
	JWKSURI                  string   `json:"jwks_uri"`
	BackchannelEndpoint      string   `json:"backchannel_authentication_endpoint"`
	IntrospectionEndpoint    string   `json:"introspection_endpoint"`
	RevocationEndpoint       string   `json:"revocation_endpoint"`
	EndSessionEndpoint       string   `json:"end_session_endpoint"`
	BackchannelLogout        bool     `json:"backchannel_logout_supported"`
	BackchannelLogoutSession bool     `json:"backchannel_logout_session_supported"`
	Scopes                   []string `json:"scopes_supported"`
	ResponseTypes            []string `json:"response_types_supported"`
	ResponseModes            []string `json:"response_modes_supported"`
	GrantTypes               []string `json:"grant_types_supported"`
	ACRValues                []string `json:"acr_values_supported"`
	SubjectTypes             []string `json:"subject_types_supported"`
	IDTokenAlgs              []string `json:"id_token_signing_alg_values_supported"`
	UserinfoAlgs             []string `json:"userinfo_signing_alg_values_supported"`
	DisplayValues            []string `json:"display_values_supported"`
	UILocales                []string `json:"ui_locales_supported"`
	Prompts                  []string `json:"prompt_values_supported"`
	AuthMethods              []string `json:"token_endpoint_auth_methods_supported"`
	AuthAlgs                 []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	IntrospectionAuthAlgs    []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	RevocationAuthAlgs       []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	IntrospectionAuthMethods []string `json:"introspection_endpoint_auth_methods_supported"`
	RevocationAuthMethods    []string `json:"revocation_endpoint_auth_methods_supported"`
	ChallengeMethods         []string `json:"code_challenge_methods_supported"`
	Claims                   []string `json:"claims_supported"`
	ClaimTypes               []string `json:"claim_types_supported"`
	DeliveryModes            []string `json:"backchannel_token_delivery_modes_supported"`
	BackchannelUserCode      bool     `json:"backchannel_user_code_parameter_supported"`
	ClaimsParameter          bool     `json:"claims_parameter_supported"`
	DetailsTypes             []string `json:"authorization_details_types_supported"` // RFC 9396 section 10
	RequestParameter         bool     `json:"request_parameter_supported"`
	RequestURIParameter      bool     `json:"request_uri_parameter_supported"` // true if left out
	AuthorizationResponseISS bool     `json:"authorization_response_iss_parameter_supported"`
}

// describe makes the metadata, with the class of attested hardware or without.
func (p *Provider) describe(further []string, hardware bool) (document, error) {
	claims := []string{"sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "txn", "sca", "at_hash", "mobileid_view_hash", "mobileid_data_hash"}
	scopes := []string{"openid", "offline_access"}
	for _, s := range claimScopes() {
		scopes = append(scopes, s)
		claims = append(claims, claimsOf(s)...)
	}
	for _, s := range further {
		if !contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	c := &client{}
	modes := make([]string, 0, 2)
	for _, m := range c.GetResponseModes() {
		modes = append(modes, string(m))
	}
	return newDocument(metadata{
		Issuer:                p.issuer,
		AuthorizationEndpoint: p.issuer + "/authorize", TokenEndpoint: p.issuer + "/token", UserinfoEndpoint: p.issuer + "/userinfo",
		JWKSURI: p.issuer + "/jwks", BackchannelEndpoint: p.issuer + "/bc-authorize",
		IntrospectionEndpoint: p.issuer + "/introspect", RevocationEndpoint: p.issuer + "/revoke",
		EndSessionEndpoint: p.issuer + "/logout", BackchannelLogout: true, BackchannelLogoutSession: true,
		Scopes: scopes, ResponseTypes: c.GetResponseTypes(), ResponseModes: modes, GrantTypes: slices.DeleteFunc(grantTypes(), func(g string) bool { return p.grants[g] == nil }),
		ACRValues: operation.Served(hardware), SubjectTypes: []string{"public"}, IDTokenAlgs: signatureAlgs(), UserinfoAlgs: signatureAlgs(),
		ClaimsParameter: true, DetailsTypes: view.Types(), DisplayValues: []string{"page"}, UILocales: view.Languages(), Prompts: prompts(),
		AuthMethods: append(confidentialMethods(), methodNone), RevocationAuthMethods: append(confidentialMethods(), methodNone), IntrospectionAuthMethods: confidentialMethods(),
		AuthAlgs: signatureAlgs(), IntrospectionAuthAlgs: signatureAlgs(), RevocationAuthAlgs: signatureAlgs(),
		ChallengeMethods: []string{"S256"},
		Claims:           claims, ClaimTypes: []string{"normal"}, DeliveryModes: []string{"poll"},
		AuthorizationResponseISS: true,
	}, "application/json")
}

// Discovery serves the metadata, for OpenID Connect and OAuth alike.
// While the database is away it says what was so last.
func (p *Provider) Discovery(w http.ResponseWriter, r *http.Request) {
	hardware, err := p.hardware(r.Context())
	if err != nil {
		p.log.WarnContext(r.Context(), "whether phones with attested keys log in is not known anew", "error", err)
	}
	if hardware {
		p.withHardware.serve(w, r)
		return
	}
	p.metadata.serve(w, r)
}

// hardwareCache keeps whether a login can end in the class of attested hardware.
type hardwareCache struct {
	asking  sync.Mutex   // held by the request that asks the database
	asked   atomic.Int64 // when last, Unix nanoseconds; 0: nothing is known yet
	reached atomic.Bool
}

// reachTimeout bounds how long the database is asked.
const reachTimeout = 5 * time.Second

// hardware is operation.HardwareReached of ClientFresh ago at most. One request asks
// the database, for all: whether it goes away changes nothing. Until the first answer
// the others wait for it; later they, and with an error all, go by what was so last.
func (p *Provider) hardware(ctx context.Context) (bool, error) {
	h := &p.reach
	if h.fresh(p.clk.Now()) {
		return h.reached.Load(), nil
	}
	if h.asked.Load() == 0 {
		h.asking.Lock()
	} else if !h.asking.TryLock() {
		return h.reached.Load(), nil
	}
	defer h.asking.Unlock()
	now := p.clk.Now()
	if h.fresh(now) {
		return h.reached.Load(), nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reachTimeout)
	defer cancel()
	var reached bool
	err := p.db.View(ctx, func(tx *db.Tx) (err error) {
		reached, err = operation.HardwareReached(tx, p.anchored)
		return err
	})
	if err == nil {
		h.reached.Store(reached)
	}
	h.asked.Store(now.UnixNano()) // after a failure too: a database that is away is not asked by everybody
	return h.reached.Load(), err
}

func (h *hardwareCache) fresh(now time.Time) bool {
	asked := h.asked.Load()
	old := now.UnixNano() - asked
	return asked != 0 && old >= 0 && old < ClientFresh.Nanoseconds()
}

// jwksCache keeps the key set of the ring's view it was made of.
type jwksCache struct {
	mu   sync.Mutex
	of   []*keys.Key
	made *document
}

// JWKS serves all published keys (RFC 7517), of every algorithm that a client
// uses. A key is published longer than the answer may be kept before it signs.
func (p *Provider) JWKS(w http.ResponseWriter, r *http.Request) {
	made, err := p.keySet(r.Context())
	if err != nil {
		p.writeError(r.Context(), w, err)
		return
	}
	made.serve(w, r)
}

func (p *Provider) keySet(ctx context.Context) (*document, error) {
	var room [8]*keys.Key // usually enough; what is kept is a copy
	all := room[:0]
	for _, purpose := range keys.Tokens() {
		some, err := p.ring.All(ctx, purpose)
		if err != nil {
			return nil, unavailable(err)
		}
		all = append(all, some...)
	}
	c := &p.jwks
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made != nil && slices.Equal(all, c.of) {
		return c.made, nil
	}
	set := jose.JSONWebKeySet{}
	for _, k := range all {
		set.Keys = append(set.Keys, k.Public)
	}
	made, err := newDocument(set, "application/jwk-set+json")
	if err != nil {
		return nil, err
	}
	c.of, c.made = slices.Clone(all), &made
	return c.made, nil
}
