package provider

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"mobileid/internal/db"
	"mobileid/internal/fault"
)

// badToken is the id under which bad access tokens of an address block count here;
// no client has it. Those at the REST API count by themselves: browsers behind one
// address, with tokens that have expired, are none of a backend's business.
const badToken = "userinfo"

// Userinfo is the userinfo endpoint (OIDC Core section 5.3), a resource that
// takes bearer tokens (RFC 6750). Its answer is JSON, or, for a client that is
// registered so, a JWT.
func (p *Provider) Userinfo(w http.ResponseWriter, r *http.Request) {
	c, claims, err := p.userinfo(w, r)
	if err == nil && c.Settings.UserinfoAlg != "" {
		if err = p.signedUserinfo(w, r, c, claims); err == nil {
			return
		}
	}
	if err == nil {
		writeJSON(w, http.StatusOK, claims)
		return
	}
	e := asProtocol(err)
	p.logFailure(r.Context(), e)
	challenge := `Bearer realm="` + p.issuer + `"`
	if e.code != "" {
		challenge += `, error="` + e.code + `", error_description="` + describe(e.description) + `"`
	}
	if e.code == codeInsufficientScope {
		challenge += `, scope="openid"`
	}
	switch e.status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		w.Header().Set("WWW-Authenticate", challenge)
	}
	comeBack(w.Header(), e)
	code := e.code
	if code == "" { // without a token there is no error to name (RFC 6750 section 3.1)
		code = codeInvalidToken
	}
	writeJSON(w, e.status, errorBody{code, describe(e.description)})
}

func (p *Provider) userinfo(w http.ResponseWriter, r *http.Request) (*db.Client, map[string]any, error) {
	token, err := bearer(w, r)
	if err != nil {
		return nil, nil, err
	}
	t, err := p.VerifyAccessToken(r.Context(), token)
	if fault.Is(err, fault.Unauthorized) { // good ones pass: the address may be a proxy's
		if over := p.failures.Take(r.Context(), p.clientIP(r), badToken); over != nil {
			return nil, nil, tooMany(over)
		}
		return nil, nil, &protocolError{http.StatusUnauthorized, codeInvalidToken, "the access token is unknown, has expired or was revoked", nil}
	}
	if err != nil {
		return nil, nil, err
	}
	if t.UserID == "" || !t.HasScope("openid") {
		return nil, nil, &protocolError{http.StatusForbidden, codeInsufficientScope, "the access token was not issued for scope openid", nil}
	}
	names := slices.Clone(t.record.InfoClaims)
	for _, s := range t.Scopes {
		names = append(names, claimsOf(s)...)
	}
	claims, err := p.aboutClaims(r.Context(), t.UserID, names)
	if err != nil {
		return nil, nil, err
	}
	claims["sub"] = t.UserID
	return t.Client, claims, nil
}

// signedUserinfo answers with a JWT (OIDC Core section 5.3.2). Its typ keeps it
// from being taken for an ID token.
func (p *Provider) signedUserinfo(w http.ResponseWriter, r *http.Request, c *db.Client, claims map[string]any) error {
	claims["iss"], claims["aud"], claims["iat"] = p.issuer, c.ID, p.clk.Now().Unix()
	payload, err := json.Marshal(claims)
	if err != nil {
		return err
	}
	text, err := p.sign(r.Context(), c.Settings.UserinfoAlg, typUserinfo, payload)
	if err != nil {
		return err
	}
	write(w, http.StatusOK, "application/jwt", []byte(text))
	return nil
}

// bearer reads the access token from the one place it may be in: the header, or
// the body of a form (RFC 6750 section 2). In a URL it would end up in logs.
func bearer(w http.ResponseWriter, r *http.Request) (string, error) {
	bad := func(description string) (string, error) { return "", refuse(codeInvalidRequest, description) }
	if r.URL.RawQuery != "" && r.URL.Query().Has("access_token") {
		return bad("access_token may not be sent in the URL")
	}
	headers := r.Header["Authorization"]
	if len(headers) > 1 {
		return bad("the Authorization header is given more than once")
	}
	token := ""
	if len(headers) == 1 {
		scheme, rest, _ := strings.Cut(headers[0], " ")
		if token = strings.TrimSpace(rest); !strings.EqualFold(scheme, "Bearer") || token == "" {
			return "", &protocolError{status: http.StatusUnauthorized, description: "the Authorization header must use the Bearer scheme"}
		}
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		form, err := bearerForm(r)
		if err != nil {
			return "", err
		}
		if v := form["access_token"]; len(v) > 0 {
			if token != "" || len(v) > 1 {
				return bad("the access token is sent more than once")
			}
			token = v[0]
		}
	default:
		w.Header().Set("Allow", "GET, POST")
		return "", &protocolError{status: http.StatusMethodNotAllowed, code: codeInvalidRequest, description: "the method must be GET or POST"}
	}
	if token == "" {
		return "", &protocolError{status: http.StatusUnauthorized, description: "an access token is needed"}
	}
	return token, nil
}

// bearerForm reads the form of a POST; a body of another type holds no token.
func bearerForm(r *http.Request) (map[string][]string, error) {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return nil, nil
	}
	return readBody(r)
}
