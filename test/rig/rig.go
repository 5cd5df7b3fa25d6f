// Package rig starts the whole server inside a test, on real stores, with a
// clock that the test moves, and gives it what people and merchants have: phones,
// browsers and clients. Everything goes in by the front door.
package rig

import (
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/config"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/db/dbtest/schema"
	"mobileid/internal/identity"
	"mobileid/internal/kv/kvtest"
	"mobileid/sdk"
)

// PIN is that of every phone of the rig, WrongPIN is nobody's.
const (
	PIN      = "271828"
	WrongPIN = "314159"
)

// Callback is where the clients of the rig are answered. Nobody listens there:
// a Browser stops before it.
const Callback = "https://rp.example/callback"

// Options change what Start does.
type Options struct {
	DB    string // URL of a PostgreSQL; "": the embedded store
	KV    string // URL of a Redis; "": the embedded store, or DB's
	Dir   string // data folder, to start again on old data; "": a new one
	Nodes int    // servers on the same stores; 0: one
	// Clocks are the machines' own, one a node, where nodes that disagree are the
	// point. The test then lives in real time, and Rig.Clock stands still.
	Clocks []clock.Clock
	Policy identity.Policy // of the App
	Egress []netip.Prefix  // what may be called besides public addresses, but for pushes
	Push   []netip.Prefix  // what pushes may go to besides public addresses
	// Resolver looks up the names that the server calls; nil: the system's.
	Resolver *net.Resolver
	TLS      bool   // the server speaks https by itself
	Trace    string // URL of an OTLP collector; "": no traces
	TSA      string // URL of a time-stamping authority; "": none
	// Attestation says whose word counts about phones' keys; nobody's by default.
	Attestation config.Attestation
	Log         slog.Level   // what is logged to the test; default errors only
	LogTo       io.Writer    // where to instead
	Logger      *slog.Logger // instead of both
	// Limits are off by default; Proxies are none.
	Limits  config.Limits
	Proxies []netip.Prefix
}

// Rig is a running server, or several that share their stores, with a merchant
// and clients.
type Rig struct {
	T        testing.TB
	Issuer   string
	Clock    *clock.Manual
	Now      func() time.Time // of phones
	Node     *node.Node       // the first
	Dir      string
	Merchant db.Merchant
	App      db.App
	// Web logs people in (confidential, code and refresh), Backend is a trusted
	// CIBA and REST client, Match a CIBA client whose users type a number.
	Web, Backend, Match node.NewClient
	HTTP                *http.Client // its requests go to the nodes in turn

	nodes []server
	stop  func()
}

// engine is what a server can stand on.
type engine struct {
	name string
	on   func(t testing.TB) Options
}

// engines are the stores that a server can stand on, by name.
var engines = []engine{
	{"embedded", func(testing.TB) Options { return Options{} }},
	{"redis", func(t testing.TB) Options { return Options{KV: kvtest.Redis(t)} }},
	{"postgres", func(t testing.TB) Options { return Options{DB: schema.Postgres(t)} }},
	{"postgres and redis", func(t testing.TB) Options { return Options{DB: schema.Postgres(t), KV: kvtest.Redis(t)} }},
}

// Contested is Everywhere for what only one may have: on a Redis Cluster too, and not
// on a single Redis beside the embedded store.
func Contested(t *testing.T, fn func(t *testing.T, r *Rig)) {
	clustered := engine{"postgres and a redis cluster", func(t testing.TB) Options {
		return Options{DB: schema.Postgres(t), KV: kvtest.SharedCluster(t)}
	}}
	alone := func(e engine) bool { return e.name == "redis" }
	everywhere(t, append(slices.DeleteFunc(slices.Clone(engines), alone), clustered), fn)
}

// Each runs fn on a server over each engine: embedded, Redis, PostgreSQL alone,
// PostgreSQL and Redis.
func Each(t *testing.T, fn func(t *testing.T, r *Rig)) { EachWith(t, identity.Policy{}, fn) }

// EachWith is Each with a policy of the App.
func EachWith(t *testing.T, policy identity.Policy, fn func(t *testing.T, r *Rig)) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			o := e.on(t)
			o.Policy = policy
			fn(t, Start(t, o))
		})
	}
}

// Everywhere is Each with two nodes where the stores are shared, on PostgreSQL:
// each request then meets whichever node is next.
func Everywhere(t *testing.T, fn func(t *testing.T, r *Rig)) { everywhere(t, engines, fn) }

func everywhere(t *testing.T, engines []engine, fn func(t *testing.T, r *Rig)) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			o := e.on(t)
			if o.DB != "" {
				o.Nodes = 2
			}
			fn(t, Start(t, o))
		})
	}
}

