package rig

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"

	"mobileid/cmd/mobileid/node"
	"mobileid/config"
	"mobileid/internal/clock"
)

// server is one node.
type server struct {
	*node.Node
	addr string
	stop func()
}

// serve starts one more node on the stores of the configuration.
func (r *Rig) serve(cfg *config.Config, resolver *net.Resolver, clk clock.Clock, log *slog.Logger, ln net.Listener) {
	r.T.Helper()
	stores, err := node.Open(r.T.Context(), cfg, clk, true)
	r.must(err)
	stores.Resolver = resolver
	n, err := node.New(r.T.Context(), stores, log, "")
	r.must(err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.T.Context()))
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx, n.Public(ln)) }()
	r.nodes = append(r.nodes, server{Node: n, addr: ln.Addr().String(), stop: func() {
		cancel()
		if err := <-done; err != nil {
			r.T.Errorf("rig: the server ended with %v", err)
		}
		if err := n.Close(); err != nil {
			r.T.Errorf("rig: close: %v", err)
		}
	}})
}

// turns is what a balancer is to the outside: each request goes to the next
// node. The issuer's name stays on it.
type turns struct {
	nodes []server
	under http.RoundTripper
	turn  atomic.Uint64
}

// RoundTrip implements http.RoundTripper.
func (b *turns) RoundTrip(req *http.Request) (*http.Response, error) {
	to := req.Clone(req.Context())
	if to.Host == "" {
		to.Host = req.URL.Host
	}
	to.URL.Host = b.nodes[b.turn.Add(1)%uint64(len(b.nodes))].addr
	res, err := b.under.RoundTrip(to)
	if res != nil {
		res.Request = req // the caller asked for another address
	}
	return res, err
}

// CloseIdleConnections is what http.Client calls on its transport.
func (b *turns) CloseIdleConnections() {
	if c, ok := b.under.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// At is the rig as seen by somebody whose requests all meet one node: node i, or
// the only one.
func (r *Rig) At(i int) *Rig {
	if len(r.nodes) == 1 {
		return r
	}
	at, client := *r, *r.HTTP
	client.Transport = &turns{nodes: r.nodes[i%len(r.nodes):][:1], under: http.DefaultTransport}
	at.HTTP, at.Node = &client, r.nodes[i%len(r.nodes)].Node
	return &at
}
