package provider

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/kv"

	"github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json" // case-sensitive, and a member stands once
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	// assertionLife is how far ahead an assertion may expire, and so how long its
	// jti is remembered.
	assertionLife = 10 * time.Minute
	// skew is how much a client's clock may be ahead of ours.
	skew         = 10 * time.Second
	maxAssertion = 8 << 10
)

// assertion is a client assertion (RFC 7523 section 2.2) as it was sent: nothing
// of it is to be believed before verifyAssertion.
type assertion struct {
	jws    *jose.JSONWebSignature
	alg    string
	kid    string
	claims assertionClaims
}

type assertionClaims struct {
	Issuer    string          `json:"iss"`
	Subject   string          `json:"sub"`
	Audience  json.RawMessage `json:"aud"`
	Expires   *float64        `json:"exp"`
	NotBefore *float64        `json:"nbf"`
	IssuedAt  *float64        `json:"iat"`
	JTI       string          `json:"jti"`
}

var errAssertion = errors.New("malformed")

// readAssertion takes an assertion apart. A header that names where a key is to
// be had, or asks for processing we do not know, is refused unread.
func readAssertion(text string) (*assertion, error) {
	if len(text) > maxAssertion {
		return nil, errAssertion
	}
	jws, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.ES256, jose.PS256, jose.RS256})
	if err != nil {
		return nil, err
	}
	head, _, _ := strings.Cut(text, ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := strict.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	for name := range members {
		switch name {
		case "alg", "kid", "typ", "x5t", "x5t#S256":
		default: // jku, jwk, x5u, x5c, crit, b64 …
			return nil, errAssertion
		}
	}
	switch typ := strings.ToLower(string(members["typ"])); typ {
	case "", `"jwt"`, `"client-authentication+jwt"`:
	default: // another kind of signed message of the same client
		return nil, errAssertion
	}
	a := &assertion{jws: jws, alg: jws.Signatures[0].Protected.Algorithm, kid: jws.Signatures[0].Protected.KeyID}
	return a, strict.Unmarshal(jws.UnsafePayloadWithoutVerification(), &a.claims)
}

// verifyAssertion makes sure that the client signed the assertion, for us, now,
// and that it is shown for the first time. path is that of the endpoint.
func (p *Provider) verifyAssertion(ctx context.Context, c *client, a *assertion, path string) error {
	key, err := p.keyOf(ctx, c, a.alg, a.kid)
	if err != nil {
		return err
	}
	if key == nil {
		return notAuthenticated("the client assertion names no key of the client, or another alg than the client is registered for")
	}
	if _, err := a.jws.Verify(key.Key); err != nil {
		return notAuthenticated("the client assertion's signature is wrong")
	}
	now := p.clk.Now()
	if wrong := p.checkAssertion(&a.claims, c.Client, path, now); wrong != "" {
		return notAuthenticated("the client assertion " + wrong)
	}
	// Remembered for longer than any node would take it.
	id := digest(strconv.Itoa(len(c.ID)) + " " + c.ID + " " + a.claims.JTI)
	err = p.kv.Create(ctx, "assertion/{"+id+"}", []byte{1}, seconds(*a.claims.Expires).Sub(now)+2*skew)
	if errors.Is(err, kv.ErrExists) {
		return notAuthenticated("the client assertion was used before")
	}
	if err != nil {
		return unavailable(err)
	}
	return p.checkEpoch(ctx, &a.claims)
}

// checkAssertion says what is wrong with the claims (RFC 7523 section 3).
func (p *Provider) checkAssertion(a *assertionClaims, c *db.Client, path string, now time.Time) string {
	for _, t := range []*float64{a.Expires, a.IssuedAt, a.NotBefore} {
		if t != nil && !(*t > 0 && *t < 1<<40) {
			return "holds a time that is none"
		}
	}
	switch {
	case a.Issuer != c.ID || a.Subject != c.ID:
		return "must have the client_id as iss and as sub"
	case !p.isAudience(a.Audience, c.Settings.AssertionAudience, path):
		return "must have the issuer " + p.issuer + " as aud, as text and not in a list"
	case a.JTI == "" || len(a.JTI) > 255:
		return "must have a jti of at most 255 bytes"
	case a.Expires == nil:
		return "must have an exp"
	case !now.Before(seconds(*a.Expires)):
		return "has expired"
	case seconds(*a.Expires).Sub(now) > assertionLife+skew:
		return "may expire 10 minutes ahead at most"
	case a.IssuedAt != nil && seconds(*a.IssuedAt).Sub(now) > skew, a.NotBefore != nil && seconds(*a.NotBefore).Sub(now) > skew:
		return "is from the future: check the clock"
	}
	return ""
}

