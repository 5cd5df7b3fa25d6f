package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"mobileid/config"
	"mobileid/internal/db"

	"github.com/spf13/cobra"
)

const (
	drainFor   = 5 * time.Second // requests may finish by themselves
	closeAfter = 5 * time.Second // after that they are cut off
	sweepEvery = time.Minute
	sweepMost  = 1000
)

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the server", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load(cmd)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg)
		},
	}
	config.Flags(cmd.Flags())
	return cmd
}

func serve(ctx context.Context, cfg *config.Config) error {
	ln, err := listenAll(cfg.Listen, cfg.AdminListen)
	if err != nil {
		return err
	}
	if cfg.Issuer == "" {
		cfg.Issuer = config.LoopbackIssuer(port(ln[0]))
	}
	s, err := openStores(ctx, cfg, true)
	if err != nil {
		return errors.Join(err, closeListeners(ln))
	}
	n, err := newNode(ctx, s, "")
	if err != nil {
		return errors.Join(err, s.db.Close(), closeListeners(ln))
	}
	n.log.Info("serving", "issuer", cfg.Issuer, "listen", ln[0].Addr().String(), "admin", ln[1].Addr().String())
	err = n.run(ctx, site{ln[0], n.web.Handler()}, site{ln[1], n.web.AdminHandler(n.metrics)})
	return errors.Join(err, n.close())
}

// listenAll opens every address or none. A busy port is said plainly.
func listenAll(addrs ...string) ([]net.Listener, error) {
	var out []net.Listener
	for _, a := range addrs {
		l, err := net.Listen("tcp", a)
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("another program listens on %s: stop it, or choose another address with --listen, --shop-listen or --admin-listen (port 0 picks one)", a)
		}
		if err != nil {
			return nil, errors.Join(err, closeListeners(out))
		}
		out = append(out, l)
	}
	return out, nil
}

func closeListeners(ln []net.Listener) (err error) {
	for _, l := range ln {
		err = errors.Join(err, l.Close())
	}
	return err
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// site is one listener and what it serves.
type site struct {
	ln net.Listener
	h  http.Handler
}

// run serves the sites and the background work until ctx ends, then drains:
// readiness fails, streams end, requests finish, and nothing acknowledged is lost.
func (n *node) run(ctx context.Context, sites ...site) error {
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	background.Go(func() { n.outbox.Run(work) })
	background.Go(func() { n.sweep(work) })

	requests, cutOff := context.WithCancel(context.WithoutCancel(ctx))
	defer cutOff()
	failed := make(chan error, len(sites))
	servers := make([]*http.Server, len(sites))
	for i, s := range sites {
		servers[i] = n.server(requests, s.h)
		go func() { failed <- servers[i].Serve(s.ln) }()
	}
	var err error
	select {
	case <-ctx.Done():
		n.log.Info("draining")
	case err = <-failed:
	}
	n.web.Drain()
	// Long polls end when their requests' context does.
	time.AfterFunc(drainFor, cutOff)
	shut, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor+closeAfter)
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

func (n *node) server(requests context.Context, h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, BaseContext: func(net.Listener) context.Context { return requests },
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 40 * time.Second, IdleTimeout: 90 * time.Second,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
	}
}

// sweep removes rows whose time has long been over.
func (n *node) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for gone := int64(sweepMost); gone >= sweepMost; {
			err := n.db.Update(ctx, func(tx *db.Tx) (err error) {
				gone, err = tx.Sweep(sweepMost)
				return err
			})
			if err != nil {
				n.log.WarnContext(ctx, "sweep failed", "error", err)
				break
			}
		}
	}
}

func migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "migrate", Short: "Bring the database schema up to date", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withStores(cmd, true, func(ctx context.Context, s *stores) error {
				have, _, err := s.db.Versions(ctx)
				fmt.Fprintf(os.Stdout, "schema version %d\n", have)
				return err
			})
		},
	}
	config.Flags(cmd.Flags())
	return cmd
}

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check the configuration, the database and the master key, and change nothing", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load(cmd)
			if err != nil {
				return err
			}
			if _, err := os.Stat(cfg.MasterKeyFile); errors.Is(err, os.ErrNotExist) {
				fmt.Println("configuration: ok\nfirst start: database and master key will be made")
				return nil
			}
			return withStores(cmd, false, func(context.Context, *stores) error {
				fmt.Println("configuration: ok\ndatabase: ok\nmaster key: ok")
				return nil
			})
		},
	}
	config.Flags(cmd.Flags())
	return cmd
}

func configCommand() *cobra.Command {
	group := &cobra.Command{Use: "config", Short: "About the configuration"}
	cmd := &cobra.Command{
		Use: "print", Short: "Print the configuration in force, without its secrets", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load(cmd)
			if err != nil {
				return err
			}
			out, err := cfg.Redacted()
			os.Stdout.Write(out)
			return err
		},
	}
	config.Flags(cmd.Flags())
	config.DemoFlags(cmd.Flags())
	group.AddCommand(cmd)
	return group
}

// withStores runs fn over the opened stores.
func withStores(cmd *cobra.Command, migrate bool, fn func(ctx context.Context, s *stores) error) error {
	cfg, err := load(cmd)
	if err != nil {
		return err
	}
	s, err := openStores(cmd.Context(), cfg, migrate)
	if err != nil {
		return err
	}
	return errors.Join(fn(cmd.Context(), s), s.db.Close())
}
