package provider

import (
	"context"
	"errors"
	"slices"
	"strings"

	"mobileid/internal/audit"
	"mobileid/internal/db"
)

// Consents lists what the user would allow: the scopes asked for, and those of
// claims that are asked for one by one.
func (req *AuthorizeRequest) Consents() []string {
	return consents(req.Scopes, req.claims.idToken, req.claims.userinfo)
}

func consents(scopes []string, claims ...[]string) []string {
	out := slices.Clone(scopes)
	for _, list := range claims {
		for _, name := range list {
			if s := scopeOf(name); s != "" && !contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

// NeedsConsent reports whether the user must be asked before the client gets an
// answer: always with prompt=consent, and otherwise if the client is a third
// party and the user has not allowed all of it before.
func (p *Provider) NeedsConsent(ctx context.Context, req *AuthorizeRequest, userID string) (bool, error) {
	if contains(req.Prompt, "consent") {
		return true, nil
	}
	ok, err := p.consented(ctx, req, userID)
	return !ok, err
}

func (p *Provider) consented(ctx context.Context, req *AuthorizeRequest, userID string) (ok bool, err error) {
	if !req.Client.Settings.ThirdParty {
		return true, nil
	}
	err = p.db.View(ctx, func(tx *db.Tx) (err error) {
		ok, err = covered(tx, userID, req.Client.ID, req.Consents())
		return err
	})
	if err != nil {
		return false, unavailable(err)
	}
	return ok, nil
}

// covered reports whether the user has allowed the client every scope.
func covered(tx *db.Tx, userID, clientID string, scopes []string) (bool, error) {
	c, err := tx.Consent(userID, clientID)
	if errors.Is(err, db.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, s := range scopes {
		if !contains(c.Scopes, s) {
			return false, nil
		}
	}
	return true, nil
}

// Consent remembers that the user allowed what the request asks for, besides
// what was allowed before. sid is of the session in which they said so.
func (p *Provider) Consent(ctx context.Context, req *AuthorizeRequest, userID, sid string) error {
	c := db.Consent{UserID: userID, ClientID: req.Client.ID, MerchantID: req.Client.MerchantID}
	err := p.db.Update(ctx, func(tx *db.Tx) error {
		before, err := tx.Consent(userID, req.Client.ID)
		if err != nil && !errors.Is(err, db.ErrNotFound) {
			return err
		}
		c.Scopes = before.Scopes
		for _, s := range req.Consents() {
			if !contains(c.Scopes, s) {
				c.Scopes = append(c.Scopes, s)
			}
		}
		if err := tx.PutConsent(c); err != nil {
			return err
		}
		return p.audit.Append(tx, audit.Record{Act: "consent.granted", Merchant: c.MerchantID, User: userID, Client: c.ClientID, Session: sid,
			Details: map[string]string{"scopes": strings.Join(c.Scopes, " ")}})
	})
	if err != nil {
		return unavailable(err)
	}
	return nil
}
