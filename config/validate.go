package config

import (
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// check turns the merged values into a Config and notes every fault. The
// result is of use only when there was none.
func (l *loader) check() *Config {
	c := &Config{
		Listen:        l.k.String("listen"),
		AdminListen:   l.k.String("admin_listen"),
		TLS:           TLS{Cert: l.k.String("tls.cert"), Key: l.k.String("tls.key")},
		DataDir:       l.k.String("data_dir"),
		DB:            DB{URL: StoreURL(l.k.String("db.url"))},
		KV:            KV{URL: StoreURL(l.k.String("kv.url"))},
		MasterKeyFile: l.k.String("master_key_file"),
		Log:           Log{Format: l.k.String("log.format")},
		Audit:         Audit{AnchorFile: l.k.String("audit.anchor_file"), AnchorSyslog: l.k.String("audit.anchor_syslog"), AnchorURL: l.k.String("audit.anchor_url")},
		Telemetry:     Telemetry{OTLPEndpoint: l.k.String("telemetry.otlp_endpoint")},
		Evidence:      Evidence{TSAURL: l.k.String("evidence.tsa_url")},
		Attestation: Attestation{AndroidRoots: l.k.String("attestation.android_roots"), AppleRoots: l.k.String("attestation.apple_roots"),
			Revoked: l.k.String("attestation.revoked")},
		Demo: Demo{ShopListen: l.k.String("demo.shop_listen"), TLS: l.demo && l.k.String("demo.tls") == "true",
			Host: l.k.String("demo.host"), CAListen: l.k.String("demo.ca_listen")},
	}
	l.checkTLS(c)
	l.checkListeners()
	c.TrustedProxies = l.networks("trusted_proxies")
	c.Egress.Allow = l.networks("egress.allow")
	c.Push.Allow = l.networks("push.allow")
	c.Limits = l.checkLimits()
	l.verify("audit.anchor_syslog", anchorSyslog(c.Audit.AnchorSyslog))
	l.verify("audit.anchor_url", anchorURL(c.Audit.AnchorURL))
	c.Issuer = l.checkIssuer(c)
	l.verify("db.url", dbURL(c.DB.URL.Reveal()))
	l.verify("kv.url", kvURL(c.KV.URL.Reveal()))
	l.checkFiles(c)
	l.verify("log.level", logLevel(l.k.String("log.level"), &c.Log.Level))
	if c.Log.Format != "text" && c.Log.Format != "json" {
		l.verify("log.format", "must be text or json")
	}
	l.verify("telemetry.otlp_endpoint", endpointProblem(c.Telemetry.OTLPEndpoint))
	l.verify("evidence.tsa_url", authorityProblem(c.Evidence.TSAURL))
	return c
}

// endpointProblem wants no password here: what is printed of the configuration
// would tell it.
func endpointProblem(s string) string {
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "":
		return "must be a URL, such as http://127.0.0.1:4318"
	case u.User != nil:
		return "must not hold a user or password; OTEL_EXPORTER_OTLP_HEADERS can hold an Authorization header"
	}
	return ""
}

// authorityProblem wants an address that can be posted to.
func authorityProblem(s string) string {
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.Fragment != "":
		return "must be a URL, such as https://tsa.example/"
	case u.User != nil:
		return "must not hold a user or password"
	}
	return ""
}

// verify notes a problem of a key unless the key is known to be faulty already
// or there is none.
func (l *loader) verify(path, problem string) {
	if problem != "" && !l.faulty[path] {
		l.fault(path, l.origin[path], "%s", problem)
	}
}

// checkListeners wants addresses that can be bound side by side. The
// demo's defaults are not compared: most servers never open them.
func (l *loader) checkListeners() {
	taken := map[string]string{}
	for _, path := range []string{"listen", "admin_listen", "demo.shop_listen", "demo.ca_listen"} {
		addr := l.k.String(path)
		_, port, err := splitAddr(addr)
		if err != "" {
			l.verify(path, err)
			continue
		}
		if strings.HasPrefix(path, "demo.") && l.origin[path] == byDefault {
			continue
		}
		if other, ok := taken[addr]; ok && port != 0 {
			l.verify(path, "is the same address as "+other)
		}
		taken[addr] = path
	}
}

