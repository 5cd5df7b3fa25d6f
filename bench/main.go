// Command bench measures what the server costs. It starts the real program and
// beside it a floor server, which does of each flow only what nobody can leave
// out, and node-oidc-provider as a peer, loads them in turn within the same run,
// and prints CPU time a flow and the ratios between them: on a shared machine only
// ratios carry over. With -growth it compares the server with itself when it holds
// many users, and when many requests wait. With -webhooks it sends a queue of them.
// docs/performance.md tells how to read the table.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// options of a run.
type options struct {
	engines string // embedded, redis
	rounds  int
	people  int // users with a phone each
	count   int // of each flow that needs no phone, a round
	conns   int
	cores   int // that a server may use
	settle  time.Duration
	peer    string // folder of the peer; "": without
	against string // another build of the server, to compare with in place of the floor and the peer
	queue   int    // webhooks to send; 0: do what the other fields say
	growth  int    // users, and pending requests, to compare with few and none; 0: do not
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 4 && os.Args[1] == "floor" {
		exit(floorMain(ctx, os.Args[2], os.Args[3]))
		return
	}
	o := options{settle: settleFor}
	flag.StringVar(&o.engines, "engine", "embedded,redis", "stores for short-lived state: embedded, redis, or both")
	flag.IntVar(&o.rounds, "rounds", 4, "measured rounds of each engine")
	flag.IntVar(&o.people, "people", 300, "users, each with a phone that answers once a round")
	flag.IntVar(&o.count, "count", 1000, "how often a round runs each flow without a phone")
	flag.IntVar(&o.conns, "conns", 8, "connections, each with one request under way")
	flag.IntVar(&o.cores, "cores", 1, "CPUs that a server may use")
	flag.StringVar(&o.peer, "peer", "bench/peer", "folder of node-oidc-provider, the peer; empty: without")
	flag.StringVar(&o.against, "against", "", "another build of the server: compare with it, and with nothing else")
	flag.IntVar(&o.growth, "growth", 0, "compare also few users with that many, and none pending with that many")
	flag.IntVar(&o.queue, "webhooks", 0, "send a queue of that many webhooks, and do nothing else")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "bench takes no arguments; see -help")
		os.Exit(2)
	}
	exit(bench(ctx, o, os.Stdout))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench runs each engine and prints its table.
func bench(ctx context.Context, o options, to io.Writer) error {
	if o.rounds < 1 || o.people < 1 || o.count < 1 || o.conns < 1 || o.cores < 1 {
		return errors.New("every count is at least 1")
	}
	if o.queue > 0 {
		return webhooks(ctx, o.queue, to)
	}
	dir, err := os.MkdirTemp("", "mobileid-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin, err := buildServer(ctx, dir)
	if err != nil {
		return err
	}
	if o.peer != "" && o.against == "" {
		if why := preparePeer(ctx, o.peer); why != nil {
			fmt.Fprintln(to, "the peer is left out:", why)
			o.peer = ""
		}
	}
	for _, name := range strings.Split(o.engines, ",") {
		if name != "embedded" && name != "redis" {
			return fmt.Errorf("no engine %q: embedded or redis", name)
		}
		if _, err := exec.LookPath("redis-server"); err != nil && name == "redis" {
			fmt.Fprintln(to, "redis-server is not installed; Redis left out")
			continue
		}
		if o.against != "" {
			if err := against(ctx, o, name, bin, filepath.Join(dir, name), to); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			continue
		}
		if err := engine(ctx, o, name, bin, filepath.Join(dir, name), to); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if o.growth == 0 {
			continue
		}
		if err := growth(ctx, o, name, bin, filepath.Join(dir, name+"-growth"), to); err != nil {
			return fmt.Errorf("%s: growth: %w", name, err)
		}
	}
	return nil
}

// engine compares the servers on one engine.
func engine(ctx context.Context, o options, name, bin, dir string, to io.Writer) error {
	begun := time.Now()
	for _, sub := range []string{"server", "floor", "redis"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	var addr string
	var pids []int
	if name == "redis" {
		redis, at, err := startRedis(ctx, filepath.Join(dir, "redis"))
		if err != nil {
			return err
		}
		defer redis.stop()
		addr, pids = at, []int{redis.pid()}
	}
	server, d, err := startServer(ctx, o.cores, bin, filepath.Join(dir, "server"), addr)
	if err != nil {
		return err
	}
	defer server.stop()
	floor, host, err := startFloor(ctx, o.cores, filepath.Join(dir, "floor"), addr)
	if err != nil {
		return err
	}
	defer floor.stop()

	a := &side{name: "mobileid", settle: o.settle, pids: append([]int{server.pid()}, pids...)}
	b := &side{name: "floor", pids: append([]int{floor.pid()}, pids...)}
	if a.pool, err = dialAll(hostOf(d.Issuer), o.conns); err != nil {
		return err
	}
	defer a.pool.close()
	if b.pool, err = dialAll(host, o.conns); err != nil {
		return err
	}
	defer b.pool.close()
	us, err := newOurs(ctx, a.pool, d, o.people)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, server.log.String())
	}
	them, err := newFloorLoad(b.pool[0], host, o.people)
	if err != nil {
		return err
	}
	a.step, b.step = us.step, them.step
	sides := []*side{a, b}
	var c *side
	if o.peer != "" {
		peer, fix, err := startPeer(ctx, o.cores, o.peer, addr)
		if err != nil {
			return err
		}
		defer peer.stop()
		c = &side{name: "peer", pids: append([]int{peer.pid()}, pids...)}
		if c.pool, err = dialAll(hostOf(fix.Issuer), o.conns); err != nil {
			return err
		}
		defer c.pool.close()
		load, err := newPeerLoad(c.pool[0], fix, o.people)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, peer.log.String())
		}
		c.step = load.step
		sides = append(sides, c)
	}
	if err := compare(ctx, sides, o.rounds, o.count); err != nil {
		return fmt.Errorf("%w\n%s", err, server.log.String())
	}
	rss, peak, files, err := memory(server.pid())
	if err != nil {
		return err
	}
	table(to, o, name, a, b, c)
	fmt.Fprintf(to, "server memory %d MB now, %d of them files, %d MB at most; %d rounds in %s\n\n", rss>>20, files>>20, peak>>20, o.rounds, time.Since(begun).Round(time.Second))
	return nil
}

// startFloor runs this program again as the floor server.
func startFloor(ctx context.Context, cores int, dir, redis string) (*process, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	p, err := start(cores, plainEnv(), self, "floor", dir, redis)
	if err != nil {
		return nil, "", err
	}
	var host string
	err = p.await(ctx, "the floor server", func() bool {
		text, err := os.ReadFile(filepath.Join(dir, "address"))
		host = string(text)
		return err == nil
	})
	if err != nil {
		p.stop()
		return nil, "", err
	}
	return p, host, nil
}
