package node

import (
	"context"
	"net/http"
	"net/netip"
	"strings"

	"mobileid/internal/callback"
	"mobileid/internal/egress"
)

// Callbacks keeps the merchants' endpoints. Only those of a running Node send.
func (s *Stores) Callbacks() *callback.Callbacks {
	return callback.New(callback.Config{DB: s.DB, Box: s.box, Audit: s.Audit, Clock: s.Clock, Inside: s.inside})
}

// inside reports whether a host is in the operator's own networks: an address
// that egress.allow names, or localhost if its address is.
func (s *Stores) inside(host string) bool {
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return false
	}
	for _, p := range s.Config.Egress.Allow {
		if p.Contains(ip.Unmap().WithZone("")) {
			return true
		}
	}
	return false
}

// sending are those that send, by the way out that everything takes.
func (n *Node) sending() *callback.Callbacks {
	return callback.New(callback.Config{DB: n.DB, Box: n.box, Audit: n.Audit, Clock: n.Clock, Log: n.Log, Inside: n.inside, Tried: n.gauges.webhookTried,
		Post: func(ctx context.Context, address string, header http.Header, body []byte) (int, error) {
			a, err := n.egress.Send(ctx, egress.Request{Method: http.MethodPost, URL: address, Header: header, Body: body})
			return a.Status, err
		}})
}
