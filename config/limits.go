package config

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Rate is so many requests in a time; they may come all at once. The zero Rate
// is no limit.
type Rate struct {
	Events int
	Per    time.Duration
}

// off is a rate without a limit, none a list that is empty on purpose.
const (
	off  = "off"
	none = "none"
)

func (r Rate) String() string {
	if r.Events == 0 {
		return off
	}
	per := r.Per.String() // 1m0s
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(per, zero) {
			per = per[:len(per)-2]
		}
	}
	return strconv.Itoa(r.Events) + "/" + per
}

// Limits says how often one address block or one client may ask.
type Limits struct {
	Exempt    []netip.Prefix // addresses that no limit counts
	Authorize Rate           // per address block: authorize requests
	Identify  Rate           // per address block: forms that ask a phone
	Failures  Rate           // per client and address block: failed authentications; per address block: bad access tokens
	Junk      Rate           // per address block: messages to mid/1 that no known phone signed
	Client    Rate           // per client: backchannel requests and REST calls
	Token     Rate           // per client, on each node: token requests with good credentials
	Keys      Rate           // per address block, on each node: requests for the keys of mid/1
}

func parseRate(s string) (Rate, bool) {
	if s == off {
		return Rate{}, true
	}
	n, per, ok := strings.Cut(s, "/")
	events, err := strconv.Atoi(n)
	d, derr := time.ParseDuration(per)
	ok = ok && err == nil && derr == nil && events > 0 && events <= 1e6 && d >= time.Second && d <= time.Hour && d%time.Second == 0
	return Rate{events, d}, ok
}

func (l *loader) checkLimits() (out Limits) {
	for path, into := range map[string]*Rate{"limits.authorize": &out.Authorize, "limits.identify": &out.Identify,
		"limits.failures": &out.Failures, "limits.junk": &out.Junk, "limits.client": &out.Client,
		"limits.token": &out.Token, "limits.keys": &out.Keys} {
		var ok bool
		if *into, ok = parseRate(l.k.String(path)); !ok {
			l.verify(path, "must be COUNT/TIME with whole seconds up to an hour, such as 60/1m, or off")
		}
	}
	if list := l.k.Strings("limits.exempt"); len(list) != 1 || list[0] != none {
		out.Exempt = l.networks("limits.exempt")
	}
	return out
}

func anchorSyslog(s string) string {
	if s == "" || s == "local" {
		return ""
	}
	for _, scheme := range []string{"udp://", "tcp://"} {
		if addr, ok := strings.CutPrefix(s, scheme); ok {
			if host, port, problem := splitAddr(addr); problem == "" && host != "" && port != 0 {
				return ""
			}
		}
	}
	return "must be local, udp://HOST:PORT or tcp://HOST:PORT"
}

func anchorURL(s string) string {
	u, err := url.Parse(s)
	if s == "" || err == nil && u.Hostname() != "" && (u.Scheme == "https" || u.Scheme == "http") && u.User == nil && u.Fragment == "" {
		return ""
	}
	return "must be an http or https URL without a user, such as https://anchors.example.com/mobileid"
}
