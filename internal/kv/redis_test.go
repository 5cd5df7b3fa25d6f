package kv_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"
)

// What is reported of a write whose reply or request was lost has to be true,
// and a write must reach Redis once only. (R11)
func TestR11AWriteWithALostReplyIsReportedTruthfully(t *testing.T) {
	ctx := context.Background()
	const life = time.Minute
	server := kvtest.StartRedis(t)
	proxy := startProxy(t, server.Addr())
	s := kvtest.Open(t, proxy.url(""), clock.System{})
	direct := kvtest.Open(t, server.URL(), clock.System{})
	ok(t, direct.Create(ctx, "warm/{up}", nil, life))
	ok(t, direct.Swap(ctx, "warm/{up}", nil, nil, life)) // the script is loaded

	create := func(key string) error { return s.Create(ctx, key, []byte("new"), life) }
	swap := func(key string) error { return s.Swap(ctx, key, []byte("old"), []byte("new"), kv.KeepTTL) }
	take := func(key string) error { _, err := s.Take(ctx, key); return err }
	del := func(key string) error { return s.Delete(ctx, key) }
	batched := func(c kv.Call) func(key string) error {
		return func(key string) error {
			call, tell := c, kv.Call{Verb: kv.Notify, Key: key}
			call.Key = key
			s.Batch(ctx, &call, &tell)
			return call.Err
		}
	}
	tests := []struct {
		name   string
		before string // "" for no record
		verb   string
		fate   fate
		call   func(key string) error
		want   error
		after  string
	}{
		{"a create that took place succeeds", "", "set", loseReply, create, nil, "new"},
		{"a create refused or not is unknown", "old", "set", loseReply, create, kv.ErrUnknown, "old"},
		{"a create that never arrived is unknown", "", "set", loseRequest, create, kv.ErrUnknown, ""},
		{"a swap that took place succeeds", "old", "evalsha", loseReply, swap, nil, "new"},
		{"a swap in conflict or not is unknown", "other", "evalsha", loseReply, swap, kv.ErrUnknown, "other"},
		{"a swap that never arrived is unknown", "old", "evalsha", loseRequest, swap, kv.ErrUnknown, "old"},
		{"a swap to the value another writer set too is unknown", "new", "evalsha", loseReply, swap, kv.ErrUnknown, "new"},
		{"a take is unknown", "old", "getdel", loseReply, take, kv.ErrUnknown, ""},
		{"a take that never arrived is unknown", "old", "getdel", loseRequest, take, kv.ErrUnknown, "old"},
		{"a delete that took place succeeds", "old", "del", loseReply, del, nil, ""},
		{"a delete that never arrived is unknown", "old", "del", loseRequest, del, kv.ErrUnknown, "old"},
		{"a create in a batch that took place succeeds", "", "set", loseReply, batched(kv.Call{Verb: kv.Create, Val: []byte("new"), TTL: life}), nil, "new"},
		{"a swap in a batch that took place succeeds", "old", "evalsha", loseReply,
			batched(kv.Call{Verb: kv.Swap, Old: []byte("old"), Val: []byte("new")}), nil, "new"},
		{"a swap in a batch in conflict or not is unknown", "other", "evalsha", loseReply,
			batched(kv.Call{Verb: kv.Swap, Old: []byte("old"), Val: []byte("new")}), kv.ErrUnknown, "other"},
		{"a delete in a batch that never arrived is unknown", "old", "del", loseRequest, batched(kv.Call{Verb: kv.Delete}), kv.ErrUnknown, "old"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key := "op/{" + tt.name + "}"
			if tt.before != "" {
				ok(t, direct.Create(ctx, key, []byte(tt.before), life))
			}
			proxy.lose(tt.verb, tt.fate)
			if err := tt.call(key); !errors.Is(err, tt.want) {
				t.Errorf("reported %v, want %v", err, tt.want)
			}
			if n := proxy.count(tt.verb); n != 1 {
				t.Errorf("%s was sent %d times", tt.verb, n)
			}
			if n := proxy.count("get"); n > 1 {
				t.Errorf("settled with %d reads", n)
			}
			got, err := direct.Get(ctx, key)
			if tt.after == "" {
				is(t, err, kv.ErrNotFound)
			} else if err != nil || string(got) != tt.after {
				t.Errorf("the record is %q, %v; want %q", got, err, tt.after)
			}
		})
	}

	t.Run("a read is simply asked again", func(t *testing.T) {
		ok(t, direct.Create(ctx, "op/{read}", []byte("x"), life))
		proxy.lose("get", loseReply)
		holds(t, s, "op/{read}", "x")
	})
}