// Start starts a server; the test's end stops it.
func Start(t testing.TB, o Options) *Rig {
	t.Helper()
	r := &Rig{T: t, Clock: clock.NewManual(time.Now().Truncate(time.Millisecond)), Dir: o.Dir, HTTP: &http.Client{Timeout: 40 * time.Second}}
	r.Now = r.Clock.Now
	if o.Clocks != nil {
		r.Now = time.Now
	}
	if r.Dir == "" {
		r.Dir = t.TempDir()
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	r.must(err)
	r.Issuer = config.LoopbackIssuer(node.Port(ln))
	cfg := &config.Config{Issuer: r.Issuer, DataDir: r.Dir, MasterKeyFile: filepath.Join(r.Dir, "master.key")}
	cfg.DB.URL = config.StoreURL("sqlite:" + filepath.Join(r.Dir, "mobileid.db"))
	cfg.KV.URL = config.StoreURL("sqlite:" + filepath.Join(r.Dir, "kv.db"))
	cfg.Audit.AnchorFile = filepath.Join(r.Dir, "audit-anchors.log")
	cfg.Limits, cfg.TrustedProxies = o.Limits, o.Proxies
	if o.DB != "" {
		cfg.DB.URL, cfg.KV.URL = config.StoreURL(o.DB), config.StoreURL(o.DB)
	} else {
		r.must(schema.File(filepath.Join(r.Dir, "mobileid.db")))
	}
	cfg.Egress.Allow, cfg.Push.Allow = o.Egress, o.Push
	if o.TLS {
		cfg.TLS = r.secure()
		r.Issuer = cfg.SelfIssuer(node.Port(ln))
		cfg.Issuer = r.Issuer
	}
	cfg.Attestation = o.Attestation
	cfg.Telemetry.OTLPEndpoint, cfg.Evidence.TSAURL = o.Trace, o.TSA
	if o.KV != "" {
		cfg.KV.URL = config.StoreURL(o.KV)
	}
	level := slog.LevelError
	if o.Log != 0 {
		level = o.Log
	}
	to := o.LogTo
	if to == nil {
		to = t.Output()
	}
	log := slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: level}))
	if o.Logger != nil {
		log = o.Logger
	}
	for i := range max(1, o.Nodes) {
		if i > 0 {
			ln, err = net.Listen("tcp", "127.0.0.1:0")
			r.must(err)
		}
		var clk clock.Clock = r.Clock
		if o.Clocks != nil {
			clk = o.Clocks[i]
		}
		r.serve(cfg, o.Resolver, clk, log, ln)
	}
	r.Node = r.nodes[0].Node
	if len(r.nodes) > 1 {
		r.HTTP.Transport = &turns{nodes: r.nodes, under: http.DefaultTransport}
	}
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		r.HTTP.CloseIdleConnections()
		http.DefaultClient.CloseIdleConnections()
		for _, n := range r.nodes {
			n.stop()
		}
	}
	t.Cleanup(r.stop)
	r.seed(o)
	return r
}

// Stop stops the server before the test ends.
func (r *Rig) Stop() { r.stop() }

func (r *Rig) must(err error) {
	r.T.Helper()
	if err != nil {
		r.T.Fatalf("rig: %v", err)
	}
}

func (r *Rig) seed(o Options) {
	r.T.Helper()
	var err error
	r.Merchant, r.App, err = r.Node.CreateMerchant(r.T.Context(), "Acme", o.Policy)
	r.must(err)
	const ciba = "urn:openid:params:grant-type:ciba"
	r.Web = r.Client(node.ClientOptions{Name: "Acme Shop", Grants: []string{"authorization_code", "refresh_token"},
		RedirectURIs: []string{Callback}, Scopes: []string{"openid", "offline_access", "profile"}})
	r.Backend = r.Client(node.ClientOptions{Name: "Acme Backend", Binding: "trusted", RevealUnknownUser: true,
		Grants: []string{"client_credentials", ciba, "refresh_token"}, Scopes: []string{"openid", "mobileid.users", "mobileid.devices", "mobileid.operations", "mobileid.admin"}})
	r.Match = r.Client(node.ClientOptions{Name: "Acme Call Centre", Grants: []string{ciba}, Scopes: []string{"openid"}})
}

// Client adds a client of the rig's merchant; a confidential one by default.
func (r *Rig) Client(o node.ClientOptions) node.NewClient {
	r.T.Helper()
	c, err := r.Node.CreateClient(r.T.Context(), r.Merchant.ID, o)
	r.must(err)
	return c
}

// User adds a user with a random reference.
func (r *Rig) User() db.User {
	r.T.Helper()
	u, err := r.Node.Users.CreateUser(r.T.Context(), r.Merchant.ID, "user-"+rand.Text()[:12], nil)
	r.must(err)
	return u
}

// Phone is a phone that belongs to nobody yet, in a file of the test's.
func (r *Rig) Phone() *sdk.Phone {
	file := &sdk.File{Path: filepath.Join(r.T.TempDir(), "phone.json")}
	return &sdk.Phone{Store: file, Keys: file, HTTP: r.HTTP, Now: r.Now, Rand: rand.Reader, Platform: "cli", Model: "Test phone", Stretch: StretchOnce()}
}

// Registered is a phone that is registered for the user with PIN.
func (r *Rig) Registered(u db.User) *sdk.Phone { return r.RegisteredAs(u, func(*sdk.Phone) {}) }

// RegisteredAs is Registered of a phone that is changed first.
func (r *Rig) RegisteredAs(u db.User, change func(*sdk.Phone)) *sdk.Phone {
	r.T.Helper()
	p, started := r.Phone(), r.registration(u)
	change(p)
	_, err := p.Register(r.T.Context(), started.Text("link"))
	r.must(err)
	reg, err := p.Finish(r.T.Context(), PIN)
	r.must(err)
	if reg.Compare {
		r.REST("POST", "/registrations/"+started.Text("id")+"/confirm", map[string]any{"digits": r.State(p).Digits})
		reg, err = p.Status(r.T.Context())
		r.must(err)
	}
	if reg.State != sdk.StatusActive {
		r.T.Fatalf("rig: the phone is %s", reg.State)
	}
	return p
}

// Person is a user with a registered phone.
func (r *Rig) Person() (db.User, *sdk.Phone) {
	r.T.Helper()
	u := r.User()
	return u, r.Registered(u)
}

// SQL runs fn in a write transaction of the server's database.
func (r *Rig) SQL(fn func(tx *db.Tx) error) {
	r.T.Helper()
	r.must(r.Node.DB.Update(r.T.Context(), fn))
}

// drain reads and closes a body.
func drain(res *http.Response) ([]byte, error) {
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}
