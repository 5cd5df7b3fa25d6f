// Package config makes one checked value out of defaults, a YAML file, the
// environment and flags, each layer over the one before it, and reports every
// fault of all of them at once. It opens nothing and reads no clock: whoever
// gets a *Config may trust it without checking again.
package config

import (
	"log/slog"
	"net/netip"

	"github.com/spf13/pflag"
)

// Config is what the server runs with. All derived values are filled in.
type Config struct {
	// Issuer is the OpenID issuer, scheme and authority only. It is empty in
	// one case: it was not given and Listen has port 0. Then the caller must
	// put the address in once the listener has one (SelfIssuer).
	Issuer         string
	Listen         string         // host:port of the public listener
	AdminListen    string         // host:port of /healthz, /readyz and /metrics
	TLS            TLS            // of the public listener; zero: it speaks http, and a proxy in front may speak https
	DataDir        string         // folder of the embedded stores and the master key; the caller makes it, 0700
	TrustedProxies []netip.Prefix // whose X-Forwarded-For and X-Forwarded-Proto are believed; masked, never IPv4-in-IPv6
	DB             DB
	KV             KV
	MasterKeyFile  string // made on first start with mode 0600
	Egress         Egress
	Push           Push
	Log            Log
	Audit          Audit
	Limits         Limits
	Telemetry      Telemetry
	Evidence       Evidence
	Attestation    Attestation
	Demo           Demo
}

// DB says where the durable state lives.
type DB struct {
	URL StoreURL // sqlite:PATH or postgres://…
}

// KV says where the short-lived shared state lives.
type KV struct {
	URL StoreURL // sqlite:PATH, postgres://…, redis://…, redis-sentinel://…, redis-cluster://… or rediss…
}

// Egress says where requests to addresses that clients name may go.
type Egress struct {
	Allow []netip.Prefix // besides public addresses
}

// Push says where pushes may go. Phones name those addresses, so what Egress
// allows for clients and operators does not count for them.
type Push struct {
	Allow []netip.Prefix // besides public addresses
}

// TLS names the files of the public listener's certificate. They are read again
// when they change.
type TLS struct {
	Cert string // PEM, the chain behind the certificate
	Key  string // PEM
}

// On reports whether the public listener speaks https.
func (t TLS) On() bool { return t.Cert != "" }

// Log says what is written to standard error and how.
type Log struct {
	Level  slog.Level
	Format string // text or json
}

// Audit says where the heads of the audit chain are anchored.
type Audit struct {
	AnchorFile   string // appended to, made with mode 0600; empty: none
	AnchorSyslog string // local, udp://HOST:PORT or tcp://HOST:PORT; empty: none
	AnchorURL    string // http or https URL without user, that is posted to; empty: none
}

// Telemetry says where traces go.
type Telemetry struct {
	OTLPEndpoint string // http or https URL without user; empty: none are made
}

// Evidence says who confirms the time of signatures.
type Evidence struct {
	TSAURL string // http or https URL of a time-stamping authority, RFC 3161; empty: none
}

// Attestation says whose word counts about phones' keys. The files are read at start.
type Attestation struct {
	AndroidRoots string // PEM, authorities of Android key attestation; empty: none is trusted
	AppleRoots   string // PEM, authorities of App Attest; empty: none is trusted
	Revoked      string // JSON, serial numbers of revoked certificates; empty: none
}

// Demo holds what only `mobileid demo` uses.
type Demo struct {
	ShopListen string // host:port of the demo shop
	TLS        bool   // https under an authority of the demo's own; false unless Sources.Demo
	Host       string // by which this machine is reached; localhost without TLS
	CAListen   string // host:port where the authority's certificate is; with TLS
}

// Sources are the layers above the defaults. All of them may be empty.
type Sources struct {
	File  string         // path of a YAML file; empty: the value of --config, if that is set
	Env   []string       // as os.Environ gives it
	Flags *pflag.FlagSet // parsed, with what Flags and DemoFlags registered
	Demo  bool           // for `mobileid demo`: demo.tls and demo.host decide about listeners and issuer
}

// Load reads the layers and checks the result. The error is Faults and holds
// every fault found, sorted by key.
func Load(src Sources) (*Config, error) {
	l := newLoader(src.Demo)
	l.readFile(src.file())
	l.readEnv(src.Env)
	l.readFlags(src.Flags)
	l.derive()
	cfg := l.check()
	if len(l.faults) > 0 {
		return nil, l.faults.sorted()
	}
	return cfg, nil
}

func (src Sources) file() string {
	if src.File != "" || src.Flags == nil {
		return src.File
	}
	if f := src.Flags.Lookup(fileFlag); f != nil {
		return f.Value.String()
	}
	return ""
}

// Trusts reports whether addr, the peer of a connection, is a proxy whose
// forwarding headers are believed.
func (c *Config) Trusts(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range c.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
