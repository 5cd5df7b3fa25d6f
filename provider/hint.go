package provider

import (
	"context"
	"encoding/json"

	"mobileid/internal/keys"

	"github.com/go-jose/go-jose/v4"
)

// hintedUser returns whom an id_token_hint names: "" unless it is an ID token
// that this server signed for this client. It may have expired (OIDC Core
// section 3.1.2.1).
func (p *Provider) hintedUser(ctx context.Context, hint, clientID string) (string, error) {
	if len(hint) > 8<<10 {
		return "", nil
	}
	jws, err := jose.ParseSignedCompact(hint, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil || len(jws.Signatures) != 1 {
		return "", nil
	}
	all, err := p.ring.All(ctx, keys.OIDC)
	if err != nil {
		return "", unavailable(err)
	}
	for _, k := range all {
		if k.KID != jws.Signatures[0].Protected.KeyID {
			continue
		}
		payload, err := jws.Verify(k.Private.Public())
		if err != nil {
			return "", nil
		}
		var t idToken
		if json.Unmarshal(payload, &t) != nil || t.Issuer != p.issuer || t.Audience != clientID {
			return "", nil
		}
		return t.Subject, nil
	}
	return "", nil
}
