package config

import (
	"strings"

	"github.com/spf13/pflag"
)

const (
	envPrefix = "MOBILEID_"
	fileFlag  = "config"
)

// foreignEnv are variables with our prefix that are not configuration: the PIN
// of `mobileid phone`, which runs in the same shells.
var foreignEnv = map[string]bool{envPrefix + "PHONE_PIN": true}

// key describes one setting; the same table feeds the file check, the
// environment, the flags and docs/configuration.md.
type key struct {
	path  string
	list  bool
	yes   bool   // true or false; the flag alone means true
	def   string // empty: derived, or nothing; of a list, separated by commas
	demo  bool   // only `mobileid demo` uses it
	usage string
}

var keys = []key{
	{path: "issuer", usage: "OpenID issuer, scheme and host only; https, or http on loopback (default: http://localhost and the port of --listen, when that is on loopback)"},
	{path: "listen", def: "127.0.0.1:8080", usage: "address of the public listener; port 0 picks one"},
	{path: "admin_listen", def: "127.0.0.1:9090", usage: "address of /healthz, /readyz and /metrics; port 0 picks one"},
	{path: "data_dir", def: "data", usage: "folder of the embedded stores and the master key"},
	{path: "tls.cert", usage: "PEM file of the certificate and its chain; with tls.key the public listener speaks https itself"},
	{path: "tls.key", usage: "PEM file of the certificate's private key"},
	{path: "trusted_proxies", list: true, usage: "networks whose X-Forwarded headers are believed, such as 10.0.0.0/8"},
	{path: "db.url", usage: "durable store, sqlite:PATH or postgres://USER@HOST/DATABASE (default: mobileid.db in the data folder)"},
	{path: "kv.url", usage: "short-lived store, sqlite:PATH, postgres://USER@HOST/DATABASE, redis://HOST:PORT or rediss://HOST:PORT; redis-sentinel:// or redis-cluster:// and several hosts (default: the database of --db-url, if that is PostgreSQL, or else kv.db in the data folder)"},
	{path: "master_key_file", usage: "file of the key that seals all others, made on first start (default: master.key in the data folder)"},
	{path: "egress.allow", list: true, usage: "networks besides the public ones that clients may have called, such as 127.0.0.0/8 for development"},
	{path: "push.allow", list: true, usage: "networks besides the public ones that phones may have called for their pushes, such as that of a UnifiedPush distributor inside"},
	{path: "log.level", def: "info", usage: "debug, info, warn or error"},
	{path: "log.format", def: "text", usage: "text or json"},
	{path: "audit.anchor_file", usage: "file that the heads of the audit chain are appended to (default: audit-anchors.log in the data folder)"},
	{path: "audit.anchor_syslog", usage: "syslog that gets them too: local, udp://HOST:PORT or tcp://HOST:PORT (default: none)"},
	{path: "audit.anchor_url", usage: "address that they are posted to as JSON, public or in egress.allow (default: none)"},
	{path: "limits.exempt", list: true, def: "127.0.0.0/8,::1/128", usage: "networks whose requests are not counted, or none"},
	{path: "limits.authorize", def: "600/1m", usage: "login and logout requests from one address block; COUNT/TIME or off, as all limits"},
	{path: "limits.identify", def: "60/1m", usage: "forms of the login page from one address block that ask a phone"},
	{path: "limits.failures", def: "30/1m", usage: "failed authentications of one client, and access tokens that are none, from one address block"},
	{path: "limits.junk", def: "300/1m", usage: "messages from one address block that no known phone signed"},
	{path: "limits.client", def: "3000/10s", usage: "backchannel requests and REST calls of one client"},
	{path: "limits.token", def: "10000/10s", usage: "token requests of one client, counted by each server for itself"},
	{path: "limits.keys", def: "6000/1m", usage: "requests for the keys of mid/1 from one address block, counted by each server for itself"},
	{path: "telemetry.otlp_endpoint", usage: "URL of an OpenTelemetry collector that takes traces by OTLP over HTTP, such as http://127.0.0.1:4318 (default: no traces)"},
	{path: "evidence.tsa_url", usage: "URL of a time-stamping authority (RFC 3161) that stamps the evidence of signatures (default: none)"},
	{path: "attestation.android_roots", usage: "PEM file with the authorities whose Android key attestations are trusted (default: none)"},
	{path: "attestation.apple_roots", usage: "PEM file with the authorities whose App Attest statements are trusted (default: none)"},
	{path: "attestation.revoked", usage: "JSON file with the serial numbers of revoked attestation certificates (default: none)"},
	{path: "demo.shop_listen", def: "127.0.0.1:8081", demo: true, usage: "address of the demo shop; port 0 picks one"},
	{path: "demo.tls", yes: true, def: "false", demo: true, usage: "https with a certificate authority of the demo's own, so that a phone on the same network can be used"},
	{path: "demo.host", def: "localhost", demo: true, usage: "name or address of this machine, by which browsers and phones reach it; with --tls"},
	{path: "demo.ca_listen", def: "127.0.0.1:8082", demo: true, usage: "address where the authority's certificate can be downloaded over http; with --tls; port 0 picks one"},
}

// env is the name of the environment variable: two underscores between levels.
func (k key) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "__"))
}

// flag is the name on the command line. The demo's keys go without their
// section, as the program's name already says it.
func (k key) flag() string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(strings.TrimPrefix(k.path, "demo."))
}

// Flags registers --config and a flag for every key that the server uses.
// Load takes only those that were set.
func Flags(fs *pflag.FlagSet) {
	fs.String(fileFlag, "", "YAML file to read")
	register(fs, false)
}

// DemoFlags registers the flags of what only `mobileid demo` uses; call it
// besides Flags.
func DemoFlags(fs *pflag.FlagSet) { register(fs, true) }

func register(fs *pflag.FlagSet, demo bool) {
	for _, k := range keys {
		switch {
		case k.demo != demo:
		case k.list:
			fs.StringSlice(k.flag(), splitList(k.def), k.usage)
		default:
			fs.String(k.flag(), k.def, k.usage)
			if k.yes {
				fs.Lookup(k.flag()).NoOptDefVal = "true"
			}
		}
	}
}

// suggest finds the key that a misspelt name probably meant: the same letters
// with other separators or case.
func suggest(name string) (key, bool) {
	for _, k := range keys {
		if bare(k.path) == bare(name) || bare(k.flag()) == bare(name) {
			return k, true
		}
	}
	return key{}, false
}

func bare(s string) string {
	return strings.NewReplacer(".", "", "_", "", "-", "").Replace(strings.ToLower(s))
}
