package kv_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db/dbtest"
	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"
)

// proxiedPostgres is a store behind a proxy, and the same one without.
func proxiedPostgres(t *testing.T) (s, direct kv.KV, p *dbtest.Proxy) {
	t.Helper()
	dsn := dbtest.Postgres(t)
	u, err := url.Parse(dsn)
	ok(t, err)
	p = dbtest.StartProxy(t, u.Host)
	direct = kvtest.Open(t, dsn, clock.System{})
	return kvtest.Open(t, p.Through(dsn), clock.System{}), direct, p
}

// The same promise as on Redis: R11.
func TestR11AWriteToPostgreSQLWithALostReplyIsReportedTruthfully(t *testing.T) {
	ctx := context.Background()
	const life = time.Minute
	s, direct, proxy := proxiedPostgres(t)
	create := func(key string) error { return s.Create(ctx, key, []byte("new"), life) }
	swap := func(key string) error { return s.Swap(ctx, key, []byte("old"), []byte("new"), kv.KeepTTL) }
	take := func(key string) error { _, err := s.Take(ctx, key); return err }
	del := func(key string) error { return s.Delete(ctx, key) }
	const insert, update, remove = "INSERT INTO mobileid_kv", "UPDATE mobileid_kv", "DELETE FROM mobileid_kv WHERE key = $1"
	tests := []struct {
		name   string
		before string // "" for no record
		sql    string
		fate   dbtest.Fate
		call   func(key string) error
		want   error
		after  string
	}{
		{"a create that took place succeeds", "", insert, dbtest.LoseReply, create, nil, "new"},
		{"a create refused or not is unknown", "old", insert, dbtest.LoseReply, create, kv.ErrUnknown, "old"},
		{"a create that never arrived is unknown", "", insert, dbtest.LoseRequest, create, kv.ErrUnknown, ""},
		{"a swap that took place succeeds", "old", update, dbtest.LoseReply, swap, nil, "new"},
		{"a swap in conflict or not is unknown", "other", update, dbtest.LoseReply, swap, kv.ErrUnknown, "other"},
		{"a swap that never arrived is unknown", "old", update, dbtest.LoseRequest, swap, kv.ErrUnknown, "old"},
		{"a swap to the value another writer set too is unknown", "new", update, dbtest.LoseReply, swap, kv.ErrUnknown, "new"},
		{"a take is unknown", "old", remove, dbtest.LoseReply, take, kv.ErrUnknown, ""},
		{"a take that never arrived is unknown", "old", remove, dbtest.LoseRequest, take, kv.ErrUnknown, "old"},
		{"a delete that took place succeeds", "old", remove, dbtest.LoseReply, del, nil, ""},
		{"a delete that never arrived is unknown", "old", remove, dbtest.LoseRequest, del, kv.ErrUnknown, "old"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key := "op/{" + tt.name + "}"
			if tt.before != "" {
				ok(t, direct.Create(ctx, key, []byte(tt.before), life))
			}
			proxy.Lose(tt.sql, tt.fate)
			if err := tt.call(key); !errors.Is(err, tt.want) {
				t.Errorf("reported %v, want %v", err, tt.want)
			}
			if n := proxy.Count(tt.sql); n != 1 {
				t.Errorf("it was sent %d times", n)
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
		proxy.Lose("SELECT val", dbtest.LoseReply)
		holds(t, s, "op/{read}", "x")
	})
}

func TestCallsAreLinearizableOverALossyNetworkToPostgreSQL(t *testing.T) {
	s, _, proxy := proxiedPostgres(t)
	rng := rand.New(rand.NewPCG(7, 7))
	proxy.Rule(func(sql string) dbtest.Fate {
		if strings.HasPrefix(sql, "SELECT") {
			return dbtest.Pass
		}
		return []dbtest.Fate{dbtest.Pass, dbtest.LoseRequest, dbtest.LoseReply}[max(0, rng.IntN(40)-37)]
	})
	judge(t, history(t, s, 6, time.Second))
}

func TestPostgreSQLThatWentAwayIsFoundAgain(t *testing.T) {
	ctx := context.Background()
	server := dbtest.StartPostgres(t, dbtest.Options{})
	s := kvtest.Open(t, server.URL(), clock.System{})
	hint, stop := s.Watch("op/{1}")
	defer stop()
	ok(t, s.Create(ctx, "op/{1}", []byte("x"), time.Minute))
	quiet(t, hint)
	server.Kill()
	if s.Ping(ctx) == nil {
		t.Error("an absent PostgreSQL answers a ping")
	}
	_ = s.Create(ctx, "op/{2}", nil, time.Minute) // may still find a pooled connection
	begin := time.Now()
	err := s.Create(ctx, "op/{3}", nil, time.Minute)
	if err == nil || errors.Is(err, kv.ErrUnknown) || errors.Is(err, kv.ErrExists) {
		t.Errorf("create says %v", err)
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("it took %v to say so", d)
	}
	late, stopLate := s.Watch("op/{late}")
	defer stopLate()
	ok(t, s.Notify(ctx, "op/{1}")) // told to others once it can be
	quiet(t, hint)
	server.Start(t)
	for _, h := range []<-chan struct{}{hint, late} {
		hinted(t, h, "after the reconnect")
	}
	// A crash empties an UNLOGGED table, which kv may do.
	for deadline := time.Now().Add(soon); ; time.Sleep(20 * time.Millisecond) {
		if _, err := s.Get(ctx, "op/{1}"); errors.Is(err, kv.ErrNotFound) {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the store does not recover: %v", err)
		}
	}
	other := kvtest.Open(t, server.URL(), clock.System{})
	quiet(t, hint)
	ok(t, other.Notify(ctx, "op/{1}"))
	hinted(t, hint, "from another node, after the reconnect")
}

func TestHintsReachTheOtherNodeInBatches(t *testing.T) {
	ctx := context.Background()
	a, b, proxy := proxiedPostgres(t)
	const n = 2000
	hints := make([]<-chan struct{}, n)
	for i := range hints {
		var stop func()
		hints[i], stop = b.Watch(fmt.Sprintf("op/{%d}", i))
		defer stop()
	}
	proxy.Rule(nil)
	time.Sleep(50 * time.Millisecond)
	for _, h := range hints {
		select {
		case <-h:
		default:
		}
	}
	for i := range hints {
		ok(t, a.Notify(ctx, fmt.Sprintf("op/{%d}", i)))
	}
	for i, h := range hints {
		hinted(t, h, fmt.Sprint(i))
	}
	if sent := proxy.Count("SELECT pg_notify"); sent > n/2 {
		t.Errorf("%d statements for %d hints", sent, n)
	}
}

func TestDeadRowsAreSweptFromPostgreSQL(t *testing.T) {
	ctx := context.Background()
	server := dbtest.StartPostgres(t, dbtest.Options{})
	s := kvtest.Open(t, server.URL(), clock.System{})
	for i := range 50 {
		ok(t, s.Create(ctx, fmt.Sprintf("op/{%d}", i), nil, time.Millisecond))
	}
	ok(t, s.Create(ctx, "op/{live}", []byte("x"), time.Minute))
	for deadline := time.Now().Add(soon); ; time.Sleep(50 * time.Millisecond) {
		if n := server.SQL(t, "SELECT count(*)::text FROM mobileid_kv")[0]; n == "1" {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%s rows are left", n)
		}
	}
	holds(t, s, "op/{live}", "x")
	if kind := server.SQL(t, "SELECT relpersistence::text FROM pg_class WHERE relname = 'mobileid_kv'")[0]; kind != "u" {
		t.Errorf("the table is %q, want UNLOGGED", kind)
	}
}

func TestOpenRefusesOnPostgreSQL(t *testing.T) {
	for _, tt := range []struct{ url, says string }{
		{"postgres://u:s3cret-canary@127.0.0.1:port/x", "cannot be parsed"},
		{"postgres://u:s3cret-canary@127.0.0.1:1/x?sslmode=maybe", "cannot be used"},
		{"postgres://u:s3cret-canary@127.0.0.1:1/x", "refused"},
	} {
		s, err := kv.Open(context.Background(), tt.url, clock.System{})
		if err == nil {
			s.Close()
			t.Fatalf("%s is taken", tt.url)
		}
		if !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "canary") {
			t.Errorf("error %q does not say %q, or shows the password", err, tt.says)
		}
	}
}
