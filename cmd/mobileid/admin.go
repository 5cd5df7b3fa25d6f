package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"mobileid/config"
	"mobileid/internal/audit"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/identity"
	"mobileid/internal/keys"
	"mobileid/provider"

	"github.com/spf13/cobra"
)

// sub makes one command of a group that works on the stores.
func sub(use, short string, args int, run func(ctx context.Context, s *stores, args []string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: exactly(args), RunE: func(cmd *cobra.Command, args []string) error {
		err := withStores(cmd, true, func(ctx context.Context, s *stores) error { return run(ctx, s, args) })
		if e, ok := errors.AsType[*fault.Error](err); ok {
			return &exit{exitRefused, errors.New(e.Message)}
		}
		return err
	}}
	config.Flags(cmd.Flags())
	return cmd
}

func printJSON(v any) error {
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func keysCommand() *cobra.Command {
	group := &cobra.Command{Use: "keys", Short: "About the signing keys"}
	var now bool
	rotate := sub("rotate", "Make a new key for ID tokens: published now, signing in 10 minutes, when relying parties have seen it", 0,
		func(ctx context.Context, s *stores, _ []string) error {
			lead := keys.Lead
			if now {
				lead = 0
			}
			kid, err := s.ring.Rotate(ctx, keys.OIDC, lead)
			if err != nil {
				return err
			}
			if err := s.db.Update(ctx, func(tx *db.Tx) error {
				return s.audit.Append(tx, audit.Record{Act: "keys.rotated", Details: map[string]string{"kid": kid}})
			}); err != nil {
				return err
			}
			fmt.Printf("%s signs from %s; older keys stay published for %s after that\n", kid, s.clk.Now().Add(lead).UTC().Format(time.RFC3339), keys.Overlap)
			return nil
		})
	rotate.Flags().BoolVar(&now, "now", false, "sign with it at once (when the old key must not be used any more)")
	group.AddCommand(rotate)
	return group
}

func merchantCommand() *cobra.Command {
	group := &cobra.Command{Use: "merchant", Short: "About merchants"}
	var trusted bool
	create := sub("create NAME", "Add a merchant and its first App", 1, func(ctx context.Context, s *stores, args []string) error {
		m, app, err := s.createMerchant(ctx, args[0], identity.Policy{Trusted: trusted})
		if err != nil {
			return err
		}
		return printJSON(map[string]string{"merchantId": m.ID, "appId": app.ID, "name": m.Name})
	})
	create.Flags().BoolVar(&trusted, "trusted-app", false, "vouch for the App's build: its phones reach urn:mobileid:acr:app")
	group.AddCommand(create)
	return group
}

func (s *stores) createMerchant(ctx context.Context, name string, policy identity.Policy) (db.Merchant, db.App, error) {
	m := db.Merchant{ID: db.NewID("mer_"), Name: name, CreatedAt: s.clk.Now()}
	text, err := json.Marshal(policy)
	if err != nil {
		return m, db.App{}, err
	}
	app := db.App{ID: db.NewID("app_"), MerchantID: m.ID, Name: name + " App", Policy: text, CreatedAt: s.clk.Now()}
	err = s.db.Update(ctx, func(tx *db.Tx) error {
		return errors.Join(tx.InsertMerchant(m), tx.InsertApp(app),
			s.audit.Append(tx, audit.Record{Act: "merchant.created", Merchant: m.ID}))
	})
	return m, app, err
}

// merchant returns the merchant with the id, or the only one if id is "".
func (s *stores) merchant(ctx context.Context, id string) (m db.Merchant, err error) {
	err = s.db.View(ctx, func(tx *db.Tx) error {
		if id != "" {
			m, err = tx.Merchant(id)
			return err
		}
		all, err := tx.Merchants()
		if err != nil {
			return err
		}
		switch len(all) {
		case 0:
			return &exit{exitUsage, errors.New("there is no merchant yet: mobileid merchant create NAME")}
		case 1:
			m = all[0]
			return nil
		}
		return &exit{exitUsage, errors.New("there are several merchants: name one with --merchant")}
	})
	if errors.Is(err, db.ErrNotFound) {
		err = &exit{exitUsage, errors.New("no such merchant: " + id)}
	}
	return m, err
}

// clientOptions are the flags of client create.
type clientOptions struct {
	merchant, name, auth, binding string
	redirects, grants, scopes     []string
	reveal, loopbackHTTP          bool
}

// newClient is a client as it is shown once.
type newClient struct {
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret,omitempty"`
}

// createClient checks and stores a client of the merchant.
func (s *stores) createClient(ctx context.Context, merchantID string, o clientOptions) (newClient, error) {
	set := db.ClientSettings{AuthMethod: o.auth, GrantTypes: o.grants, RedirectURIs: o.redirects, Scopes: o.scopes, Binding: o.binding,
		RevealUnknownUser: o.reveal, AllowInsecureHTTP: o.loopbackHTTP}
	if err := provider.CheckClient(&set); err != nil {
		return newClient{}, err
	}
	out := newClient{ClientID: db.NewID("cli_")}
	c := db.Client{ID: out.ClientID, MerchantID: merchantID, Name: o.name, Settings: set, CreatedAt: s.clk.Now()}
	if set.AuthMethod != "none" {
		secret, rec := provider.NewClientSecret(s.clk)
		out.ClientSecret, c.Secrets = secret, []db.ClientSecret{rec}
	}
	err := s.db.Update(ctx, func(tx *db.Tx) error {
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
		return s.audit.Append(tx, audit.Record{Act: "client.created", Merchant: merchantID, Client: c.ID})
	})
	return out, err
}

func clientCommand() *cobra.Command {
	group := &cobra.Command{Use: "client", Short: "About OAuth clients"}
	var o clientOptions
	create := sub("create", "Add a client and print its id and secret, once", 0, func(ctx context.Context, s *stores, _ []string) error {
		m, err := s.merchant(ctx, o.merchant)
		if err != nil {
			return err
		}
		c, err := s.createClient(ctx, m.ID, o)
		if err != nil {
			return err
		}
		return printJSON(c)
	})
	f := create.Flags()
	f.StringVar(&o.merchant, "merchant", "", "merchant id (default: the only one)")
	f.StringVar(&o.name, "name", "Client", "name that users are shown")
	f.StringVar(&o.auth, "auth-method", "client_secret_basic", "client_secret_basic, client_secret_post or none")
	f.StringSliceVar(&o.grants, "grant", []string{"authorization_code", "refresh_token"}, "grant types")
	f.StringSliceVar(&o.redirects, "redirect-uri", nil, "redirect URIs")
	f.StringSliceVar(&o.scopes, "scope", []string{"openid"}, "scopes")
	f.StringVar(&o.binding, "binding", "match", "how a backchannel request is bound to its user: match or trusted")
	f.BoolVar(&o.reveal, "reveal-unknown-user", false, "tell the client when a user does not exist or cannot be asked")
	f.BoolVar(&o.loopbackHTTP, "allow-localhost-http", false, "allow http://localhost redirect URIs (development)")

	list := sub("list", "List clients", 0, func(ctx context.Context, s *stores, _ []string) error {
		return s.db.View(ctx, func(tx *db.Tx) error {
			all, err := tx.Clients()
			for _, c := range all {
				state := "enabled"
				if !c.DisabledAt.IsZero() {
					state = "disabled"
				}
				fmt.Printf("%s  %s  %s  %s  %s\n", c.ID, state, c.Settings.AuthMethod, strings.Join(c.Settings.GrantTypes, ","), c.Name)
			}
			return err
		})
	})
	var overlap time.Duration
	rotate := sub("rotate ID", "Give the client a new secret; the old one works for the overlap", 1, func(ctx context.Context, s *stores, args []string) error {
		secret, err := s.rotateSecret(ctx, args[0], overlap)
		if err != nil {
			return err
		}
		return printJSON(newClient{args[0], secret})
	})
	rotate.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "how long the old secret still works")
	group.AddCommand(create, list, rotate)
	return group
}

