package node

import (
	"context"
	"encoding/json"
	"errors"

	"mobileid/internal/audit"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/identity"
	"mobileid/provider"
)

// CreateMerchant adds a merchant and its first App.
func (s *Stores) CreateMerchant(ctx context.Context, name string, policy identity.Policy) (db.Merchant, db.App, error) {
	m := db.Merchant{ID: db.NewID("mer_"), Name: name, CreatedAt: s.Clock.Now()}
	if err := policy.WithDefaults().Check(); err != nil {
		return m, db.App{}, err
	}
	text, err := json.Marshal(policy)
	if err != nil {
		return m, db.App{}, err
	}
	app := db.App{ID: db.NewID("app_"), MerchantID: m.ID, Name: name + " App", Policy: text, Version: 1, CreatedAt: s.Clock.Now()}
	err = s.DB.Update(ctx, func(tx *db.Tx) error {
		return errors.Join(tx.InsertMerchant(m), tx.InsertApp(app),
			s.Audit.Append(tx, audit.Record{Act: "merchant.created", Merchant: m.ID}))
	})
	return m, app, err
}

// ClientOptions are what a new client is to be.
type ClientOptions struct {
	Name, AuthMethod, Binding    string
	RedirectURIs, Grants, Scopes []string
	PKCE                         string // "": required
	RevealUnknownUser            bool
	LocalhostHTTP                bool // allow http://localhost redirect URIs

	ThirdParty              bool            // users are asked for consent
	JWKS                    json.RawMessage // of private_key_jwt
	JWKSURI                 string          // instead: where they are published
	AssertionAlg            string
	AssertionAudience       string // issuer or endpoint
	IDTokenAlg, UserinfoAlg string
	AccessTokenFormat       string   // opaque or jwt
	DetailsTypes            []string // of RFC 9396 that the client may ask for
	PostLogoutURIs          []string
	BackchannelLogoutURI    string
}

// NewClient is a client as it is shown once.
type NewClient struct {
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret,omitempty"`
}

// CreateClient checks and stores a client of the merchant.
func (s *Stores) CreateClient(ctx context.Context, merchantID string, o ClientOptions) (NewClient, error) {
	set := o.settings(db.ClientSettings{})
	if err := provider.CheckClient(&set); err != nil {
		return NewClient{}, err
	}
	if err := s.publish(ctx, &set); err != nil {
		return NewClient{}, err
	}
	out := NewClient{ClientID: db.NewID("cli_")}
	c := db.Client{ID: out.ClientID, MerchantID: merchantID, Name: o.Name, Settings: set, CreatedAt: s.Clock.Now()}
	if hasSecret(set.AuthMethod) {
		secret, rec := provider.NewClientSecret(s.Clock)
		out.ClientSecret, c.Secrets = secret, []db.ClientSecret{rec}
	}
	err := s.DB.Update(ctx, func(tx *db.Tx) error {
		apps, err := tx.AppsOf(merchantID)
		if err != nil {
			return err
		}
		if len(apps) == 0 {
			return fault.New(fault.StateConflict, "the merchant has no App")
		}
		c.AppID = apps[0].ID
		if err := tx.InsertClient(c); err != nil {
			return err
		}
		return s.Audit.Append(tx, audit.Record{Act: "client.created", Merchant: merchantID, Client: c.ID})
	})
	return out, err
}

// RevokeConsent withdraws what the user allowed the client, and ends what it gave.
func (s *Stores) RevokeConsent(ctx context.Context, userID, clientID string) error {
	return s.DB.Update(ctx, func(tx *db.Tx) error {
		c, err := tx.Consent(userID, clientID)
		if errors.Is(err, db.ErrNotFound) {
			return fault.New(fault.NotFound, "the user has allowed this client nothing")
		}
		if err != nil {
			return err
		}
		if err := tx.DeleteConsent(userID, clientID); err != nil {
			return err
		}
		return s.Audit.Append(tx, audit.Record{Act: "consent.revoked", Merchant: c.MerchantID, User: userID, Client: clientID})
	})
}