func splitAddr(addr string) (host string, port uint64, problem string) {
	const want = "must be HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080"
	host, p, err := net.SplitHostPort(addr)
	if err != nil || strings.ContainsAny(host, "/@ ") {
		return "", 0, want
	}
	if port, err = strconv.ParseUint(p, 10, 16); err != nil {
		return "", 0, want + "; the port is a number up to 65535"
	}
	return host, port, ""
}

// checkIssuer returns the issuer, or derives it from a listener on loopback.
// OpenID Connect Discovery 1.0 section 3 wants https and neither query nor
// fragment; a path is refused because the server answers at the root.
func (l *loader) checkIssuer(c *Config) string {
	issuer := l.k.String("issuer")
	own := c.Demo.TLS // the demo's host is checked already
	if own && issuer != "" {
		l.verify("issuer", "must not be given with demo.tls, which makes it of demo.host")
	}
	if issuer == "" {
		host, port, problem := splitAddr(l.k.String("listen"))
		switch {
		case problem != "" || l.faulty["listen"] || l.faulty["issuer"]:
		case !own && !isLoopback(host):
			l.fault("issuer", byDefault, "must be given when listen is not on loopback; it is the https address that browsers use")
		case port != 0:
			return c.SelfIssuer(int(port))
		default:
			// Port 0: the caller fills it in once the listener has its port.
		}
		return ""
	}
	l.verify("issuer", issuerProblem(issuer))
	if c.TLS.On() && strings.HasPrefix(issuer, "http:") {
		l.verify("issuer", "must be https: tls.cert is given")
	}
	return issuer
}

// LoopbackIssuer is the issuer of a server that listens on loopback without TLS
// and was given none.
func LoopbackIssuer(port int) string { return "http://localhost:" + strconv.Itoa(port) }

// SelfIssuer is the issuer of a server that was given none and listens on port;
// the address of the demo shop follows the same rule. A default port is left out.
func (c *Config) SelfIssuer(port int) string {
	switch {
	case c.Demo.TLS:
		return strings.TrimSuffix("https://"+net.JoinHostPort(c.Demo.Host, strconv.Itoa(port)), ":443")
	case c.TLS.On():
		return strings.TrimSuffix("https://localhost:"+strconv.Itoa(port), ":443")
	}
	return LoopbackIssuer(port)
}

// checkTLS wants both files or none. Whether they fit together is seen when they
// are read.
func (l *loader) checkTLS(c *Config) {
	for _, f := range []struct{ path, file, other string }{{"tls.cert", c.TLS.Cert, c.TLS.Key}, {"tls.key", c.TLS.Key, c.TLS.Cert}} {
		if f.file == "" && f.other != "" {
			l.fault(f.path, byDefault, "must be given too; TLS needs the certificate and its key")
		}
	}
	if s := l.k.String("demo.tls"); s != "true" && s != "false" {
		l.verify("demo.tls", "must be true or false")
	}
	host := c.Demo.Host
	if problem := issuerProblem("https://" + net.JoinHostPort(host, "8080")); problem != "" || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-.:") != "" {
		l.verify("demo.host", "must be a host name or an IP address, in lower case and without a port")
	}
	if c.Demo.TLS && c.TLS.On() {
		l.verify("demo.tls", "makes its own certificate; leave out tls.cert and tls.key")
	}
}

func issuerProblem(issuer string) string {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || u.Hostname() == "":
		return "must be a URL, such as https://id.example.com"
	case u.User != nil:
		return "must not hold a user or password"
	case strings.Contains(issuer, "?"):
		return "must not have a query"
	case strings.Contains(issuer, "#"):
		return "must not have a fragment"
	case strings.HasSuffix(issuer, "/"):
		return "must not end in a slash"
	case u.Path != "":
		return "must not have a path; the server answers at the root of its host"
	case u.Scheme != "https" && u.Scheme != "http":
		return "must be https, or http on loopback"
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return "must be https; http is for loopback only"
	case issuer != strings.ToLower(issuer):
		return "must be written in lower case; relying parties compare it byte by byte"
	case u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80", strings.HasSuffix(u.Host, ":"):
		return "must leave out the default port, as browsers do"
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return "must have a port from 1 to 65535, or none"
		}
	}
	return ""
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// networks wants exact networks: one written with host bits set was probably
// meant to be another.
func (l *loader) networks(path string) []netip.Prefix {
	var out []netip.Prefix
	for i, s := range l.k.Strings(path) {
		at := path + "[" + strconv.Itoa(i) + "]"
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			l.fault(at, l.origin[path], "%q is not a network, such as 10.0.0.0/8 or 192.0.2.7/32", s)
		case p.Addr().Is4In6():
			l.fault(at, l.origin[path], "%q must be written as an IPv4 network", s)
		case p != p.Masked():
			l.fault(at, l.origin[path], "%q has bits set behind its length; the network is %s", s, p.Masked())
		default:
			out = append(out, p)
		}
	}
	return out
}

