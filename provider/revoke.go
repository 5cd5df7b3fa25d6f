package provider

import (
	"context"
	"net/http"

	"mobileid/internal/audit"
	"mobileid/internal/db"
	"mobileid/internal/fault"
)

// Revoke is the revocation endpoint (RFC 7009). It answers 200 once nothing
// works any more that the token gave: for a refresh token its whole grant, for
// an access token that one. A value that is no token of this client is answered
// alike and has no effect. What cannot be written is 503, never 200.
func (p *Provider) Revoke(w http.ResponseWriter, r *http.Request) {
	c, token, err := p.aboutToken(w, r)
	if err == nil {
		err = p.revoke(r.Context(), c, token)
	}
	if err != nil {
		p.writeError(r.Context(), w, err)
		return
	}
	noStore(w.Header())
	w.WriteHeader(http.StatusOK)
}

func (p *Provider) revoke(ctx context.Context, c *client, token string) error {
	f, _, err := p.familyOf(ctx, token)
	if err != nil {
		return err
	}
	if f != nil {
		if f.ClientID != c.ID {
			return nil
		}
		// Also for a token that was used before: whoever has it means its grant.
		err := p.db.Update(ctx, func(tx *db.Tx) error { return p.revokeGrant(tx, f.GrantID, "revoked_by_client") })
		if err != nil {
			return unavailable(err)
		}
		return nil
	}
	t, err := p.readAccessToken(ctx, token)
	if fault.Is(err, fault.Unauthorized) || err == nil && t.record.ClientID != c.ID {
		return nil
	}
	if err != nil {
		return err
	}
	r := t.record
	err = p.db.Update(ctx, func(tx *db.Tx) error {
		if err := tx.Revoke(revokedToken, t.revokedAs, r.expires()); err != nil {
			return err
		}
		return p.audit.Append(tx, audit.Record{Act: "token.revoked", Merchant: c.MerchantID, User: r.UserID, Client: c.ID, Session: r.SID,
			Details: map[string]string{"grant": r.GrantID}})
	})
	if err != nil {
		return unavailable(err)
	}
	if t.jti == "" {
		// The row in SQL decides; this is only the sooner out of the way.
		if err := p.kv.Delete(ctx, accessKey(t.revokedAs)); err != nil {
			p.log.WarnContext(ctx, "a revoked access token was not removed from kv", "error", err)
		}
	}
	return nil
}