// What a client's assertions may have as aud (the setting client_assertion_audience).
const (
	audienceIssuer   = "issuer"   // this server by its one name
	audienceEndpoint = "endpoint" // or an address of it, as RFC 7523 had it
)

// isAudience reports whether the assertion is for this server and no other. An address
// proves that less well than the issuer: a server that a client also deals with can name
// ours as its own in its metadata, be sent an assertion, and use it here
// (draft-ietf-oauth-rfc7523bis). For clients whose libraries know no better the token
// endpoint and the one that is called (CIBA Core section 7.1) are taken, and a list that
// names nobody else.
func (p *Provider) isAudience(raw json.RawMessage, setting, path string) bool {
	list := make([]string, 1)
	if strict.Unmarshal(raw, &list[0]) == nil && list[0] == p.issuer {
		return true
	}
	if setting != audienceEndpoint || list[0] == "" && strict.Unmarshal(raw, &list) != nil {
		return false
	}
	for _, aud := range list {
		if aud != p.issuer && aud != p.issuer+"/token" && aud != p.issuer+path {
			return false
		}
	}
	return len(list) > 0
}

// markEpoch is how SQL remembers that there was a replay cache once.
const markEpoch = "assertion_epoch"

// firstEpoch is the first memory while SQL does not know of it yet.
const firstEpoch = "first"

// checkEpoch refuses an assertion that may have been used before the replay
// cache was lost: the store knows since when it remembers. It is asked after the
// jti was stored, so that a loss in between is seen.
func (p *Provider) checkEpoch(ctx context.Context, a *assertionClaims) error {
	const key = "assertion-epoch"
	val, err := p.kv.Get(ctx, key)
	if errors.Is(err, kv.ErrNotFound) || string(val) == firstEpoch {
		val, err = p.newEpoch(ctx, key)
	}
	if err != nil {
		return unavailable(err)
	}
	since, err := strconv.ParseInt(string(val), 10, 64)
	if err != nil {
		return err
	}
	// The earliest moment at which it can have been shown to us.
	first := seconds(*a.Expires).Add(-assertionLife - skew)
	if a.IssuedAt != nil {
		first = seconds(*a.IssuedAt).Add(-skew)
	}
	if since > 0 && first.UnixMilli() < since {
		return notAuthenticated("the client assertion is older than this server's memory of used ones: make a new one, with iat")
	}
	return nil
}

// newEpoch begins the memory of used assertions: the first one of this
// installation has nothing before it, every later one follows a loss. Many may
// begin the first at once, on several nodes: none of them goes on before SQL knows
// that there was one.
func (p *Provider) newEpoch(ctx context.Context, key string) ([]byte, error) {
	const forEver = 100 * 365 * 24 * time.Hour
	val := []byte(firstEpoch)
	err := p.db.View(ctx, func(tx *db.Tx) error {
		marked, err := tx.Marked(markEpoch)
		if marked {
			val = strconv.AppendInt(nil, tx.Now().UnixMilli(), 10)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err = p.kv.Create(ctx, key, val, forEver); errors.Is(err, kv.ErrExists) {
		val, err = p.kv.Get(ctx, key)
	}
	if err != nil || string(val) != firstEpoch {
		return val, err
	}
	err = p.db.Update(ctx, func(tx *db.Tx) error { return tx.Mark(markEpoch) })
	if err != nil && !errors.Is(err, db.ErrConflict) {
		return nil, err
	}
	settled := []byte("0")
	err = p.kv.Swap(ctx, key, val, settled, forEver)
	if errors.Is(err, kv.ErrConflict) || errors.Is(err, kv.ErrNotFound) {
		err = nil // settled by another; or lost, as the next one will see
	}
	return settled, err
}

// readMethodJWT reads client_assertion out of a form.
func readMethodJWT(r *http.Request, id, secret, text, kind string) (presented, error) {
	switch {
	case len(r.Header["Authorization"]) > 0 || secret != "":
		return presented{}, refuse(codeInvalidRequest, "a client assertion is given beside another way to authenticate: use one method")
	case kind != assertionType:
		return presented{}, notAuthenticated("client_assertion_type must be " + assertionType)
	}
	a, err := readAssertion(text)
	if err != nil {
		return presented{}, notAuthenticated("client_assertion is not a JWT signed with ES256, PS256 or RS256")
	}
	if id != "" && id != a.claims.Subject {
		return presented{}, notAuthenticated("client_id names another client than the client assertion")
	}
	return presented{method: methodJWT, id: a.claims.Subject, assertion: a}, nil
}

// seconds is a NumericDate (RFC 7519 section 2).
func seconds(n float64) time.Time { return time.UnixMilli(int64(n * 1000)) }
