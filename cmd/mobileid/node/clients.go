package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/keys"
	"mobileid/provider"
)

// settings are what a client with these options has, and beside them what it had.
func (o *ClientOptions) settings(had db.ClientSettings) db.ClientSettings {
	had.AuthMethod, had.GrantTypes, had.RedirectURIs, had.PKCE, had.Scopes, had.Binding = o.AuthMethod, o.Grants, o.RedirectURIs, o.PKCE, o.Scopes, o.Binding
	had.RevealUnknownUser, had.AllowInsecureHTTP, had.ThirdParty = o.RevealUnknownUser, o.LocalhostHTTP, o.ThirdParty
	had.JWKS, had.JWKSURI, had.AssertionAlg, had.AssertionAudience = o.JWKS, o.JWKSURI, o.AssertionAlg, o.AssertionAudience
	had.IDTokenAlg, had.UserinfoAlg, had.TokenFormat, had.DetailsTypes = o.IDTokenAlg, o.UserinfoAlg, o.AccessTokenFormat, o.DetailsTypes
	had.PostLogoutRedirectURIs, had.BackchannelLogoutURI = o.PostLogoutURIs, o.BackchannelLogoutURI
	return had
}

// optionsOf is the reverse.
func optionsOf(name string, s *db.ClientSettings) ClientOptions {
	return ClientOptions{Name: name, AuthMethod: s.AuthMethod, Grants: s.GrantTypes, RedirectURIs: s.RedirectURIs, PKCE: s.PKCE, Scopes: s.Scopes, Binding: s.Binding,
		RevealUnknownUser: s.RevealUnknownUser, LocalhostHTTP: s.AllowInsecureHTTP, ThirdParty: s.ThirdParty, JWKS: s.JWKS, JWKSURI: s.JWKSURI, AssertionAlg: s.AssertionAlg,
		AssertionAudience: s.AssertionAudience,
		IDTokenAlg:        s.IDTokenAlg, UserinfoAlg: s.UserinfoAlg, AccessTokenFormat: s.TokenFormat, DetailsTypes: s.DetailsTypes,
		PostLogoutURIs: s.PostLogoutRedirectURIs, BackchannelLogoutURI: s.BackchannelLogoutURI}
}

// publish makes the keys that tokens of such a client are signed with, before
// anybody meets one.
func (s *Stores) publish(ctx context.Context, set *db.ClientSettings) error {
	for _, alg := range []string{set.IDTokenAlg, set.UserinfoAlg} {
		if alg == "" {
			continue
		}
		if err := s.Keys.Ensure(ctx, keys.ForAlg(alg)); err != nil {
			return err
		}
	}
	return nil
}

// hasSecret reports whether clients of the method have one.
func hasSecret(method string) bool { return strings.HasPrefix(method, "client_secret_") }

// lockClient is the client with the id, for a transaction that changes it.
func lockClient(tx *db.Tx, id string) (db.Client, error) {
	c, err := tx.LockClient(id)
	if errors.Is(err, db.ErrNotFound) {
		err = noClient(id)
	}
	return c, err
}

func noClient(id string) error { return fault.New(fault.NotFound, "no such client: "+id) }

// RotateSecret adds a secret; those before it end after overlap.
func (s *Stores) RotateSecret(ctx context.Context, id string, overlap time.Duration) (string, error) {
	secret, rec := provider.NewClientSecret(s.Clock)
	err := s.DB.Update(ctx, func(tx *db.Tx) error {
		c, err := lockClient(tx, id)
		if err != nil {
			return err
		}
		if !hasSecret(c.Settings.AuthMethod) {
			return fault.New(fault.StateConflict, "a client of "+c.Settings.AuthMethod+" has no secret")
		}
		end := tx.Now().Add(overlap)
		old := slices.DeleteFunc(c.Secrets, func(o db.ClientSecret) bool { return !o.ExpiresAt.IsZero() && !o.ExpiresAt.After(tx.Now()) })
		for i := range old {
			if old[i].ExpiresAt.IsZero() || old[i].ExpiresAt.After(end) {
				old[i].ExpiresAt = end
			}
		}
		if err := tx.SetClientSecrets(id, append(old, rec)); err != nil {
			return err
		}
		return s.Audit.Append(tx, audit.Record{Act: "client.secret_rotated", Merchant: c.MerchantID, Client: id})
	})
	return secret, err
}

// Changed is what one setting of a client was and is, as JSON; nothing where it
// was not or is no more.
type Changed struct {
	From json.RawMessage `json:"from,omitempty"`
	To   json.RawMessage `json:"to,omitempty"`
}

