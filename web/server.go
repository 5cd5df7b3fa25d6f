// Package web is everything HTTP: every route in one table, one mapping from
// errors to answers, the browser session, the pages, the device endpoint and
// the REST API. It decides nothing: flows and provider do.
package web

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"mobileid/flows"
	"mobileid/internal/callback"
	"mobileid/internal/channel"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/internal/keys"
	"mobileid/internal/kv"
	"mobileid/internal/registration"
	"mobileid/provider"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is what a Server needs.
type Config struct {
	Issuer        string
	DB            *db.DB
	KV            kv.KV
	Box           *keys.Box
	Provider      *provider.Provider
	Flows         *flows.Flows
	Registrations *registration.Registrations
	Channel       *channel.Server
	Users         *identity.Store
	Webhooks      *callback.Callbacks
	Clock         clock.Clock // what all nodes go by
	Machine       clock.Clock // this node's own, for durations
	Log           *slog.Logger
	Trusts        func(netip.Addr) bool // whether a peer's X-Forwarded-For is believed
	Metrics       prometheus.Registerer
	Limits        Limits
	Trace         func(route string, next http.Handler) http.Handler // makes a span of every request; nil: none
	ShopURL       string                                             // of the demo shop; "": none
	EvidenceKeys  func(context.Context) ([]byte, error)              // the key set at /evidence/jwks
}

// Server answers HTTP.
type Server struct {
	Config
	sessions  *sessionStore
	contract  *contract
	cursorKey []byte
	consents  kv.Bucket[parked]
	long      kv.Bucket[longRequest]
	streams   *streams
	secure    bool   // the issuer is https
	hsts      bool   // browsers shall never use http again; not on localhost, which is everybody's
	host      string // of the issuer
	metrics   *metrics
}

// New makes a server.
func New(c Config) (*Server, error) {
	issuer, err := url.Parse(c.Issuer)
	if err != nil {
		return nil, err
	}
	rest, err := readContract()
	if err != nil {
		return nil, err
	}
	s := &Server{Config: c, contract: rest, cursorKey: c.Box.Derive("rest cursors 1"), secure: issuer.Scheme == "https", host: issuer.Host, streams: newStreams(), metrics: newMetrics(c.Metrics)}
	s.consents = kv.NewBucket[parked](c.KV, "consent")
	s.long = kv.NewBucket[longRequest](c.KV, "request")
	s.hsts = s.secure && issuer.Hostname() != "localhost"
	s.sessions = newSessionStore(c.KV, c.DB, c.Clock, s.secure)
	return s, nil
}

// ClientIP is the address the request came from: the peer's, or, as far as the
// peer is a trusted proxy, what it says. Only the last untrusted hop counts;
// what stands before it can be made up.
func ClientIP(r *http.Request, trusts func(netip.Addr) bool) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	ip := peer.Addr().Unmap()
	if trusts == nil {
		return ip.String()
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && trusts(ip); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		ip = next.Unmap()
	}
	return ip.String()
}

func (s *Server) clientIP(r *http.Request) string { return ClientIP(r, s.Trusts) }

// Drain ends the event streams, so that a graceful shutdown does not wait for
// browsers; they come back to another node or after the restart.
func (s *Server) Drain() { s.streams.close() }