// checkFiles wants files that do not overwrite each other.
func (l *loader) checkFiles(c *Config) {
	taken := map[string]string{}
	for _, f := range []struct{ path, file string }{
		{"db.url", sqlitePath(c.DB.URL.Reveal())},
		{"kv.url", sqlitePath(c.KV.URL.Reveal())},
		{"master_key_file", c.MasterKeyFile},
		{"audit.anchor_file", c.Audit.AnchorFile},
	} {
		if f.file == "" {
			continue
		}
		name := filepath.Clean(f.file)
		if other, ok := taken[name]; ok {
			l.verify(f.path, "is the same file as "+other)
		}
		taken[name] = f.path
	}
}

func dbURL(s string) string {
	switch {
	case strings.HasPrefix(s, "sqlite:"):
		return plainPath(sqlitePath(s))
	case isPostgres(s):
		return postgresURL(s)
	}
	return "must be sqlite:PATH or postgres://HOST:PORT/DATABASE"
}

func isPostgres(s string) bool {
	return strings.HasPrefix(s, "postgres://") || strings.HasPrefix(s, "postgresql://")
}

// postgresURL wants the host and the database in the URL: what is left out would
// come from the environment of whoever starts the server.
func postgresURL(s string) string {
	const want = "must be postgres://HOST:PORT/DATABASE, with USER:PASSWORD@ before the host, if need be"
	u, err := url.Parse(s) // its error would repeat the URL, and with it the password
	if err != nil || u.Hostname() == "" && u.Query().Get("host") == "" || len(u.Path) < 2 || strings.Contains(u.Path[1:], "/") || u.Fragment != "" {
		return want
	}
	return ""
}

func kvURL(s string) string {
	if strings.HasPrefix(s, "sqlite:") {
		return plainPath(sqlitePath(s))
	}
	if isPostgres(s) {
		return postgresURL(s)
	}
	if fault, ok := redisSetURL(s); ok {
		return fault
	}
	const want = "must be sqlite:PATH, postgres://HOST:PORT/DATABASE, redis://HOST:PORT or rediss://HOST:PORT"
	u, err := url.Parse(s) // its error would repeat the URL, and with it the password
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" || u.Fragment != "" {
		return want
	}
	if n := strings.TrimPrefix(u.Path, "/"); n != "" {
		if _, err := strconv.ParseUint(n, 10, 16); err != nil {
			return want + ", with a database number behind the slash, if any"
		}
	}
	return ""
}

// sqlitePath is the file in a sqlite: URL, or nothing for another scheme.
func sqlitePath(s string) string {
	path, ok := strings.CutPrefix(s, "sqlite:")
	if !ok {
		return ""
	}
	return path
}

// plainPath refuses what SQLite would read as something else than a file name.
func plainPath(path string) string {
	switch {
	case path == "":
		return "must name a file, as sqlite:PATH"
	case strings.HasPrefix(path, "//"):
		return "must be a plain path; write sqlite:PATH without the two slashes"
	case strings.ContainsAny(path, "?#\x00"):
		return "must be a plain path without ? and #"
	case strings.HasPrefix(path, ":"), strings.HasPrefix(path, "file:"):
		return "must be a plain path of a file that lasts"
	}
	return ""
}

func logLevel(s string, into *slog.Level) string {
	levels := []string{"debug", "info", "warn", "error"}
	if !slices.Contains(levels, s) || into.UnmarshalText([]byte(s)) != nil {
		return "must be one of " + strings.Join(levels, ", ")
	}
	return ""
}
