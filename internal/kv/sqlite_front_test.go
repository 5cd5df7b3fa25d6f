package kv_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"
)

// The embedded store keeps the last records in memory. What it has forgotten is
// in the file, whatever was done to it since it was last there.
func TestWhatIsNoLongerInMemoryIsReadFromTheFile(t *testing.T) {
	ctx := context.Background()
	clk := clock.NewManual(time.Unix(1_800_000_000, 0))
	s := kvtest.SQLite(t, clk)
	big := bytes.Repeat([]byte("x"), 1000)
	flood := func(round int) {
		for i := range 4000 {
			ok(t, s.Create(ctx, fmt.Sprintf("flood/{%d-%d}", round, i), big, time.Hour))
		}
	}
	for _, key := range []string{"a/{kept}", "a/{swapped}", "a/{taken}", "a/{deleted}", "a/{short}"} {
		ok(t, s.Create(ctx, key, []byte("old"), time.Minute))
	}
	ok(t, s.Swap(ctx, "a/{short}", []byte("old"), []byte("short"), time.Second))
	flood(1)
	holds(t, s, "a/{kept}", "old")
	ok(t, s.Swap(ctx, "a/{swapped}", []byte("old"), []byte("new"), kv.KeepTTL)) // without its time being known
	holds(t, s, "a/{swapped}", "new")
	_, err := s.Take(ctx, "a/{taken}")
	ok(t, err)
	ok(t, s.Delete(ctx, "a/{deleted}"))
	clk.Advance(time.Second)
	for _, key := range []string{"a/{taken}", "a/{deleted}", "a/{short}"} {
		_, err := s.Get(ctx, key)
		is(t, err, kv.ErrNotFound)
	}
	flood(2)
	holds(t, s, "a/{swapped}", "new")
	holds(t, s, "flood/{1-0}", string(big))
	clk.Advance(time.Minute - time.Second)
	_, err = s.Get(ctx, "a/{swapped}") // its time went on
	is(t, err, kv.ErrNotFound)
}

func TestTheCallerOwnsWhatItGaveAndWhatItGot(t *testing.T) {
	kvtest.Each(t, func(t *testing.T, s kv.KV) {
		ctx := context.Background()
		val := []byte("mine")
		ok(t, s.Create(ctx, "a/{1}", val, time.Minute))
		val[0] = 'X'
		for range 2 {
			got, err := s.Get(ctx, "a/{1}")
			ok(t, err)
			if string(got) != "mine" {
				t.Fatalf("got %q", got)
			}
			got[0] = 'Y'
		}
	})
}
