package provider

import (
	"net/netip"
	"net/url"
	"strings"

	"mobileid/internal/fault"
)

// matchRedirect reports whether a client that registered the URI may be
// answered at the one it asked for: the same bytes, or, for http on a loopback
// IP literal, the same but for the port (RFC 8252 section 7.3). Nothing is
// parsed, decoded or normalised, so there is nothing to disagree about.
func matchRedirect(registered, asked string) bool {
	if registered == asked {
		return true
	}
	host, rest, ok := loopback(registered)
	if !ok {
		return false
	}
	askedHost, askedRest, ok := loopback(asked)
	return ok && host == askedHost && rest == askedRest
}

// isWeb reports whether a verified redirect URI is of a web server, or the browser's
// own machine, and not of an app's private-use scheme.
func isWeb(uri string) bool {
	return strings.HasPrefix(uri, "https://") || strings.HasPrefix(uri, "http://")
}

// loopback splits http://<loopback IP literal>[:port]<rest>.
func loopback(uri string) (host, rest string, ok bool) {
	s, ok := strings.CutPrefix(uri, "http://")
	if !ok {
		return "", "", false
	}
	end := strings.IndexAny(s, "/?")
	if end < 0 {
		end = len(s)
	}
	host, rest = s[:end], s[end:]
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		port := host[i+1:]
		if port == "" || len(port) > 5 || strings.Trim(port, "0123456789") != "" {
			return "", "", false
		}
		host = host[:i]
	}
	bare := host
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		bare = host[1 : len(host)-1]
	}
	addr, err := netip.ParseAddr(bare)
	if err != nil || addr.Is6() != (bare != host) || !addr.IsLoopback() || addr.String() != bare {
		return "", "", false
	}
	return host, rest, true
}

// ValidateRedirectURI reports what is wrong with a redirect URI at the creation
// of a client: fosite would take user information, backslashes, fragments and
// any scheme. Allowed are https, http on a loopback IP literal, a private-use
// scheme in reverse domain notation (RFC 8252 section 7.1), and, if
// loopbackByName, http on localhost.
func ValidateRedirectURI(uri string, loopbackByName bool) error {
	bad := func(detail string) error {
		return fault.InField("/redirect_uris", "invalid_redirect_uri", "redirect URI "+detail)
	}
	if len(uri) > 2000 {
		return bad("may have 2000 characters at most")
	}
	for _, c := range []byte(uri) {
		if c <= 0x20 || c >= 0x7f || strings.IndexByte("\\\"<>^`{|}*#", c) >= 0 {
			return bad(`must be ASCII without spaces, fragment, wildcard or any of \ " < > ^ { | }` + " `")
		}
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" {
		return bad("must be an absolute URI")
	}
	if !strings.HasPrefix(uri, u.Scheme+":") || u.Host != strings.ToLower(u.Host) {
		return bad("must be written with scheme and host in lower case")
	}
	lower := strings.ToLower(u.EscapedPath())
	for _, part := range strings.FieldsFunc(strings.ReplaceAll(lower, "%2e", "."), func(r rune) bool { return r == '/' || r == ';' }) {
		if part == ".." || part == "." {
			return bad("may not hold . or .. as a path segment")
		}
	}
	if strings.Contains(lower, "%2f") || strings.Contains(lower, "%5c") || strings.Contains(lower, "%00") {
		return bad("may not hold an encoded slash, backslash or NUL")
	}
	switch {
	case u.Scheme == "https" || u.Scheme == "http":
		return checkWebRedirect(u, uri, loopbackByName, bad)
	case !strings.Contains(u.Scheme, "."):
		return bad("must use https, http on a loopback address, or a scheme such as com.example.app")
	case u.Host != "" || u.User != nil:
		return bad("with a private-use scheme must have the form com.example.app:/path")
	case !strings.HasPrefix(u.Path, "/"):
		return bad("with a private-use scheme must have the form com.example.app:/path")
	}
	return nil
}

func checkWebRedirect(u *url.URL, uri string, loopbackByName bool, bad func(string) error) error {
	host := u.Hostname()
	switch {
	case u.User != nil || strings.Contains(u.Host, "@"):
		return bad("may not hold user information")
	case host == "" || u.Opaque != "":
		return bad("must name a host")
	case strings.HasSuffix(u.Host, ":") || u.Port() == "0":
		return bad("has a port that is none")
	case strings.HasSuffix(host, "."):
		return bad("may not name a host that ends in a dot")
	case u.Scheme == "https":
		return nil
	}
	if _, _, ok := loopback(uri); ok || loopbackByName && host == "localhost" {
		return nil
	}
	return bad("may use http only on a loopback address such as http://127.0.0.1/callback")
}
