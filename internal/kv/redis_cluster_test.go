package kv_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"
)

// suite runs the contract and all that every backend must do on stores that
// open makes, each on an empty store.
func suite(t *testing.T, open func(t *testing.T) kv.KV) {
	for _, tt := range append(contract(),
		clause{"of thirty-two one wins", ofThirtyTwoOneWins},
		clause{"notify hints the watchers of the key", notifyHintsTheWatchers},
		clause{"no write falls between watch and the first hint", noWriteIsMissed},
		clause{"calls are linearizable", func(t *testing.T, s kv.KV) { judge(t, history(t, s, 8, 600*time.Millisecond)) }},
	) {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
	}
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	cluster := kvtest.StartRedisCluster(t)
	open := func(t *testing.T) kv.KV {
		cluster.Flush()
		return kvtest.Open(t, cluster.URL(), clock.System{})
	}
	// One key on each node.
	var keys [3]string
	for i := 0; keys[0] == "" || keys[1] == "" || keys[2] == ""; i++ {
		key := fmt.Sprintf("own/{%d}", i)
		node, _ := cluster.Owner(key)
		keys[node] = key
	}
	suite(t, open)

	t.Run("R9: a script that all nodes forgot is loaded again", func(t *testing.T) {
		s := open(t)
		for round := range 2 {
			for i, key := range keys {
				if round == 0 {
					ok(t, s.Create(ctx, key, []byte("0"), time.Minute))
				}
				cluster.Nodes[i].CLI("script", "flush")
				ok(t, s.Swap(ctx, key, fmt.Append(nil, round), fmt.Append(nil, round+1), kv.KeepTTL))
				holds(t, s, key, fmt.Sprint(round+1))
			}
		}
	})

	t.Run("slots move under load, and nothing is lost, doubled or left waiting", func(t *testing.T) {
		s := open(t)
		// The load lasts until each slot has moved, two of them twice.
		var moved atomic.Bool
		l := load{clients: 8, during: time.Minute, pace: 4 * time.Millisecond, done: moved.Load,
			key: func(n int) string { return fmt.Sprintf("m/{m%d}", n) }}
		var hints []<-chan struct{}
		for n := range 6 {
			hint, stop := s.Watch(l.key(n))
			defer stop()
			quiet(t, hint)
			hints = append(hints, hint)
		}
		var mover sync.WaitGroup
		mover.Go(func() {
			defer moved.Store(true)
			for n := range 8 {
				time.Sleep(100 * time.Millisecond)
				key := l.key(n % 6)
				from, _ := cluster.Owner(key)
				cluster.Move(key, (from+1)%3)
			}
			time.Sleep(100 * time.Millisecond)
		})
		all := l.run(t, s)
		mover.Wait()
		judge(t, all)
		for n, hint := range hints {
			hinted(t, hint, "after its slot moved")
			quiet(t, hint)
			ok(t, s.Notify(ctx, l.key(n)))
			hinted(t, hint, "a notification to the slot's new node")
		}
	})

	t.Run("a connection for hints that is cut off is made again", func(t *testing.T) {
		s := open(t)
		var hints []<-chan struct{}
		for n := range 12 {
			hint, stop := s.Watch(fmt.Sprintf("w/{%d}", n))
			defer stop()
			quiet(t, hint)
			hints = append(hints, hint)
		}
		for _, n := range cluster.Nodes {
			n.CLI("client", "kill", "type", "pubsub")
		}
		for n, hint := range hints {
			hinted(t, hint, "after the reconnect")
			quiet(t, hint)
			ok(t, s.Notify(ctx, fmt.Sprintf("w/{%d}", n)))
			hinted(t, hint, "a notification after the reconnect")
		}
	})

	t.Run("R11: a write whose reply is lost is sent once and reported truthfully", func(t *testing.T) {
		proxy := startProxy(t, cluster.Nodes[0].Addr())
		_, port, _ := net.SplitHostPort(proxy.l.Addr().String())
		announce := func(set, want string) {
			cluster.Nodes[0].CLI("config", "set", "cluster-announce-port", set)
			for deadline := time.Now().Add(2 * soon); ; time.Sleep(50 * time.Millisecond) {
				known := 0
				for _, n := range cluster.Nodes {
					known += strings.Count(n.CLI("cluster", "nodes"), ":"+want+"@")
				}
				if known == 3 {
					return
				}
				if time.Now().After(deadline) {
					t.Fatal("the nodes do not learn of the port")
				}
			}
		}
		_, own, _ := net.SplitHostPort(cluster.Nodes[0].Addr())
		announce(port, port)
		defer announce("0", own)
		s := open(t)
		key := keys[0]
		ok(t, s.Create(ctx, key, []byte("warm"), time.Minute))
		ok(t, s.Swap(ctx, key, []byte("warm"), []byte("one"), kv.KeepTTL))
		for _, tt := range []struct {
			verb string
			call func() error
			want error
		}{
			{"evalsha", func() error { return s.Swap(ctx, key, []byte("one"), []byte("two"), kv.KeepTTL) }, nil},
			{"evalsha", func() error { return s.Swap(ctx, key, []byte("other"), []byte("two"), kv.KeepTTL) }, kv.ErrUnknown},
			{"set", func() error { return s.Create(ctx, key, []byte("x"), time.Minute) }, kv.ErrUnknown},
			{"getdel", func() error { _, err := s.Take(ctx, key); return err }, kv.ErrUnknown},
			{"set", func() error { return s.Create(ctx, key, []byte("x"), time.Minute) }, nil},
			{"del", func() error { return s.Delete(ctx, key) }, nil},
		} {
			proxy.lose(tt.verb, loseReply)
			if err := tt.call(); !errors.Is(err, tt.want) {
				t.Errorf("%s reports %v, want %v", tt.verb, err, tt.want)
			}
			if n := proxy.count(tt.verb); n != 1 {
				t.Errorf("%s was sent %d times", tt.verb, n)
			}
		}
	})

	t.Run("R8: one master that evicts is refused", func(t *testing.T) {
		cluster.Nodes[2].CLI("config", "set", "maxmemory-policy", "allkeys-lru")
		defer cluster.Nodes[2].CLI("config", "set", "maxmemory-policy", "noeviction")
		s, err := kv.Open(ctx, cluster.URL(), clock.System{})
		if err == nil {
			s.Close()
			t.Fatal("it is taken")
		}
		if !strings.Contains(err.Error(), "noeviction") {
			t.Errorf("it says %v", err)
		}
	})

	t.Run("R9: no command ever had keys on two slots", func(t *testing.T) {
		for _, n := range cluster.Nodes {
			if stats := n.CLI("info", "errorstats"); strings.Contains(stats, "CROSSSLOT") {
				t.Error(stats)
			}
		}
	})

	t.Run("without one master its keys, then all, are unavailable until it is back", func(t *testing.T) {
		s := open(t)
		for _, key := range keys {
			ok(t, s.Create(ctx, key, []byte("x"), time.Minute))
		}
		cluster.Nodes[2].Kill()
		_ = s.Delete(ctx, keys[2]) // may find a pooled connection
		refused := func(key string) bool {
			begin := time.Now()
			err := s.Create(ctx, key, []byte("y"), time.Minute)
			if d := time.Since(begin); d > 3*time.Second {
				t.Errorf("an answer took %v", d)
			}
			if errors.Is(err, kv.ErrUnknown) || err == nil {
				t.Errorf("create says %v", err)
			}
			return !errors.Is(err, kv.ErrExists)
		}
		if !refused(keys[2]) {
			t.Error("a dead master's record is said to exist")
		}
		if s.Ping(ctx) == nil {
			t.Error("the store says it is whole")
		}
		for deadline := time.Now().Add(10 * time.Second); !refused(keys[0]); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the cluster does not notice")
			}
		}
		cluster.Nodes[2].Start()
		for deadline := time.Now().Add(10 * time.Second); s.Ping(ctx) != nil || s.Delete(ctx, keys[0]) != nil || s.Delete(ctx, keys[2]) != nil; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the store does not recover within 10 s")
			}
		}
		ok(t, s.Create(ctx, keys[2], []byte("y"), time.Minute))
	})
}
