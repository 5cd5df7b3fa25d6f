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
	assertion          *assertion
}

// authenticateClient finds out which client sent the request and makes it prove
// so by the one method it is registered with (RFC 6749 section 2.3). Whatever
// does not match is the same invalid_client, and counts: by client and address
// block, so that nobody locks a client out from afar, and ids that do not exist
// as one.
func (p *Provider) authenticateClient(ctx context.Context, r *http.Request, form url.Values) (*client, error) {
	said, err := credentials(r, form)
	if err != nil {
		return nil, p.countFailure(ctx, r, "", err)
	}
	c, err := p.client(ctx, said.id)
	if err != nil {
		return nil, err
	}
	id := ""
	if c != nil {
		id = c.ID
	}
	if said.method != methodNone {
		// A right secret does not help either while guesses are being made.
		if err := p.failures.Full(p.clientIP(r), id); err != nil {
			return nil, tooMany(err)
		}
	}
	if err := p.prove(ctx, r, c, said); err != nil {
		return nil, p.countFailure(ctx, r, id, err)
	}
	return c, nil
}

// countFailure counts an invalid_client and returns it, or too many of them.
func (p *Provider) countFailure(ctx context.Context, r *http.Request, id string, err error) error {
	if asProtocol(err).code != codeInvalidClient {
		return err
	}
	if over := p.failures.Take(ctx, p.clientIP(r), id); over != nil {
		return tooMany(over)
	}
	return err
}

// prove holds what the request says against the client, which is nil if unknown.
func (p *Provider) prove(ctx context.Context, r *http.Request, c *client, said presented) error {
	var secrets []db.ClientSecret
	if c != nil {
		secrets = c.Secrets
	}
	right := secretMatches(secrets, said.secret, p.clk.Now())
	switch {
	case c == nil, !c.DisabledAt.IsZero(), said.method != methodNone && said.assertion == nil && !right:
		return notAuthenticated("the client is unknown, disabled, or its secret is wrong")
	case said.method != c.Settings.AuthMethod:
		return notAuthenticated("the client is registered for " + c.Settings.AuthMethod + " and used " + said.method)
	case said.assertion != nil:
		return p.verifyAssertion(ctx, c, said.assertion, r.URL.Path)
	}
	return nil
}

// credentials reads the client's id and secret. Two methods at once, or two
// different ids, are a faulty request, never a choice: fosite would take the id
// of the body for a client that authenticated as another.
func credentials(r *http.Request, form url.Values) (presented, error) {
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		return readMethodJWT(r, id, secret, form.Get("client_assertion"), form.Get("client_assertion_type"))
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
		return presented{method: methodPost, id: id, secret: secret}, nil
	}
	return presented{method: methodNone, id: id}, nil
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
	return presented{method: methodBasic, id: id, secret: secret}, nil
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