// ClientChange is what became of a client, by the names of its settings.
type ClientChange struct {
	NewClient
	Changed map[string]Changed `json:"changed"`
}

// UpdateClient gives the client with the id the options that edit makes of those it
// has, if they are good. edit may be called more than once. A client that comes to
// a method with a secret and has none gets one; one that goes to another method
// loses those it has.
func (s *Stores) UpdateClient(ctx context.Context, id string, edit func(o *ClientOptions) error) (out ClientChange, err error) {
	var c db.Client
	err = s.DB.View(ctx, func(tx *db.Tx) error { c, err = tx.Client(id); return err })
	if errors.Is(err, db.ErrNotFound) {
		return out, noClient(id)
	}
	if err == nil {
		_, err = edited(&c, edit)
	}
	if err == nil {
		err = s.publish(ctx, &c.Settings)
	}
	if err != nil {
		return out, err
	}
	secret, rec := provider.NewClientSecret(s.Clock)
	err = s.DB.Update(ctx, func(tx *db.Tx) error {
		out = ClientChange{NewClient: NewClient{ClientID: id}}
		c, err := lockClient(tx, id)
		if err != nil {
			return err
		}
		if out.Changed, err = edited(&c, edit); err != nil || len(out.Changed) == 0 {
			return err
		}
		if err := errors.Join(tx.RenameClient(id, c.Name), tx.SetClientSettings(id, c.Settings)); err != nil {
			return err
		}
		switch secrets := hasSecret(c.Settings.AuthMethod); {
		case secrets && len(c.Secrets) == 0:
			out.ClientSecret = secret
			err = tx.SetClientSecrets(id, []db.ClientSecret{rec})
		case !secrets && len(c.Secrets) > 0:
			err = tx.SetClientSecrets(id, nil)
		}
		if err != nil {
			return err
		}
		details := map[string]string{}
		for name, to := range out.Changed {
			details[name] = string(to.To)
		}
		return s.Audit.Append(tx, audit.Record{Act: "client.updated", Merchant: c.MerchantID, Client: id, Details: details})
	})
	return out, err
}

// edited gives c what edit makes of its options, and tells what is different.
func edited(c *db.Client, edit func(o *ClientOptions) error) (map[string]Changed, error) {
	before, err := members(c)
	if err != nil {
		return nil, err
	}
	o := optionsOf(c.Name, &c.Settings)
	if err := edit(&o); err != nil {
		return nil, err
	}
	set := o.settings(c.Settings)
	if err := provider.CheckClient(&set); err != nil {
		return nil, err
	}
	c.Name, c.Settings = o.Name, set
	after, err := members(c)
	if err != nil {
		return nil, err
	}
	out := map[string]Changed{}
	for name := range merged(before, after) {
		if !bytes.Equal(before[name], after[name]) {
			out[name] = Changed{before[name], after[name]}
		}
	}
	return out, nil
}

// members are a client's name and settings, each as JSON.
func members(c *db.Client) (map[string]json.RawMessage, error) {
	text, err := json.Marshal(c.Settings)
	if err != nil {
		return nil, err
	}
	out := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, err
	}
	out["client_name"], err = json.Marshal(c.Name)
	return out, err
}

func merged(a, b map[string]json.RawMessage) map[string]json.RawMessage {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// DisableClient has the client served no more; with one that is disabled it does
// nothing.
func (s *Stores) DisableClient(ctx context.Context, id string) error {
	return s.switchClient(ctx, id, "client.disabled", (*db.Tx).DisableClient, func(c *db.Client) bool { return c.DisabledAt.IsZero() })
}

// EnableClient has a disabled client served again. What it was given before stays
// dead.
func (s *Stores) EnableClient(ctx context.Context, id string) error {
	return s.switchClient(ctx, id, "client.enabled", (*db.Tx).EnableClient, func(c *db.Client) bool { return !c.DisabledAt.IsZero() })
}

func (s *Stores) switchClient(ctx context.Context, id, act string, change func(*db.Tx, string) error, due func(c *db.Client) bool) error {
	return s.DB.Update(ctx, func(tx *db.Tx) error {
		c, err := lockClient(tx, id)
		if err != nil || !due(&c) {
			return err
		}
		if err := change(tx, id); err != nil {
			return err
		}
		return s.Audit.Append(tx, audit.Record{Act: act, Merchant: c.MerchantID, Client: id})
	})
}
