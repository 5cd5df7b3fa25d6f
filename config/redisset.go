package config

import (
	"net/url"
	"strconv"
	"strings"
)

// redisSetURL checks the URL of several Redis nodes, those that Sentinels watch
// or those of a Cluster, and reports false if s is none.
func redisSetURL(s string) (fault string, ok bool) {
	scheme, _, _ := strings.Cut(s, "://")
	sentinel := scheme == "redis-sentinel" || scheme == "rediss-sentinel"
	if !sentinel && scheme != "redis-cluster" && scheme != "rediss-cluster" {
		return "", false
	}
	want := "must be " + scheme + "://HOST:PORT,HOST:PORT"
	if sentinel {
		want += "/NUMBER?master=NAME"
	}
	u, hosts, err := parseHosts(s)
	if err != nil || !validHosts(hosts) || u.Fragment != "" {
		return want, true
	}
	number := strings.TrimPrefix(u.Path, "/")
	if number != "" {
		if _, err := strconv.ParseUint(number, 10, 16); err != nil {
			return want + ", with a database number behind the slash, if any", true
		}
	}
	switch {
	case sentinel && u.Query().Get("master") == "":
		return want + "; what the Sentinels call the master is missing", true
	case !sentinel && strings.Trim(number, "0") != "":
		return want + " without a database number: a Cluster has 0 only", true
	}
	return "", true
}

// parseHosts parses a URL that may list several hosts, which net/url does not
// read: it gets the first, and the list is returned beside.
func parseHosts(s string) (u *url.URL, hosts string, err error) {
	scheme, rest, _ := strings.Cut(s, "://")
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	at := strings.LastIndexByte(authority, '@') + 1
	hosts = authority[at:]
	first, _, _ := strings.Cut(hosts, ",")
	u, err = url.Parse(scheme + "://" + authority[:at] + first + tail)
	return u, hosts, err
}

// validHosts reports whether hosts is a list of HOST or HOST:PORT.
func validHosts(hosts string) bool {
	for _, h := range strings.Split(hosts, ",") {
		u, err := url.Parse("//" + h)
		if err != nil || u.Hostname() == "" || u.Host != h {
			return false
		}
		if port := u.Port(); port != "" {
			if _, err := strconv.ParseUint(port, 10, 16); err != nil {
				return false
			}
		}
	}
	return true
}
