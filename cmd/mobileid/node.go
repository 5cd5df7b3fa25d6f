package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"mobileid/config"
	"mobileid/flows"
	"mobileid/internal/audit"
	"mobileid/internal/channel"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/internal/keys"
	"mobileid/internal/kv"
	"mobileid/internal/operation"
	"mobileid/internal/outbox"
	"mobileid/internal/registration"
	"mobileid/provider"
	"mobileid/web"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// stores is what every command that touches data opens.
type stores struct {
	cfg   *config.Config
	clk   clock.Clock
	db    *db.DB
	box   *keys.Box
	ring  *keys.Ring
	audit *audit.Writer
	users *identity.Store
}

// openStores opens the durable store and the master key. migrate brings the
// schema up to date; without it an older schema is an error.
func openStores(ctx context.Context, cfg *config.Config, migrate bool) (*stores, error) {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, err
	}
	clk := clock.System{}
	d, err := db.Open(ctx, cfg.DB.URL.Reveal(), clk)
	if err != nil {
		return nil, err
	}
	s := &stores{cfg: cfg, clk: clk, db: d, audit: audit.NewWriter()}
	if err := s.prepare(ctx, migrate); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return s, nil
}

func (s *stores) prepare(ctx context.Context, migrate bool) (err error) {
	if migrate {
		if err := s.db.Migrate(ctx); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
	} else if have, newest, err := s.db.Versions(ctx); err != nil {
		return err
	} else if have != newest {
		return fmt.Errorf("the database has schema version %d, this program needs %d: run mobileid migrate", have, newest)
	}
	if s.box, err = keys.LoadBox(s.cfg.MasterKeyFile); err != nil {
		return err
	}
	s.ring = keys.NewRing(s.db, s.box, s.clk)
	s.users = &identity.Store{DB: s.db, Audit: s.audit, Clock: s.clk}
	return s.ring.Ensure(ctx, keys.OIDC, keys.Server)
}

// node is one running server.
type node struct {
	*stores
	kv      kv.KV
	log     *slog.Logger
	outbox  *outbox.Worker
	web     *web.Server
	metrics *prometheus.Registry
}

// newLog makes the log of the configuration, on standard error.
func newLog(cfg *config.Config) *slog.Logger {
	opts := &slog.HandlerOptions{Level: cfg.Log.Level}
	var h slog.Handler = slog.NewTextHandler(os.Stderr, opts)
	if cfg.Log.Format == "json" {
		h = slog.NewJSONHandler(os.Stderr, opts)
	}
	return slog.New(web.LogHandler{Handler: h})
}

// newNode builds the server over opened stores. cfg.Issuer is known by now.
func newNode(ctx context.Context, s *stores, shopURL string) (*node, error) {
	log := newLog(s.cfg)
	store, err := kv.Open(ctx, s.cfg.KV.URL.Reveal(), s.clk)
	if err != nil {
		return nil, err
	}
	n := &node{stores: s, kv: store, log: log, outbox: outbox.New(s.db, log), metrics: prometheus.NewRegistry()}
	n.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := n.wire(shopURL); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return n, nil
}

func (n *node) wire(shopURL string) error {
	issuer := n.cfg.Issuer
	ops := operation.New(operation.Config{DB: n.db, KV: n.kv, Box: n.box, Audit: n.audit, Outbox: n.outbox, Clock: n.clk, Log: n.log})
	n.outbox.Register(operation.OutboxDecided, ops.DeliverDecided)
	regs := registration.New(registration.Config{Origin: issuer, DB: n.db, KV: n.kv, Keys: n.ring, Box: n.box, Audit: n.audit, Clock: n.clk, Log: n.log})
	fl := flows.New(flows.Config{DB: n.db, KV: n.kv, Users: n.users, Operations: ops, Clock: n.clk, Log: n.log})

	tek := channel.NewRing(n.clk)
	if !strings.HasPrefix(n.cfg.KV.URL.Reveal(), "sqlite:") {
		tek = channel.NewSharedRing(n.clk, n.kv, n.box)
	}
	ch := &channel.Server{
		Issuer: issuer, DB: n.db, TEK: tek, Clock: n.clk, Rand: rand.Reader, Log: n.log,
		SSK: func(ctx context.Context) (crypto.Signer, error) {
			k, err := n.ring.Current(ctx, keys.Server)
			if err != nil {
				return nil, err
			}
			return k.Private, nil
		},
		OnFork: func(tx *db.Tx, dev *db.Device) error {
			return n.audit.Append(tx, audit.Record{Act: "device.suspended", Merchant: dev.MerchantID, User: dev.UserID, Device: dev.ID,
				Details: map[string]string{"reason": "a copy of this phone sent a message"}})
		},
	}
	for op, h := range ops.Handlers() {
		ch.Handle(op, h)
	}
	for op, h := range regs.Handlers() {
		ch.Handle(op, h)
	}
	clientIP := func(r *http.Request) string { return web.ClientIP(r, n.cfg.Trusts) }
	p, err := provider.New(provider.Options{
		Issuer: issuer, DB: n.db, KV: n.kv, Keys: n.ring, Box: n.box, Flows: fl, Audit: n.audit, Clock: n.clk, Log: n.log,
		ClientIP: clientIP, FormPost: web.FormPost, Scopes: []string{web.ScopeUsers, web.ScopeDevices},
	})
	if err != nil {
		return err
	}
	n.web, err = web.New(web.Config{
		Issuer: issuer, DB: n.db, KV: n.kv, Provider: p, Flows: fl, Registrations: regs, Channel: ch, Users: n.users,
		Clock: n.clk, Log: n.log, Trusts: n.cfg.Trusts, Metrics: n.metrics, ShopURL: shopURL,
	})
	return err
}

func (n *node) close() error { return errors.Join(n.kv.Close(), n.db.Close()) }
