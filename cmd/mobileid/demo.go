package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"mobileid/cmd/mobileid/node"
	"mobileid/cmd/mobileid/shop"
	"mobileid/config"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/identity"

	"github.com/spf13/cobra"
)

// demoFile is <data_dir>/demo.json: what the demo made, for smoke, for curl and
// for the demo's own next start. It holds secrets: mode 0600.
type demoFile struct {
	Issuer     string           `json:"issuer"`
	ShopURL    string           `json:"shop_url"`
	AdminURL   string           `json:"admin_url"`
	MerchantID string           `json:"merchant_id"`
	UserID     string           `json:"user_id"`
	UserRef    string           `json:"user_ref"`
	Shop       shop.Credentials `json:"shop"`    // authorization code, refresh
	Backend    shop.Credentials `json:"backend"` // REST and CIBA, trusted
}

const demoName = "demo.json"

func demoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "demo", Short: "Run the server with a merchant, a user and a demo shop", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load(cmd)
			if err != nil {
				return err
			}
			return demo(cmd.Context(), cfg)
		},
	}
	config.Flags(cmd.Flags())
	config.DemoFlags(cmd.Flags())
	return cmd
}

func demo(ctx context.Context, cfg *config.Config) error {
	ln, err := node.Listen(cfg.Listen, cfg.AdminListen, cfg.Demo.ShopListen)
	if err != nil {
		return err
	}
	if cfg.Issuer == "" {
		cfg.Issuer = config.LoopbackIssuer(node.Port(ln[0]))
	}
	d := demoFile{ShopURL: config.LoopbackIssuer(node.Port(ln[2])), AdminURL: "http://" + ln[1].Addr().String()}
	s, err := node.Open(ctx, cfg, clock.System{}, true)
	if err != nil {
		return errors.Join(err, node.CloseListeners(ln))
	}
	d, err = seed(ctx, s, d)
	if err != nil {
		return errors.Join(err, s.DB.Close(), node.CloseListeners(ln))
	}
	n, err := node.New(ctx, s, node.NewLog(cfg, os.Stderr), d.ShopURL)
	if err != nil {
		return errors.Join(err, s.DB.Close(), node.CloseListeners(ln))
	}
	sh := shop.New(shop.Config{Issuer: cfg.Issuer, URL: d.ShopURL, Name: "Acme Shop", Web: d.Shop, Backend: d.Backend,
		UserID: d.UserID, UserName: d.UserRef, DataDir: cfg.DataDir, Log: n.Log})
	// The listeners take connections from here on, so whoever reads the file
	// gets an answer.
	if err := writeDemo(cfg.DataDir, d); err != nil {
		return errors.Join(err, n.Close(), node.CloseListeners(ln))
	}
	fmt.Printf(`MobileID is running.

  demo shop     %s            log in here
  your phone    %[1]s/phone      register one first (user %q)
  issuer        %s
  discovery     %[3]s/.well-known/openid-configuration
  health        %s/readyz
  credentials   %s

  the story     bin/mobileid smoke --data-dir %s
  stop          Ctrl-C

`, d.ShopURL, d.UserRef, cfg.Issuer, d.AdminURL, filepath.Join(cfg.DataDir, demoName), cfg.DataDir)
	err = n.Run(ctx, node.Site{Listener: ln[0], Handler: n.Handler()}, node.Site{Listener: ln[1], Handler: n.Admin()},
		node.Site{Listener: ln[2], Handler: sh.Handler()})
	return errors.Join(err, n.Close())
}

// seed makes merchant, user and clients on the first start, and on every start
// brings the shop's redirect URI to where the shop now listens.
func seed(ctx context.Context, s *node.Stores, d demoFile) (demoFile, error) {
	old, err := readDemo(s.Config.DataDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return d, err
	}
	known := err == nil && has(ctx, s, old)
	if known {
		d.MerchantID, d.UserID, d.UserRef, d.Shop, d.Backend = old.MerchantID, old.UserID, old.UserRef, old.Shop, old.Backend
	} else if err := seedAll(ctx, s, &d); err != nil {
		return d, fmt.Errorf("demo: %w", err)
	}
	d.Issuer = s.Config.Issuer
	return d, s.DB.Update(ctx, func(tx *db.Tx) error {
		c, err := tx.Client(d.Shop.ID)
		if err != nil {
			return err
		}
		c.Settings.RedirectURIs = []string{d.ShopURL + "/callback"}
		return tx.SetClientSettings(c.ID, c.Settings)
	})
}

// has reports whether the database is the one that the file was written for.
func has(ctx context.Context, s *node.Stores, d demoFile) bool {
	return s.DB.View(ctx, func(tx *db.Tx) error {
		_, err1 := tx.Client(d.Shop.ID)
		_, err2 := tx.Client(d.Backend.ID)
		_, err3 := tx.User(d.UserID)
		return errors.Join(err1, err2, err3)
	}) == nil
}

func seedAll(ctx context.Context, s *node.Stores, d *demoFile) error {
	m, _, err := s.CreateMerchant(ctx, "Acme", identity.Policy{})
	if err != nil {
		return err
	}
	u, err := s.Users.CreateUser(ctx, m.ID, "alice", map[string]string{"name": "Alice Example"})
	if err != nil {
		return err
	}
	front, err := s.CreateClient(ctx, m.ID, node.ClientOptions{Name: "Acme Shop", AuthMethod: "client_secret_basic", Binding: "match",
		Grants: []string{"authorization_code", "refresh_token"}, RedirectURIs: []string{d.ShopURL + "/callback"},
		Scopes: []string{"openid", "profile", "offline_access"}, RevealUnknownUser: true, LocalhostHTTP: true})
	if err != nil {
		return err
	}
	back, err := s.CreateClient(ctx, m.ID, node.ClientOptions{Name: "Acme Backend", AuthMethod: "client_secret_basic", Binding: "trusted",
		Grants: []string{"client_credentials", "urn:openid:params:grant-type:ciba", "refresh_token"},
		Scopes: []string{"openid", "mobileid.users", "mobileid.devices"}, RevealUnknownUser: true})
	if err != nil {
		return err
	}
	d.MerchantID, d.UserID, d.UserRef = m.ID, u.ID, u.ExternalRef
	d.Shop, d.Backend = shop.Credentials{ID: front.ClientID, Secret: front.ClientSecret}, shop.Credentials{ID: back.ClientID, Secret: back.ClientSecret}
	return nil
}

func readDemo(dir string) (d demoFile, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, demoName))
	if err != nil {
		return d, err
	}
	if err = json.Unmarshal(raw, &d); err != nil {
		return d, fmt.Errorf("%s: %w", filepath.Join(dir, demoName), err)
	}
	_, err = url.Parse(d.Issuer)
	return d, err
}

// writeDemo replaces the file as a whole.
func writeDemo(dir string, d demoFile) error {
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, demoName+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), filepath.Join(dir, demoName))
}