// Commands that wait for a lane go out together; their replies must not be mixed up.
func TestEachCallerOfABatchGetsItsOwnReply(t *testing.T) {
	ctx := context.Background()
	s := kvtest.Open(t, kvtest.Redis(t), clock.System{})
	race(t, 64, func(i int) error {
		for j := range 20 {
			key := fmt.Sprintf("b/{%d-%d}", i, j)
			val := []byte(key)
			if err := s.Create(ctx, key, val, time.Minute); err != nil {
				return err
			}
			if got, err := s.Get(ctx, key); err != nil || string(got) != key {
				return fmt.Errorf("%s holds %q: %w", key, got, err)
			}
			if err := s.Create(ctx, key, nil, time.Minute); !errors.Is(err, kv.ErrExists) {
				return fmt.Errorf("create again: %w", err)
			}
			if err := s.Swap(ctx, key, nil, nil, kv.KeepTTL); !errors.Is(err, kv.ErrConflict) {
				return fmt.Errorf("swap of another value: %w", err)
			}
			if got, err := s.Take(ctx, key); err != nil || string(got) != key {
				return fmt.Errorf("%s is taken as %q: %w", key, got, err)
			}
			if _, err := s.Get(ctx, key); !errors.Is(err, kv.ErrNotFound) {
				return fmt.Errorf("taken, and: %w", err)
			}
		}
		return nil
	})
}

func TestAWriteCutOffByItsDeadlineIsSettledAllTheSame(t *testing.T) {
	server := kvtest.StartRedis(t)
	proxy := startProxy(t, server.Addr())
	s := kvtest.Open(t, proxy.url(""), clock.System{})
	proxy.lose("set", holdReply)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	ok(t, s.Create(ctx, "op/{1}", []byte("x"), time.Minute))
	holds(t, s, "op/{1}", "x")
}

func TestAWriteToAnAbsentRedisIsKnownNotToHaveHappened(t *testing.T) {
	ctx := context.Background()
	server := kvtest.StartRedis(t)
	s := kvtest.Open(t, server.URL(), clock.System{})
	server.Kill()
	if s.Ping(ctx) == nil {
		t.Error("an absent Redis answers a ping")
	}
	// The first call may still find a pooled connection.
	_ = s.Create(ctx, "op/{1}", nil, time.Minute)
	begin := time.Now()
	err := s.Create(ctx, "op/{2}", nil, time.Minute)
	if err == nil || errors.Is(err, kv.ErrUnknown) || errors.Is(err, kv.ErrExists) {
		t.Errorf("create says %v", err)
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("it took %v to say so", d)
	}
	server.Start()
	for deadline := time.Now().Add(soon); s.Create(ctx, "op/{3}", nil, time.Minute) != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the store does not recover within 5 s")
		}
	}
}

// R8: with memory full new records are refused and live ones stay.
func TestR8WithoutMemoryNewRecordsAreRefusedAndLiveOnesStay(t *testing.T) {
	ctx := context.Background()
	server := kvtest.StartRedis(t)
	s := kvtest.Open(t, server.URL(), clock.System{})
	ok(t, s.Create(ctx, "op/{1}", []byte("one"), time.Minute))
	ok(t, s.Swap(ctx, "op/{1}", []byte("one"), []byte("two"), kv.KeepTTL))
	server.CLI("config", "set", "maxmemory", "1")
	for name, err := range map[string]error{
		"create": s.Create(ctx, "op/{2}", []byte("x"), time.Minute),
		"swap":   s.Swap(ctx, "op/{1}", []byte("two"), []byte("three"), time.Minute),
	} {
		if err == nil || errors.Is(err, kv.ErrUnknown) || errors.Is(err, kv.ErrConflict) {
			t.Errorf("%s says %v", name, err)
		}
	}
	holds(t, s, "op/{1}", "two")
	_, err := s.Take(ctx, "op/{1}")
	ok(t, err)
}

