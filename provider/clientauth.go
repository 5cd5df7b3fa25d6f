package provider

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"mobileid/internal/db"
)

// presented is what a request says about who the client is.
type presented struct {
	method, id, secret string
}

// authenticateClient finds out which client sent the request and makes it prove
// so by the one method it is registered with (RFC 6749 section 2.3). Whatever
// does not match is the same invalid_client.
func (p *Provider) authenticateClient(ctx context.Context, r *http.Request, form url.Values) (*client, error) {
	said, err := credentials(r, form)
	if err != nil {
		return nil, err
	}
	c, err := p.client(ctx, said.id)
	if err != nil {
		return nil, err
	}
	var secrets []db.ClientSecret
	if c != nil {
		secrets = c.Secrets
	}
	right := secretMatches(secrets, said.secret, p.clk.Now())
	switch {
	case c == nil, !c.DisabledAt.IsZero(), said.method != methodNone && !right:
		return nil, notAuthenticated("the client is unknown, disabled, or its secret is wrong")
	case said.method != c.Settings.AuthMethod:
		return nil, notAuthenticated("the client is registered for " + c.Settings.AuthMethod + " and used " + said.method)
	}
	return c, nil
}

// credentials reads the client's id and secret. Two methods at once, or two
// different ids, are a faulty request, never a choice: fosite would take the id
// of the body for a client that authenticated as another.
func credentials(r *http.Request, form url.Values) (presented, error) {
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		return presented{}, notAuthenticated("client assertions are not supported")
	}
	headers := r.Header["Authorization"]
	switch {
	case len(headers) > 1:
		return presented{}, refuse(codeInvalidRequest, "the Authorization header is given more than once")
	case len(headers) == 1:
		basic, err := parseBasic(headers[0])
		if err != nil {
			return presented{}, err
		}
		if secret != "" {
			return presented{}, refuse(codeInvalidRequest, "client_secret is given beside the Authorization header: use one method")
		}
		if id != "" && id != basic.id {
			return presented{}, refuse(codeInvalidRequest, "client_id names another client than the Authorization header")
		}
		return basic, nil
	case id == "":
		return presented{}, notAuthenticated("client_id or an Authorization header is missing")
	case secret != "":
		return presented{methodPost, id, secret}, nil
	}
	return presented{methodNone, id, ""}, nil
}

// parseBasic reads HTTP Basic credentials, each form-encoded before they were
// joined (RFC 6749 section 2.3.1).
func parseBasic(header string) (presented, error) {
	scheme, rest, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return presented{}, notAuthenticated("the Authorization header must use the Basic scheme")
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
	id, secret, colon := strings.Cut(string(raw), ":")
	if err != nil || !colon {
		return presented{}, notAuthenticated("the Authorization header is malformed")
	}
	id, errID := url.QueryUnescape(id)
	secret, errSecret := url.QueryUnescape(secret)
	if errID != nil || errSecret != nil || id == "" {
		return presented{}, notAuthenticated("the Authorization header is malformed: id and secret must be form-encoded")
	}
	return presented{methodBasic, id, secret}, nil
}

// secretMatches compares secret with all that are valid now, without telling by
// its time which one matched or that there was none to compare with.
func secretMatches(secrets []db.ClientSecret, secret string, now time.Time) bool {
	sum := sha256.Sum256([]byte(secret))
	match := 0
	for _, s := range secrets {
		equal := subtle.ConstantTimeCompare(sum[:], s.Hash)
		if s.ExpiresAt.IsZero() || now.Before(s.ExpiresAt) {
			match |= equal
		}
	}
	if len(secrets) == 0 {
		var none [sha256.Size]byte
		subtle.ConstantTimeCompare(sum[:], none[:])
	}
	return match == 1
}
