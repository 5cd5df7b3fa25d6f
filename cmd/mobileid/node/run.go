package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"mobileid/internal/db"
)

const (
	drainFor   = 10 * time.Second // requests may finish; after that they are cut off
	sweepEvery = time.Minute
	sweepMost  = 1000
	maxHeader  = 16 << 10 // request line and header of a request
	maxStreams = 250      // of one HTTP/2 connection
	headerSlop = 4 << 10  // what net/http reads over MaxHeaderBytes before it refuses

	// headroom counts to the heap and is never written to, so that no memory is
	// behind it. What lives on the heap of a node is a few megabytes, and without
	// headroom the collector would run after each few more; with GOGC a node that
	// holds many waiting requests would take a multiple of their memory.
	headroom = 5 << 20
)

// Listen opens every address or none. A busy port is said plainly.
func Listen(addrs ...string) ([]net.Listener, error) {
	var out []net.Listener
	for _, a := range addrs {
		l, err := net.Listen("tcp", a)
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("another program listens on %s: stop it, or choose another address with --listen, --shop-listen or --admin-listen (port 0 picks one)", a)
		}
		if err != nil {
			return nil, errors.Join(err, CloseListeners(out))
		}
		out = append(out, l)
	}
	return out, nil
}

// CloseListeners closes what Listen opened, unless it was served and is closed.
func CloseListeners(ln []net.Listener) (err error) {
	for _, l := range ln {
		if cerr := l.Close(); !errors.Is(cerr, net.ErrClosed) {
			err = errors.Join(err, cerr)
		}
	}
	return err
}

// Port is the port a listener got.
func Port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// Site is one listener and what it serves.
type Site struct {
	Listener net.Listener
	Handler  http.Handler
	TLS      *tls.Config // nil: http
}

// Trim gives back the memory of what this process needed for its start and will not
// need again. A program whose business the node is calls it before Run.
func (n *Node) Trim() {
	debug.FreeOSMemory()
	if err := forgetPages(); err != nil {
		n.Log.Debug("the program's pages stay in memory", "error", err)
	}
}

// Run serves the sites and the background work until ctx ends, then drains:
// readiness fails, streams end, requests finish, and nothing acknowledged is lost.
func (n *Node) Run(ctx context.Context, sites ...Site) error {
	room := make([]byte, headroom)
	defer runtime.KeepAlive(room)
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	background.Go(func() { n.outbox.Run(work) })
	background.Go(func() { n.pushes.Run(work) })
	background.Go(func() { n.webhooks.Run(work) })
	background.Go(func() { n.sweep(work) })
	background.Go(func() { n.sealer.Run(work) })

	failed := make(chan error, len(sites))
	servers := make([]*http.Server, len(sites))
	for i, s := range sites {
		servers[i] = n.server(s.Handler)
		servers[i].TLSConfig = s.TLS
		go func() {
			if s.TLS != nil {
				failed <- servers[i].ServeTLS(s.Listener, "", "")
				return
			}
			failed <- servers[i].Serve(s.Listener)
		}()
	}
	var err error
	select {
	case <-ctx.Done():
		n.Log.Info("draining")
	case err = <-failed:
	}
	// Held polls and event streams end with the state they are in; everything
	// else has a moment to finish.
	close(n.drain)
	n.web.Drain()
	shut, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
	defer cancel()
	for _, s := range servers {
		if serr := s.Shutdown(shut); serr != nil {
			err = errors.Join(err, s.Close())
		}
	}
	stopWork()
	background.Wait()
	return err
}

func (n *Node) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h,
		// A held poll answers after 25 s, which the write has to leave room for.
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 90 * time.Second,
		// What one connection may have under way, and how long one may not take what is
		// written to it: the deadlines above are each stream's.
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: maxStreams, WriteByteTimeout: 30 * time.Second},
		MaxHeaderBytes: maxHeader - headerSlop, ErrorLog: slog.NewLogLogger(n.Log.Handler(), slog.LevelDebug),
	}
}

// sweep removes rows whose time has long been over.
func (n *Node) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for gone := int64(sweepMost); gone >= sweepMost; {
			err := n.DB.Update(ctx, func(tx *db.Tx) (err error) {
				gone, err = tx.Sweep(sweepMost)
				return err
			})
			if err != nil {
				n.Log.WarnContext(ctx, "sweep failed", "error", err)
				break
			}
		}
		if _, err := n.regs.ExpireStale(ctx, sweepMost); err != nil {
			n.Log.WarnContext(ctx, "stale registrations not ended", "error", err)
		}
	}
}
