package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/v2"
)

// redacted stands for a secret wherever a person may read.
const redacted = "[REDACTED]"

// StoreURL is the address of a store and may hold a password. It prints
// without it; only Reveal gives the whole.
type StoreURL string

// Reveal returns the URL with its password, for whoever opens the store.
func (u StoreURL) Reveal() string { return string(u) }

// String returns the URL with every password in it replaced.
func (u StoreURL) String() string {
	s := string(u)
	if strings.HasPrefix(s, "sqlite:") {
		return s
	}
	p, hosts, err := parseHosts(s)
	if err != nil || !strings.Contains(s, "://") || hosts != "" && !validHosts(hosts) || strings.Contains(p.Path, "@") {
		return redacted
	}
	// By hand rather than by p.String: that would escape the brackets.
	out := p.Scheme + "://"
	if p.User != nil {
		out += url.PathEscape(p.User.Username())
		if _, has := p.User.Password(); has {
			out += ":" + redacted
		}
		out += "@"
	}
	out += hosts + p.EscapedPath()
	if p.RawQuery != "" {
		out += "?" + redactQuery(p.RawQuery)
	}
	return out
}

func redactQuery(raw string) string {
	pairs := strings.Split(raw, "&")
	for i, pair := range pairs {
		name, _, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err != nil || strings.Contains(strings.ToLower(plain), "password") {
			pairs[i] = name + "=" + redacted
		}
	}
	return strings.Join(pairs, "&")
}

// GoString keeps %#v from printing the password.
func (u StoreURL) GoString() string { return fmt.Sprintf("%q", u.String()) }

// LogValue keeps slog from printing the password.
func (u StoreURL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// MarshalText keeps JSON and YAML from printing the password.
func (u StoreURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// Redacted is the whole configuration as a YAML file that Load would take,
// but for the passwords.
func (c *Config) Redacted() ([]byte, error) {
	k := koanf.New(".")
	for path, v := range map[string]any{
		"issuer":                    c.Issuer,
		"listen":                    c.Listen,
		"admin_listen":              c.AdminListen,
		"data_dir":                  c.DataDir,
		"tls.cert":                  c.TLS.Cert,
		"tls.key":                   c.TLS.Key,
		"trusted_proxies":           prefixes(c.TrustedProxies),
		"db.url":                    c.DB.URL.String(),
		"kv.url":                    c.KV.URL.String(),
		"master_key_file":           c.MasterKeyFile,
		"egress.allow":              prefixes(c.Egress.Allow),
		"push.allow":                prefixes(c.Push.Allow),
		"log.level":                 strings.ToLower(c.Log.Level.String()),
		"log.format":                c.Log.Format,
		"telemetry.otlp_endpoint":   c.Telemetry.OTLPEndpoint,
		"evidence.tsa_url":          c.Evidence.TSAURL,
		"attestation.android_roots": c.Attestation.AndroidRoots,
		"attestation.apple_roots":   c.Attestation.AppleRoots,
		"attestation.revoked":       c.Attestation.Revoked,
		"demo.shop_listen":          c.Demo.ShopListen,
		"demo.tls":                  strconv.FormatBool(c.Demo.TLS),
		"demo.host":                 c.Demo.Host,
		"demo.ca_listen":            c.Demo.CAListen,
		"audit.anchor_file":         c.Audit.AnchorFile,
		"audit.anchor_syslog":       c.Audit.AnchorSyslog,
		"audit.anchor_url":          c.Audit.AnchorURL,
		"limits.exempt":             exempt(c.Limits.Exempt),
		"limits.authorize":          c.Limits.Authorize.String(),
		"limits.identify":           c.Limits.Identify.String(),
		"limits.failures":           c.Limits.Failures.String(),
		"limits.junk":               c.Limits.Junk.String(),
		"limits.client":             c.Limits.Client.String(),
		"limits.token":              c.Limits.Token.String(),
		"limits.keys":               c.Limits.Keys.String(),
	} {
		if err := k.Set(path, v); err != nil {
			return nil, fmt.Errorf("config: print %s: %w", path, err)
		}
	}
	b, err := k.Marshal(yaml.Parser())
	if err != nil {
		return nil, fmt.Errorf("config: print: %w", err)
	}
	return b, nil
}

func prefixes(ps []netip.Prefix) []string {
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.String()
	}
	return out
}

func exempt(ps []netip.Prefix) []string {
	if len(ps) == 0 {
		return []string{none}
	}
	return prefixes(ps)
}
