package node

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"mobileid/internal/callback"
	"mobileid/internal/egress"
)

// Callbacks keeps the merchants' endpoints. Only those of a running Node send.
func (s *Stores) Callbacks() *callback.Callbacks {
	return callback.New(callback.Config{DB: s.DB, Box: s.box, Audit: s.Audit, Clock: s.Clock, Inside: within(s.Config.Egress.Allow)})
}

// within reports whether a host is in one of the networks: its address is, or it
// is localhost and that one's address is.
func within(networks []netip.Prefix) func(host string) bool {
	return func(host string) bool {
		if host == "localhost" {
			host = "127.0.0.1"
		}
		ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil {
			return false
		}
		return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(ip.Unmap().WithZone("")) })
	}
}

// sending are those that send, by the way out of what clients and operators name.
func (n *Node) sending() *callback.Callbacks {
	return callback.New(callback.Config{DB: n.DB, Box: n.box, Audit: n.Audit, Clock: n.Clock, Log: n.Log, Inside: within(n.Config.Egress.Allow), Tried: n.gauges.webhookTried,
		Post: func(ctx context.Context, address string, header http.Header, body []byte) (int, error) {
			a, err := n.egress.Send(ctx, egress.Request{Method: http.MethodPost, URL: address, Header: header, Body: body})
			return a.Status, err
		}})
}
