// Package node is one running server: it opens the stores, wires every package to
// those below it, serves the listeners and drains them. The commands and the
// tests start the server by the same code.
package node

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"

	"mobileid/config"
	"mobileid/flows"
	"mobileid/internal/audit"
	"mobileid/internal/callback"
	"mobileid/internal/channel"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/egress"
	"mobileid/internal/identity"
	"mobileid/internal/keys"
	"mobileid/internal/kv"
	"mobileid/internal/limit"
	"mobileid/internal/notify"
	"mobileid/internal/operation"
	"mobileid/internal/outbox"
	"mobileid/internal/registration"
	"mobileid/provider"
	"mobileid/web"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Stores is what every command that touches data opens.
type Stores struct {
	Config *config.Config
	// Clock is the database's time, which all nodes share; Machine is this node's
	// own, for certificates and durations.
	Clock, Machine clock.Clock
	DB             *db.DB
	Keys           *keys.Ring
	Audit          *audit.Writer
	Users          *identity.Store

	// Resolver looks up the names that others have us call; nil: the system's.
	Resolver *net.Resolver

	box *keys.Box
}

// Open opens the durable store and the master key, making them on first use.
// migrate brings the schema up to date; without it an older schema is an error.
// clk is the machine's clock; on SQLite the database goes by it too.
// The caller closes the Stores, or the Node made of them.
func Open(ctx context.Context, cfg *config.Config, clk clock.Clock, migrate bool) (*Stores, error) {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, err
	}
	d, err := db.Open(ctx, cfg.DB.URL.Reveal(), clk)
	if err != nil {
		return nil, err
	}
	s := &Stores{Config: cfg, Clock: d.Clock(), Machine: clk, DB: d, Audit: audit.NewWriter()}
	if err := s.prepare(ctx, migrate); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return s, nil
}

func (s *Stores) prepare(ctx context.Context, migrate bool) (err error) {
	if migrate {
		if err := s.DB.Migrate(ctx); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
	} else if have, newest, err := s.DB.Versions(ctx); err != nil {
		return err
	} else if have != newest {
		return fmt.Errorf("the database has schema version %d, this program needs %d: run mobileid migrate", have, newest)
	}
	if s.box, err = s.masterKey(ctx); err != nil {
		return err
	}
	s.Keys = keys.NewRing(s.DB, s.box, s.Clock)
	s.Users = &identity.Store{DB: s.DB, Audit: s.Audit, Clock: s.Clock}
	return s.Keys.Ensure(ctx, keys.OIDC, keys.Server, keys.Evidence, keys.Push)
}