// R9: the script is sent again after Redis has forgotten it.
func TestR9AForgottenScriptIsLoadedAgain(t *testing.T) {
	ctx := context.Background()
	server := kvtest.StartRedis(t)
	s := kvtest.Open(t, server.URL(), clock.System{})
	ok(t, s.Create(ctx, "op/{1}", []byte("1"), time.Minute))
	ok(t, s.Swap(ctx, "op/{1}", []byte("1"), []byte("2"), kv.KeepTTL))
	server.CLI("script", "flush")
	ok(t, s.Swap(ctx, "op/{1}", []byte("2"), []byte("3"), kv.KeepTTL))
	holds(t, s, "op/{1}", "3")
}

// R9: while a script of somebody else blocks Redis, calls fail within bounds and
// without effect.
func TestR9ABusyRedisIsUnavailableForABoundedTime(t *testing.T) {
	ctx := context.Background()
	server := kvtest.StartRedis(t)
	s := kvtest.Open(t, server.URL(), clock.System{})
	server.CLI("config", "set", "busy-reply-threshold", "50")
	c, err := net.Dial("tcp", server.Addr())
	ok(t, err)
	defer c.Close()
	_, err = c.Write([]byte("EVAL \"while true do end\" 0\r\n"))
	ok(t, err)
	time.Sleep(100 * time.Millisecond)
	begin := time.Now()
	err = s.Create(ctx, "op/{1}", []byte("x"), time.Minute)
	if err == nil || errors.Is(err, kv.ErrUnknown) || errors.Is(err, kv.ErrExists) || time.Since(begin) > time.Second {
		t.Errorf("create says %v after %v", err, time.Since(begin))
	}
	server.CLI("script", "kill")
	_, err = s.Get(ctx, "op/{1}")
	for deadline := time.Now().Add(soon); !errors.Is(err, kv.ErrNotFound) && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		_, err = s.Get(ctx, "op/{1}") // the script ends a little later
	}
	is(t, err, kv.ErrNotFound)
	ok(t, s.Create(ctx, "op/{1}", []byte("x"), time.Minute))
}

func TestOpenRefuses(t *testing.T) {
	evicting := kvtest.StartRedis(t, "--maxmemory-policy", "volatile-lru")
	locked := kvtest.StartRedis(t, "--requirepass", "the-right-one")
	tests := []struct{ name, url, says string }{
		{"no URL", "", "must start with"},
		{"another scheme", "http://127.0.0.1/", "must start with"},
		{"a path without a scheme", "/tmp/kv.db", "must start with"},
		{"sqlite without a path", "sqlite:", "path of a file"},
		{"sqlite in memory", "sqlite::memory:", "path of a file"},
		{"a folder as the file", "sqlite:" + t.TempDir(), "open"},
		{"a Redis URL that is none", "redis://:s3cret-canary@127.0.0.1:port", "cannot be parsed"},
		{"an unknown setting", "redis://:s3cret-canary@127.0.0.1:1/0?colour=red", "colour"},
		{"a database that is no number", "redis://:s3cret-canary@127.0.0.1:1/zero", "database number"},
		{"nobody listening", "redis://:s3cret-canary@127.0.0.1:1", "refused"},
		{"a wrong password", "redis://:s3cret-canary@" + locked.Addr(), "WRONGPASS"},
		{"Sentinels without the master's name", "redis-sentinel://u:s3cret-canary@127.0.0.1:1", "name the master"},
		{"Sentinels that are absent", "redis-sentinel://u:s3cret-canary@127.0.0.1:1,127.0.0.1:2/0?master=m&sentinel_password=canary", "refused"},
		{"a Cluster with a database", "redis-cluster://127.0.0.1:1/1", "database 0"},
		{"a Cluster with a master's name", "redis-cluster://:s3cret-canary@127.0.0.1:1?master=canary", "master"},
		{"a Cluster that is absent", "rediss-cluster://:s3cret-canary@127.0.0.1:1,127.0.0.1:2", "refused"},
		{"a Cluster that is a single Redis", "redis-cluster://:the-right-one@" + locked.Addr(), "cluster support disabled"},
		{"a node without a host", "redis-cluster://:s3cret-canary@127.0.0.1:1,:2", "list its nodes"},
		{"a node with a bad port", "redis-sentinel://:s3cret-canary@127.0.0.1:x,h:2?master=m", "list its nodes"},
		{"a third kind", "redis-ring://127.0.0.1:1", "must start with"},
		{"a Redis that evicts (R8)", evicting.URL(), "noeviction"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := kv.Open(context.Background(), tt.url, clock.System{})
			if err == nil {
				s.Close()
				t.Fatal("it is taken")
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %q does not say %q", err, tt.says)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("error shows the password: %q", err)
			}
		})
	}
}