// rotateSecret adds a secret; those before it end after overlap.
func (s *stores) rotateSecret(ctx context.Context, id string, overlap time.Duration) (string, error) {
	secret, rec := provider.NewClientSecret(s.clk)
	err := s.db.Update(ctx, func(tx *db.Tx) error {
		c, err := tx.Client(id)
		if errors.Is(err, db.ErrNotFound) {
			return fault.New(fault.NotFound, "no such client: "+id)
		}
		if err != nil {
			return err
		}
		if c.Settings.AuthMethod == "none" {
			return fault.New(fault.StateConflict, "a public client has no secret")
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
		return s.audit.Append(tx, audit.Record{Act: "client.secret_rotated", Merchant: c.MerchantID, Client: id})
	})
	return secret, err
}

func userCommand() *cobra.Command {
	group := &cobra.Command{Use: "user", Short: "About users"}
	var merchant string
	create := sub("create EXTERNAL-REF", "Add a user", 1, func(ctx context.Context, s *stores, args []string) error {
		m, err := s.merchant(ctx, merchant)
		if err != nil {
			return err
		}
		u, err := s.users.CreateUser(ctx, m.ID, args[0], nil)
		if err != nil {
			return err
		}
		return printJSON(map[string]string{"id": u.ID, "externalRef": u.ExternalRef, "state": u.State})
	})
	create.Flags().StringVar(&merchant, "merchant", "", "merchant id (default: the only one)")
	group.AddCommand(create)
	return group
}
