package kv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"
)

func TestMain(m *testing.M) {
	if childMain() {
		return
	}
	goleak.VerifyTestMain(m)
}

func is(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("error is %v, want %v", got, want)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// holds fails unless the record under key is want.
func holds(t *testing.T, s kv.KV, key, want string) {
	t.Helper()
	got, err := s.Get(context.Background(), key)
	if err != nil || string(got) != want {
		t.Fatalf("%s holds %q, %v; want %q", key, got, err, want)
	}
}

func TestContract(t *testing.T) {
	for _, tt := range contract() {
		t.Run(tt.name, func(t *testing.T) { kvtest.Each(t, tt.run) })
	}
}

type clause struct {
	name string
	run  func(t *testing.T, s kv.KV)
}

// contract is what every backend must keep, each clause on an empty store.
func contract() []clause {
	ctx := context.Background()
	const life = time.Minute
	return []clause{
		{"a created record is read back", func(t *testing.T, s kv.KV) {
			ok(t, s.Create(ctx, "a/{1}", []byte("one"), life))
			holds(t, s, "a/{1}", "one")
		}},
		{"a record that was not created is not found", func(t *testing.T, s kv.KV) {
			_, err := s.Get(ctx, "a/{1}")
			is(t, err, kv.ErrNotFound)
		}},
		{"a second create is refused and changes nothing", func(t *testing.T, s kv.KV) {
			ok(t, s.Create(ctx, "a/{1}", []byte("one"), life))
			is(t, s.Create(ctx, "a/{1}", []byte("two"), life), kv.ErrExists)
			holds(t, s, "a/{1}", "one")
		}},
		{"a create without a life is refused", func(t *testing.T, s kv.KV) {
			for _, ttl := range []time.Duration{0, -time.Second} {
				if err := s.Create(ctx, "a/{1}", []byte("one"), ttl); err == nil {
					t.Fatalf("ttl %v is taken", ttl)
				}
			}
			_, err := s.Get(ctx, "a/{1}")
			is(t, err, kv.ErrNotFound)
		}},
		{"values may be empty, binary, long, and not valid UTF-8", func(t *testing.T, s kv.KV) {
			for i, v := range [][]byte{nil, {}, {0}, {0xff, 0, 0xfe}, bytes.Repeat([]byte{7, 0}, 40_000)} {
				key := fmt.Sprintf("a/{%d}", i)
				ok(t, s.Create(ctx, key, v, life))
				holds(t, s, key, string(v))
				ok(t, s.Swap(ctx, key, v, append(v, 'x'), kv.KeepTTL))
				ok(t, s.Swap(ctx, key, append(v, 'x'), v, life))
				got, err := s.Take(ctx, key)
				if err != nil || !bytes.Equal(got, v) {
					t.Fatalf("value %d comes back as %d bytes, %v", i, len(got), err)
				}
			}
		}},
		{"keys differ by case, blanks and NUL", func(t *testing.T, s kv.KV) {
			for _, key := range []string{"a/{k}", "a/{K}", "a/{k} ", "a/{k\x00}", "a/{k\x00z}"} {
				ok(t, s.Create(ctx, key, []byte(key), life))
			}
			holds(t, s, "a/{k\x00}", "a/{k\x00}")
			holds(t, s, "a/{K}", "a/{K}")
		}},
		{"a swap replaces the value it names", func(t *testing.T, s kv.KV) {
			ok(t, s.Create(ctx, "a/{1}", []byte("one"), life))
			ok(t, s.Swap(ctx, "a/{1}", []byte("one"), []byte("two"), kv.KeepTTL))
			holds(t, s, "a/{1}", "two")
		}},
		{"a swap of another value is a conflict", func(t *testing.T, s kv.KV) {
			ok(t, s.Create(ctx, "a/{1}", []byte("one"), life))
			for _, old := range []string{"", "on", "one ", "One", "two"} {
				is(t, s.Swap(ctx, "a/{1}", []byte(old), []byte("new"), kv.KeepTTL), kv.ErrConflict)
				is(t, s.Swap(ctx, "a/{1}", []byte(old), []byte("new"), life), kv.ErrConflict)
			}
			holds(t, s, "a/{1}", "one")
		}},
		{"a swap of nothing is a conflict and makes nothing", func(t *testing.T, s kv.KV) {
			is(t, s.Swap(ctx, "a/{1}", nil, []byte("new"), life), kv.ErrConflict)
			is(t, s.Swap(ctx, "a/{1}", nil, []byte("new"), kv.KeepTTL), kv.ErrConflict)
			_, err := s.Get(ctx, "a/{1}")
			is(t, err, kv.ErrNotFound)
		}},
		{"a swap with a negative life is refused", func(t *testing.T, s kv.KV) {
			ok(t, s.Create(ctx, "a/{1}", []byte("one"), life))
			err := s.Swap(ctx, "a/{1}", []byte("one"), []byte("two"), -1)
			if err == nil || errors.Is(err, kv.ErrConflict) {
				t.Fatalf("error is %v", err)
			}
			holds(t, s, "a/{1}", "one")
		}},
		{"a taken record is gone and may be created again", func(t *testing.T, s kv.KV) {
			ok(t, s.Create(ctx, "a/{1}", []byte("one"), life))
			got, err := s.Take(ctx, "a/{1}")
			if err != nil || string(got) != "one" {
				t.Fatalf("took %q, %v", got, err)
			}
			_, err = s.Take(ctx, "a/{1}")
			is(t, err, kv.ErrNotFound)
			ok(t, s.Create(ctx, "a/{1}", []byte("two"), life))
			holds(t, s, "a/{1}", "two")
		}},
		{"a delete removes, and twice is no error", func(t *testing.T, s kv.KV) {
			ok(t, s.Create(ctx, "a/{1}", []byte("one"), life))
			ok(t, s.Delete(ctx, "a/{1}"))
			_, err := s.Get(ctx, "a/{1}")
			is(t, err, kv.ErrNotFound)
			ok(t, s.Delete(ctx, "a/{1}"))
		}},
		{"a record whose time is over does not exist", func(t *testing.T, s kv.KV) {
			const short = 50 * time.Millisecond
			for _, key := range []string{"a/{get}", "a/{create}", "a/{swap}", "a/{take}", "a/{kept}"} {
				ok(t, s.Create(ctx, key, []byte("one"), short))
			}
			ok(t, s.Swap(ctx, "a/{kept}", []byte("one"), []byte("two"), kv.KeepTTL))
			time.Sleep(2 * short)
			_, err := s.Get(ctx, "a/{get}")
			is(t, err, kv.ErrNotFound)
			_, err = s.Get(ctx, "a/{kept}")
			is(t, err, kv.ErrNotFound)
			_, err = s.Take(ctx, "a/{take}")
			is(t, err, kv.ErrNotFound)
			is(t, s.Swap(ctx, "a/{swap}", []byte("one"), []byte("two"), life), kv.ErrConflict)
			ok(t, s.Create(ctx, "a/{create}", []byte("again"), life))
			holds(t, s, "a/{create}", "again")
		}},
		{"a swap with a life renews it", func(t *testing.T, s kv.KV) {
			ok(t, s.Create(ctx, "a/{1}", []byte("one"), 50*time.Millisecond))
			ok(t, s.Swap(ctx, "a/{1}", []byte("one"), []byte("two"), life))
			time.Sleep(100 * time.Millisecond)
			holds(t, s, "a/{1}", "two")
		}},
		{"a life below a millisecond is a life", func(t *testing.T, s kv.KV) {
			ok(t, s.Create(ctx, "a/{1}", []byte("one"), time.Nanosecond))
			time.Sleep(20 * time.Millisecond)
			_, err := s.Get(ctx, "a/{1}")
			is(t, err, kv.ErrNotFound)
		}},
		{"a call whose context has ended does nothing", func(t *testing.T, s kv.KV) {
			ok(t, s.Create(ctx, "a/{1}", []byte("one"), life))
			over, cancel := context.WithCancel(ctx)
			cancel()
			is(t, s.Create(over, "a/{2}", []byte("two"), life), context.Canceled)
			is(t, s.Swap(over, "a/{1}", []byte("one"), []byte("two"), life), context.Canceled)
			is(t, s.Delete(over, "a/{1}"), context.Canceled)
			_, err := s.Take(over, "a/{1}")
			is(t, err, context.Canceled)
			_, err = s.Get(over, "a/{1}")
			is(t, err, context.Canceled)
			holds(t, s, "a/{1}", "one")
			_, err = s.Get(ctx, "a/{2}")
			is(t, err, kv.ErrNotFound)
		}},
		{"a batch makes its calls in order, and each has its own outcome", func(t *testing.T, s kv.KV) {
			ok(t, s.Create(ctx, "a/{1}", []byte("one"), life))
			ok(t, s.Create(ctx, "a/{2}", []byte("two"), life))
			ok(t, s.Create(ctx, "a/{3}", []byte("three"), life))
			hint, stop := s.Watch("a/{4}")
			defer stop()
			calls := []*kv.Call{
				{Verb: kv.Get, Key: "a/{1}"},
				{Verb: kv.Create, Key: "a/{2}", Val: []byte("x"), TTL: life},
				{Verb: kv.Swap, Key: "a/{3}", Old: []byte("three"), Val: []byte("3"), TTL: life},
				{Verb: kv.Create, Key: "a/{4}", Val: []byte("four"), TTL: life},
				{Verb: kv.Notify, Key: "a/{4}"},
				{Verb: kv.Swap, Key: "a/{5}", Old: []byte("x"), Val: []byte("5")},
				{Verb: kv.Delete, Key: "a/{6}"},
				{Verb: kv.Get, Key: "a/{7}"},
				{Verb: kv.Create, Key: "a/{8}", Val: []byte("x")},
				{Verb: -1, Key: "a/{9}"},
			}
			s.Batch(ctx, calls...)
			for i, want := range []error{0: nil, 1: kv.ErrExists, 2: nil, 3: nil, 4: nil, 5: kv.ErrConflict, 6: nil, 7: kv.ErrNotFound} {
				if got := calls[i].Err; !errors.Is(got, want) {
					t.Errorf("call %d ended in %v, want %v", i, got, want)
				}
			}
			if calls[8].Err == nil || calls[9].Err == nil {
				t.Errorf("without a life %v, without a verb %v; want errors", calls[8].Err, calls[9].Err)
			}
			if string(calls[0].Val) != "one" {
				t.Errorf("the batch read %q", calls[0].Val)
			}
			holds(t, s, "a/{2}", "two")
			holds(t, s, "a/{3}", "3")
			holds(t, s, "a/{4}", "four")
			select {
			case <-hint:
			case <-time.After(soon):
				t.Error("nobody was told")
			}
		}},
		{"a batch whose time is over does nothing", func(t *testing.T, s kv.KV) {
			over, cancel := context.WithCancel(ctx)
			cancel()
			c := &kv.Call{Verb: kv.Create, Key: "a/{1}", Val: []byte("one"), TTL: life}
			s.Batch(over, c)
			if c.Err == nil {
				t.Fatal("it was made")
			}
			_, err := s.Get(ctx, "a/{1}")
			is(t, err, kv.ErrNotFound)
		}},
		{"the store answers a ping until it is closed", func(t *testing.T, s kv.KV) {
			ok(t, s.Ping(ctx))
			ok(t, s.Close())
			ok(t, s.Close())
			if s.Ping(ctx) == nil || s.Create(ctx, "a/{1}", nil, life) == nil || s.Delete(ctx, "a/{1}") == nil {
				t.Fatal("a closed store still works")
			}
			_, err := s.Get(ctx, "a/{1}")
			if err == nil || errors.Is(err, kv.ErrNotFound) {
				t.Fatalf("get on a closed store says %v", err)
			}
			_, stop := s.Watch("a/{1}")
			stop()
		}},
	}
}

// race runs fn n times at once and returns how many calls returned nil. Errors
// other than those expected fail the test.
func race(t *testing.T, n int, fn func(i int) error, expected ...error) int {
	t.Helper()
	var wins atomic.Int64
	var start, done sync.WaitGroup
	start.Add(1)
	for i := range n {
		done.Go(func() {
			start.Wait()
			err := fn(i)
			if err == nil {
				wins.Add(1)
				return
			}
			for _, e := range expected {
				if errors.Is(err, e) {
					return
				}
			}
			t.Errorf("call %d: %v", i, err)
		})
	}
	start.Done()
	done.Wait()
	return int(wins.Load())
}

func TestOfThirtyTwoOneWins(t *testing.T) { kvtest.Each(t, ofThirtyTwoOneWins) }

func ofThirtyTwoOneWins(t *testing.T, s kv.KV) {
	ctx := context.Background()
	for round := range 20 {
		key := fmt.Sprintf("r/{%d}", round)
		val := func(i int) []byte { return fmt.Appendf(nil, "v%d", i) }
		if n := race(t, 32, func(i int) error { return s.Create(ctx, key, val(i), time.Minute) }, kv.ErrExists); n != 1 {
			t.Fatalf("%d creates won", n)
		}
		old, err := s.Get(ctx, key)
		ok(t, err)
		batch := func(i int, c kv.Call) error {
			c.Key = key
			s.Batch(ctx, &c, &kv.Call{Verb: kv.Create, Key: fmt.Sprintf("r/{%d %d}", round, i), TTL: time.Minute})
			return c.Err
		}
		if n := race(t, 32, func(i int) error { return batch(i, kv.Call{Verb: kv.Swap, Old: old, Val: val(200 + i)}) }, kv.ErrConflict); n != 1 {
			t.Fatalf("%d swaps in batches won", n)
		}
		old, err = s.Get(ctx, key)
		ok(t, err)
		if n := race(t, 32, func(i int) error { return s.Swap(ctx, key, old, val(100+i), kv.KeepTTL) }, kv.ErrConflict); n != 1 {
			t.Fatalf("%d swaps won", n)
		}
		if n := race(t, 32, func(int) error { _, err := s.Take(ctx, key); return err }, kv.ErrNotFound); n != 1 {
			t.Fatalf("%d takes won", n)
		}
	}
}
