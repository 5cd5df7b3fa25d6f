package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"mobileid/cmd/mobileid/node"
	"mobileid/cmd/mobileid/shop"
	"mobileid/config"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/internal/view"
	"mobileid/web"

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
	Shop       shop.Credentials `json:"shop"`              // authorization code, refresh
	Backend    shop.Credentials `json:"backend"`           // REST and CIBA, trusted
	CAFile     string           `json:"ca_file,omitempty"` // root of the demo's own authority, with --tls
}

const demoName = "demo.json"

func demoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "demo", Short: "Run the server with a merchant, a user and a demo shop", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(config.Sources{Env: os.Environ(), Flags: cmd.Flags(), Demo: true})
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
	addrs := []string{cfg.Listen, cfg.AdminListen, cfg.Demo.ShopListen}
	if cfg.Demo.TLS {
		addrs = append(addrs, cfg.Demo.CAListen)
	}
	ln, err := node.Listen(addrs...)
	if err != nil {
		return err
	}
	return errors.Join(demoOn(ctx, cfg, ln), node.CloseListeners(ln))
}

// demoOn runs the demo on its listeners: issuer, admin, shop, and the
// authority's, if it has one.
func demoOn(ctx context.Context, cfg *config.Config, ln []net.Listener) error {
	if cfg.Issuer == "" {
		cfg.Issuer = cfg.SelfIssuer(node.Port(ln[0]))
	}
	d := demoFile{ShopURL: cfg.SelfIssuer(node.Port(ln[2])), AdminURL: "http://" + ln[1].Addr().String()}
	var ca *demoCA
	var secure *tls.Config
	var err error
	if cfg.Demo.TLS {
		if ca, err = openCA(cfg.DataDir, cfg.Demo.Host); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		leaf, err := ca.leaf(cfg.Demo.Host)
		if err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		secure = node.TLSConfig(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return leaf, nil })
		if d.CAFile, err = filepath.Abs(ca.file); err != nil {
			return err
		}
	}
	s, err := node.Open(ctx, cfg, clock.System{}, true)
	if err != nil {
		return err
	}
	d, err = seed(ctx, s, d)
	if err != nil {
		return errors.Join(err, s.DB.Close())
	}
	n, err := node.New(ctx, s, node.NewLog(cfg, os.Stderr), d.ShopURL)
	if err != nil {
		return errors.Join(err, s.DB.Close())
	}
	err = errors.Join(runDemo(ctx, n, d, ln, ca, secure), n.Close())
	return err
}

func runDemo(ctx context.Context, n *node.Node, d demoFile, ln []net.Listener, ca *demoCA, secure *tls.Config) error {
	cfg := n.Config
	transport, err := trusting(d.CAFile)
	if err != nil {
		return err
	}
	sh := shop.New(shop.Config{Issuer: cfg.Issuer, URL: d.ShopURL, Name: "Acme Shop", Web: d.Shop, Backend: d.Backend,
		UserID: d.UserID, UserName: d.UserRef, DataDir: cfg.DataDir, CAFile: d.CAFile, HTTP: transport, Log: n.Log})
	// The listeners take connections from here on, so whoever reads the file
	// gets an answer.
	if err := writeDemo(cfg.DataDir, d); err != nil {
		return err
	}
	fmt.Printf(`MobileID is running.

  demo shop     %s            log in here
  your phone    %[1]s/phone      register one first (user %q)
  issuer        %s
  discovery     %[3]s/.well-known/openid-configuration
  health        %s/readyz
  credentials   %s
`, d.ShopURL, d.UserRef, cfg.Issuer, d.AdminURL, filepath.Join(cfg.DataDir, demoName))
	sites := []node.Site{n.Public(ln[0]), {Listener: ln[1], Handler: n.Admin()}, {Listener: ln[2], Handler: sh.Handler(), TLS: secure}}
	if ca != nil {
		sites[0].TLS = secure
		sites = append(sites, node.Site{Listener: ln[3], Handler: ca})
		fmt.Printf(`
  root certificate, for browsers and phones that are to trust this demo; it
  vouches for this machine and for private addresses only:
                http://%s%s    (file %s)
  SHA-256       %s
  command line  bin/mobileid phone --ca %[3]s ...
`, net.JoinHostPort(cfg.Demo.Host, strconv.Itoa(node.Port(ln[3]))), caPath, ca.file, ca.fingerprint())
	}
	fmt.Printf(`
  the story     bin/mobileid smoke --data-dir %s
  stop          Ctrl-C

`, cfg.DataDir)
	n.Trim()
	return n.Run(ctx, sites...)
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
		if err := tx.SetClientSettings(c.ID, c.Settings); err != nil {
			return err
		}
		if c, err = tx.Client(d.Backend.ID); err != nil {
			return err
		}
		c.Settings.Scopes, c.Settings.DetailsTypes = backendScopes(), view.Types() // a demo of an older version has fewer
		return tx.SetClientSettings(c.ID, c.Settings)
	})
}

// backendScopes are what the demo's backend may ask for.
func backendScopes() []string { return append([]string{"openid"}, web.Scopes()...) }

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
		Grants: []string{"client_credentials", cibaGrant, "refresh_token"},
		Scopes: backendScopes(), RevealUnknownUser: true})
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
	return replace(filepath.Join(dir, demoName), append(text, '\n'))
}

// replace writes a file of mode 0600 as a whole: its reader sees the old one or
// the new one.
func replace(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), path)
}