// masterKey loads the master key, or makes it while nothing is sealed yet.
func (s *Stores) masterKey(ctx context.Context) (*keys.Box, error) {
	path := s.Config.MasterKeyFile
	box, err := keys.LoadBox(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return box, err
	}
	err = s.DB.View(ctx, func(tx *db.Tx) error {
		for _, purpose := range append(keys.Tokens(), keys.Server, keys.Evidence, keys.Push) {
			have, err := tx.SigningKeys(purpose)
			if err != nil {
				return err
			}
			if len(have) > 0 {
				return fmt.Errorf("the master key %s is missing, and the database holds what it sealed: put the file back", path)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return keys.CreateBox(path)
}

// Node is one running server.
type Node struct {
	*Stores
	Log   *slog.Logger
	Flows *flows.Flows // what REST, OIDC and CIBA start

	kv       kv.KV
	drain    chan struct{}
	regs     *registration.Registrations
	outbox   *outbox.Worker
	pushes   *outbox.Worker // of the outbox's pushes
	webhooks *callback.Callbacks
	sealer   *audit.Sealer
	web      *web.Server
	metrics  *prometheus.Registry
	gauges   *gauges
	egress   *egress.Client // to what clients and operators name
	traces   *traces        // nil: none are made
	tls      *tls.Config    // of the public listener; nil: http
}

// NewLog makes the log of the configuration.
func NewLog(cfg *config.Config, to io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: cfg.Log.Level, ReplaceAttr: redact}
	var h slog.Handler = slog.NewTextHandler(to, opts)
	if cfg.Log.Format == "json" {
		h = slog.NewJSONHandler(to, opts)
	}
	return slog.New(web.LogHandler{Handler: h})
}

// redact is the last line against a secret in the log: what is called like one
// is not written, whatever it holds. Nor is what moves a terminal's cursor.
func redact(_ []string, a slog.Attr) slog.Attr {
	name := strings.ToLower(a.Key)
	for _, word := range []string{"secret", "token", "password", "pin", "authorization", "cookie", "auth_req_id", "verifier", "kpf"} {
		if name == word || strings.HasSuffix(name, "_"+word) {
			return slog.String(a.Key, "[REDACTED]")
		}
	}
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(visible(a.Value.String()))
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(visible(err.Error()))
		}
	}
	return a
}

// visible writes DEL and the C1 controls as escapes: encoding/json leaves them as
// they are, and U+009B is the start of a terminal's command. It and strconv.Quote
// see to the rest.
func visible(s string) string {
	hidden := func(c rune) bool { return c >= 0x7f && c <= 0x9f }
	if strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		if hidden(c) {
			fmt.Fprintf(&b, `\u%04x`, c)
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// New builds the server over opened stores, which it closes from then on; after
// an error they are the caller's still. Config.Issuer is known by now. shopURL is
// the demo shop's address, or "".
func New(ctx context.Context, s *Stores, log *slog.Logger, shopURL string) (*Node, error) {
	kv.LogRedis(log)
	store, err := kv.Open(ctx, s.Config.KV.URL.Reveal(), s.Clock)
	if err != nil {
		return nil, err
	}
	n := &Node{Stores: s, kv: store, drain: make(chan struct{}), Log: log, outbox: outbox.New(s.DB, log), metrics: prometheus.NewRegistry(),
		egress: egress.NewVia(s.Resolver, s.Config.Egress.Allow, s.Clock)}
	n.gauges = newGauges(n.metrics)
	if n.traces, err = newTraces(ctx, s.Config.Telemetry.OTLPEndpoint, s.Config.Issuer, log); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	watchKV := kv.Observer{Failed: func(call string) { n.gauges.kvFailed.WithLabelValues(call).Inc() }}
	watchDB := db.Observer{Commit: n.gauges.committed}
	if n.traces != nil {
		watchKV.Span, watchDB.Span = n.traces.span, n.traces.span
	}
	n.kv = kv.Observe(store, watchKV)
	n.DB.Observe(watchDB)
	n.metrics.MustRegister(newDepth(s.DB, "mobileid_outbox", "Items", (*db.Tx).OutboxDepth), newDepth(s.DB, "mobileid_webhook", "Events", (*db.Tx).WebhookBacklog), newClockOffset(s.DB), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := errors.Join(n.seal(), n.certificate(), n.wire(shopURL)); err != nil {
		return nil, errors.Join(err, n.traces.close(), store.Close())
	}
	return n, nil
}

// seal makes the sealer and what it anchors to.
func (n *Node) seal() error {
	var sinks []audit.Sink
	if where := n.Config.Audit.AnchorSyslog; where != "" {
		sink, err := audit.Syslog(where)
		if err != nil {
			return err
		}
		sinks = append(sinks, sink)
	}
	if to := n.Config.Audit.AnchorURL; to != "" {
		sinks = append(sinks, audit.URL{Address: to, Client: n.egress})
	}
	n.sealer = audit.NewSealer(n.DB, n.Log, n.metrics, n.Config.Audit.AnchorFile, sinks...)
	return nil
}

// certificate loads what tls.cert and tls.key name.
func (n *Node) certificate() error {
	t := n.Config.TLS
	if !t.On() {
		return nil
	}
	c, err := LoadCertificate(t.Cert, t.Key, n.Machine, n.Log)
	if err != nil {
		return err
	}
	n.tls = TLSConfig(c.Get)
	return n.metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mobileid_tls_certificate_expiry_timestamp_seconds", Help: "When the public listener's certificate ends, Unix time.",
	}, func() float64 { return float64(c.NotAfter().Unix()) }))
}

// Public is the public listener's site: https if the configuration says so.
func (n *Node) Public(l net.Listener) Site { return Site{l, n.Handler(), n.tls} }

func (n *Node) wire(shopURL string) error {
	issuer := n.Config.Issuer
	n.webhooks = n.sending()
	attest, err := verifier(n.Config.Attestation)
	if err != nil {
		return err
	}
	ops := operation.New(operation.Config{DB: n.DB, KV: n.kv, Attest: attest, Box: n.box, Audit: n.Audit, Outbox: n.outbox, Clock: n.Clock, Log: n.Log, Draining: n.drain,
		Started: n.gauges.operationStarted, Decided: n.gauges.operationDecided, Issuer: issuer,
		EvidenceKeys: func(ctx context.Context) ([]*keys.Key, error) { return n.Keys.All(ctx, keys.Evidence) }, Stamp: n.stamp()})
	n.outbox.Register(operation.OutboxTimestamp, ops.DeliverTimestamp)
	n.outbox.Register(operation.OutboxDecided, ops.DeliverDecided)
	regs := registration.New(registration.Config{Origin: issuer, Attest: attest, DB: n.DB, KV: n.kv, Keys: n.Keys, Box: n.box, Audit: n.Audit, Clock: n.Clock, Log: n.Log, Draining: n.drain,
		Started: n.gauges.operationStarted, Decided: n.gauges.operationDecided})
	n.regs = regs
	// Pushes have a way out of their own: whoever has a phone names their addresses,
	// so neither the operator's networks nor a host's silence is shared with the others.
	wakes := notify.New(notify.Config{DB: n.DB, KV: n.kv, Box: n.box, Audit: n.Audit, Clock: n.Clock, Log: n.Log, Issuer: issuer,
		Egress: egress.NewVia(n.Resolver, n.Config.Push.Allow, n.Clock), Inside: within(n.Config.Push.Allow),
		Key: func(ctx context.Context) (*keys.Key, error) { return n.Keys.Current(ctx, keys.Push) }})
	n.pushes = n.outbox.Apart(notify.OutboxKinds)
	n.pushes.Register(notify.OutboxWake, wakes.DeliverWake)
	n.pushes.Register(notify.OutboxAgain, wakes.DeliverAgain)
	n.Flows = flows.New(flows.Config{DB: n.DB, KV: n.kv, Users: n.Users, Operations: ops, Clock: n.Clock, Log: n.Log, Wake: wakes.Queue})

	n.outbox.Register(flows.OutboxWithdrawn, n.Flows.DeliverWithdrawn)

	tek := channel.NewRing(n.Clock)
	if !strings.HasPrefix(n.Config.KV.URL.Reveal(), "sqlite:") {
		tek = channel.NewSharedRing(n.Clock, n.kv, n.box)
	}
	ch := &channel.Server{
		Issuer: issuer, DB: n.DB, TEK: tek, Clock: n.Clock, Rand: rand.Reader, HeadKey: n.box.Derive("mid heads 1"), Log: n.Log,
		SSK: func(ctx context.Context) (crypto.Signer, error) {
			k, err := n.Keys.Current(ctx, keys.Server)
			if err != nil {
				return nil, err
			}
			return k.Private, nil
		},
		OnRefused: func(code string) { n.gauges.refused.WithLabelValues(code).Inc() },
		OnFork: func(tx *db.Tx, dev *db.Device) error {
			const why = "a copy of this phone sent a message"
			return errors.Join(callback.DeviceMoved(tx, dev, db.DeviceSuspended, why), n.Audit.Append(tx, audit.Record{Act: "device.suspended",
				Merchant: dev.MerchantID, User: dev.UserID, Device: dev.ID, Details: map[string]string{"reason": why}}))
		},
	}
	for op, h := range wakes.Handlers() {
		ch.Handle(op, h)
	}
	var traced func(string, http.Handler) http.Handler
	if n.traces != nil {
		ch.Span, traced = n.traces.span, n.traces.route
	}
	for op, h := range ops.Handlers() {
		ch.Handle(op, h)
	}
	for op, h := range regs.Handlers() {
		ch.Handle(op, h)
	}
	for op, h := range n.Flows.Handlers() {
		ch.Handle(op, h)
	}
	clientIP := func(r *http.Request) string { return web.ClientIP(r, n.Config.Trusts) }
	limits := n.limits()
	ch.OnStranger = func(ctx context.Context, ip string) {
		_ = limits.Junk.Take(ctx, ip, "") // the next message is refused
	}
	p, err := provider.New(provider.Options{
		Failures: limits.Failures, Requests: limits.Client, Tokens: limits.Token,
		Issuer: issuer, DB: n.DB, KV: n.kv, Keys: n.Keys, Box: n.box, Flows: n.Flows, Audit: n.Audit, Egress: n.egress, Clock: n.Clock, Log: n.Log,
		ClientIP: clientIP, FormPost: web.FormPost, Scopes: web.Scopes(), Anchored: n.Config.Attestation.AndroidRoots != "",
		Issued: func(grant string) { n.gauges.tokens.WithLabelValues(grant).Inc() },
	})
	if err != nil {
		return err
	}
	n.outbox.Register(provider.OutboxLogout, p.DeliverLogout)
	n.web, err = web.New(web.Config{
		Issuer: issuer, DB: n.DB, KV: n.kv, Box: n.box, Provider: p, Flows: n.Flows, Registrations: regs, Channel: ch, Users: n.Users, Webhooks: n.webhooks, Machine: n.Machine,
		Clock: n.Clock, Log: n.Log, Trusts: n.Config.Trusts, Metrics: n.metrics, Trace: traced, ShopURL: shopURL, Limits: limits,
		EvidenceKeys: func(ctx context.Context) ([]byte, error) { return EvidenceKeys(ctx, n.Keys) },
	})
	return err
}

func (n *Node) limits() web.Limits {
	c := n.Config.Limits
	l := limit.New(n.kv, n.Clock, n.Log, n.metrics, c.Exempt)
	return web.Limits{
		Authorize: l.PerAddress("authorize", limit.Rate(c.Authorize)), Identify: l.PerAddress("identify", limit.Rate(c.Identify)),
		Failures: l.PerAddress("failures", limit.Rate(c.Failures)), Junk: l.PerAddress("junk", limit.Rate(c.Junk)),
		Client: l.PerID("client", limit.Rate(c.Client)),
		Token:  l.PerID("token", limit.Rate(c.Token)).Alone(), Keys: l.PerAddress("keys", limit.Rate(c.Keys)).Alone(),
	}
}

// Handler serves the public listener, Admin the one for operators.
func (n *Node) Handler() http.Handler { return n.web.Handler() }

// Admin serves /healthz, /readyz and /metrics.
func (n *Node) Admin() http.Handler { return n.web.AdminHandler(n.metrics) }

// Close closes the stores; Run has returned.
func (n *Node) Close() error {
	err := errors.Join(n.traces.close(), n.kv.Close(), n.DB.Close())
	kv.LogRedis(slog.New(slog.DiscardHandler)) // the log may be gone before the library's last word
	return err
}
