package kv_test

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"mobileid/internal/clock"
	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"
)

func TestRedisSentinel(t *testing.T) {
	t.Parallel()
	set := kvtest.StartRedisSentinel(t)
	suite(t, func(t *testing.T) kv.KV {
		set.Master.CLI("flushall")
		return kvtest.Open(t, set.URL(), clock.System{})
	})
	t.Run("nothing is read from the replica", func(t *testing.T) {
		if stats := set.Replica.CLI("info", "commandstats"); strings.Contains(stats, "cmdstat_get:") {
			t.Error(stats)
		}
	})
	t.Run("a fail-over under load", func(t *testing.T) { failOver(t, set) })
}

// A master dies under load. Redis replicates after it has answered, so the new
// master may lack what was acknowledged last, deletions too; that much is the
// price of Redis, and internal/db holds whatever may not be lost. But what was
// told before the master died fits one order of events, and so does what is
// told of records made after; no record holds what nobody wrote; and calls
// succeed again within 10 s.
func failOver(t *testing.T, set *kvtest.RedisSentinel) {
	ctx := context.Background()
	s := kvtest.Open(t, set.URL(), clock.System{})
	hint, stop := s.Watch("w/{1}")
	defer stop()
	quiet(t, hint)

	// One writer counts what is lost.
	var acked []string
	var died, recovered, enough atomic.Bool
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; !died.Load(); i++ {
			if key := fmt.Sprintf("k/{%d}", i); s.Create(ctx, key, []byte(key), time.Minute) == nil {
				acked = append(acked, key)
			}
		}
	})
	var deadAt time.Time
	var killed sync.WaitGroup
	begin := time.Now()
	killed.Go(func() {
		defer enough.Store(true)
		time.Sleep(time.Second)
		deadAt = time.Now()
		set.Master.Kill()
		died.Store(true)
		for i := 0; s.Create(ctx, fmt.Sprintf("probe/{%d}", i), nil, time.Minute) != nil; i++ {
			if time.Since(deadAt) > 20*time.Second {
				t.Error("no recovery within 20 s")
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		recovered.Store(true)
		took := time.Since(deadAt)
		t.Logf("recovered %v after the kill", took.Round(time.Millisecond))
		if took > 10*time.Second {
			t.Errorf("recovery took %v", took)
		}
		time.Sleep(1500 * time.Millisecond)
	})
	all := load{clients: 6, during: time.Minute, pace: 5 * time.Millisecond, done: enough.Load, outages: true, key: func(n int) string {
		return "l" + strconv.FormatBool(recovered.Load()) + "/{" + strconv.Itoa(n) + "}"
	}}.run(t, s)
	killed.Wait()
	writer.Wait()
	if !recovered.Load() {
		return
	}

	var before, after []porcupine.Operation
	written := map[string]bool{}
	for _, op := range all {
		in, out := op.Input.(call), op.Output.(outcome)
		written[in.key+"="+in.val] = true
		switch {
		case strings.HasPrefix(in.key, "ltrue"):
			after = append(after, op)
		case op.Return <= deadAt.Sub(begin).Nanoseconds():
			before = append(before, op)
		case in.name != "get": // may have reached the old master or the new
			op.Output, op.Return = outcome{err: kv.ErrUnknown, val: out.val}, math.MaxInt64
			before = append(before, op)
		}
	}
	judge(t, before)
	judge(t, after)
	for n := range 6 {
		key := fmt.Sprintf("lfalse/{%d}", n)
		if val, err := s.Get(ctx, key); err == nil && !written[key+"="+string(val)] {
			t.Errorf("%s holds %q, which nobody wrote", key, val)
		}
	}
	lost := 0
	for _, key := range acked {
		if _, err := s.Get(ctx, key); err != nil {
			is(t, err, kv.ErrNotFound)
			lost++
		}
	}
	t.Logf("%d of %d acknowledged records were lost", lost, len(acked))

	hinted(t, hint, "after the fail-over")
	quiet(t, hint)
	ok(t, s.Notify(ctx, "w/{1}"))
	hinted(t, hint, "a notification on the new master")
}

func TestAReplicaThatSentinelTakesForTheMasterIsRefused(t *testing.T) {
	master := kvtest.StartRedis(t)
	_, port, _ := strings.Cut(master.Addr(), ":")
	replica := kvtest.StartRedis(t, "--replicaof", "127.0.0.1", port)
	mistaken := kvtest.StartSentinel(t, replica)
	s, err := kv.Open(context.Background(), kvtest.SentinelURL(mistaken), clock.System{})
	if err == nil {
		s.Close()
		t.Fatal("it is taken")
	}
	if !strings.Contains(err.Error(), "no master") {
		t.Errorf("it says %v", err)
	}
}