func TestARedisThatHidesItsConfigurationIsTaken(t *testing.T) {
	server := kvtest.StartRedis(t, "--maxmemory-policy", "volatile-lru")
	server.CLI("acl", "setuser", "app", "on", ">pw", "~*", "&*", "+@all", "-config")
	s := kvtest.Open(t, "redis://app:pw@"+server.Addr(), clock.System{})
	ok(t, s.Create(context.Background(), "op/{1}", nil, time.Minute))
}

func TestARecordOfAnotherProgramIsAnErrorNotAValue(t *testing.T) {
	server := kvtest.StartRedis(t)
	s := kvtest.Open(t, server.URL(), clock.System{})
	server.CLI("set", "op/{1}", "short")
	if _, err := s.Get(context.Background(), "op/{1}"); err == nil || errors.Is(err, kv.ErrNotFound) {
		t.Fatalf("get says %v", err)
	}
}

// R9: a master that is made a replica while it lives refuses writes. That is neither
// a result nor an unknown one, and calls go on once it is a master again.
func TestR9AMasterThatIsDemotedWhileItLivesRefusesWritesForAsLong(t *testing.T) {
	ctx := context.Background()
	server, other := kvtest.StartRedis(t), kvtest.StartRedis(t)
	s := kvtest.Open(t, server.URL(), clock.System{})
	ok(t, s.Create(ctx, "op/{1}", []byte("1"), time.Minute))
	_, port, _ := strings.Cut(other.Addr(), ":")
	server.CLI("config", "set", "replica-serve-stale-data", "yes")
	server.CLI("replicaof", "127.0.0.1", port)
	for name, call := range map[string]func() error{
		"create": func() error { return s.Create(ctx, "op/{2}", []byte("x"), time.Minute) },
		"swap":   func() error { return s.Swap(ctx, "op/{1}", []byte("1"), []byte("2"), kv.KeepTTL) },
		"take":   func() error { _, err := s.Take(ctx, "op/{1}"); return err },
		"delete": func() error { return s.Delete(ctx, "op/{1}") },
	} {
		begin := time.Now()
		if err := call(); err == nil || errors.Is(err, kv.ErrUnknown) || errors.Is(err, kv.ErrExists) || errors.Is(err, kv.ErrConflict) || errors.Is(err, kv.ErrNotFound) || time.Since(begin) > 3*time.Second {
			t.Errorf("%s says %v after %v", name, err, time.Since(begin))
		}
	}
	if stats := server.CLI("info", "errorstats"); !strings.Contains(stats, "errorstat_READONLY") {
		t.Errorf("nobody was told READONLY: %s", stats)
	}
	server.CLI("replicaof", "no", "one")
	for deadline := time.Now().Add(soon); s.Create(ctx, "op/{3}", nil, time.Minute) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the store does not recover within 5 s")
		}
	}
}
