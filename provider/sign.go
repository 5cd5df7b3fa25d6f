package provider

import (
	"context"
	"encoding/json"
	"errors"

	"mobileid/internal/db"
	"mobileid/internal/keys"

	"github.com/go-jose/go-jose/v4"
)

// What our signed tokens are, told apart by their typ: none is ever taken for
// another (RFC 8725 section 3.11).
const (
	typIDToken     = "JWT"
	typAccessToken = "at+jwt"
	typLogoutToken = "logout+jwt"
	typUserinfo    = "userinfo+jwt"
)

// maxToken is how long a token of ours may be that is shown to us. An access token
// may hold a text that was signed.
const maxToken = 96 << 10

// algOf is with which algorithm the client has its tokens signed.
func algOf(s *db.ClientSettings) string {
	if s.IDTokenAlg != "" {
		return s.IDTokenAlg
	}
	return string(jose.ES256)
}

// sign signs a token of ours. The first key of an algorithm is made when it is
// first asked for, which is when its first client is created or changed.
func (p *Provider) sign(ctx context.Context, alg, typ string, payload []byte) (string, error) {
	purpose := keys.ForAlg(alg)
	key, err := p.ring.Current(ctx, purpose)
	if errors.Is(err, keys.ErrNone) && purpose != "" {
		if err = p.ring.Ensure(ctx, purpose); err == nil {
			key, err = p.ring.Current(ctx, purpose)
		}
	}
	if err != nil {
		return "", unavailable(err)
	}
	return key.Sign(typ, payload)
}

// ownToken returns the payload of a token that this server signed as one of that
// typ; nil for anything else. Its time may be over.
func (p *Provider) ownToken(ctx context.Context, text, typ string) ([]byte, error) {
	if len(text) > maxToken {
		return nil, nil
	}
	jws, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.ES256, jose.PS256, jose.RS256})
	if err != nil || len(jws.Signatures) != 1 {
		return nil, nil
	}
	head := jws.Signatures[0].Protected
	if got, _ := head.ExtraHeaders[jose.HeaderType].(string); got != typ {
		return nil, nil
	}
	k, err := p.ring.Find(ctx, keys.ForAlg(head.Algorithm), head.KeyID)
	if err != nil {
		return nil, unavailable(err)
	}
	if k == nil {
		return nil, nil
	}
	payload, err := jws.Verify(k.Private.Public())
	if err != nil {
		return nil, nil
	}
	return payload, nil
}

// ownIDToken reads an ID token of ours, as a hint; nil for anything else. It may
// have expired (OIDC Core section 3.1.2.1, RP-Initiated Logout section 4).
func (p *Provider) ownIDToken(ctx context.Context, text string) (*idToken, error) {
	payload, err := p.ownToken(ctx, text, typIDToken)
	if payload == nil || err != nil {
		return nil, err
	}
	var t idToken
	if json.Unmarshal(payload, &t) != nil || t.Issuer != p.issuer || t.Subject == "" {
		return nil, nil
	}
	return &t, nil
}

// hintedUser returns whom an id_token_hint names: "" unless it is an ID token
// that this server signed for this client.
func (p *Provider) hintedUser(ctx context.Context, hint, clientID string) (string, error) {
	t, err := p.ownIDToken(ctx, hint)
	if t == nil || err != nil || t.Audience != clientID {
		return "", err
	}
	return t.Subject, nil
}
