package egress

import (
	"net/netip"
	"net/url"
	"strings"
)

// maxAddress is the most characters of an address that is kept.
const maxAddress = 2000

// CheckAddress says why nothing could ever be sent to an address that somebody
// gives us to keep, or "". inside reports hosts of the operator's own networks,
// which may be http and at any port; nil: there are none. What a name leads to is
// checked when it is dialled.
func CheckAddress(address string, inside func(host string) bool) (why string) {
	u, err := url.Parse(address)
	if err != nil || len(address) > maxAddress || u.Opaque != "" || strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) {
		return "it is not an address"
	}
	host := hostOf(u)
	ours := inside != nil && inside(host)
	switch {
	case u.Scheme != "https" && !(u.Scheme == "http" && ours):
		return "it must be https"
	case host == "" || u.User != nil || u.Fragment != "" || strings.HasSuffix(address, "#"):
		return "it has no host, or a user or fragment"
	case ours:
		return ""
	case u.Port() != "" && u.Port() != "443" && u.Port() != "8443":
		return "its port must be 443 or 8443"
	}
	if ip, err := netip.ParseAddr(host); err == nil && !(ip.IsGlobalUnicast() && !ip.IsPrivate()) {
		return "it must be a public address"
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || !strings.Contains(host, ".") && !strings.Contains(host, ":") || numeric(host) {
		return "it must be a public address"
	}
	return ""
}

// numeric reports whether the host is an IPv4 address in a form that only some
// readers know: octal, hexadecimal, or with fewer than four numbers.
func numeric(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	return last != "" && strings.TrimLeft(last, "0123456789") == "" || strings.HasPrefix(last, "0x")
}
