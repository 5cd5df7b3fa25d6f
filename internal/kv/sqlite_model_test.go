package kv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"
)

// kept is a record of the model: a map, and the clock that the store goes by too.
type kept struct {
	val string
	exp time.Time
}

// The embedded store says what a map would say, whatever of it is in memory, in
// which journal, in the file, forgotten, swept, or found again after a kill.
func TestTheEmbeddedStoreIsAMapWhereverItsRecordsAre(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { walk(t, rand.New(rand.NewPCG(seed, 3))) })
	}
}

func walk(t *testing.T, rng *rand.Rand) {
	ctx := context.Background()
	clk := clock.NewManual(time.Unix(1_800_000_000, 0))
	open := func(path string) kv.KV {
		s, err := kv.OpenBoot(ctx, path, clk, thisBoot)
		ok(t, err)
		return s
	}
	path := filepath.Join(t.TempDir(), "kv.db")
	s := open(path)
	defer func() { ok(t, s.Close()) }()
	model := map[string]kept{}
	jam := false
	unjam := func() {
		if jam {
			ok(t, kv.Unjam(s))
			jam = false
		}
	}
	const keys = 300 // more than go into the file in one transaction
	for step := range 8_000 {
		key := fmt.Sprintf("k/{%03d}", rng.IntN(keys))
		val := fmt.Sprintf("%d-%s", step, bytes.Repeat([]byte("x"), rng.IntN(300)))
		ttl := time.Duration(1+rng.IntN(2000)) * time.Millisecond
		had, live := model[key]
		live = live && had.exp.After(clk.Now())
		switch verb := rng.IntN(1000); {
		case verb < 300:
			if err := s.Create(ctx, key, []byte(val), ttl); live != errors.Is(err, kv.ErrExists) || !live && err != nil {
				t.Fatalf("step %d: create %s: %v, live %v", step, key, err, live)
			} else if !live {
				model[key] = kept{val, clk.Now().Add(ttl)}
			}
		case verb < 500:
			old, keep := had.val, rng.IntN(2) == 0
			if rng.IntN(4) == 0 {
				old = "another"
			}
			exp := clk.Now().Add(ttl)
			if keep {
				ttl, exp = kv.KeepTTL, had.exp
			}
			want := live && old == had.val
			if err := s.Swap(ctx, key, []byte(old), []byte(val), ttl); want != (err == nil) || !want && !errors.Is(err, kv.ErrConflict) {
				t.Fatalf("step %d: swap %s: %v, want %v", step, key, err, want)
			} else if want {
				model[key] = kept{val, exp}
			}
		case verb < 600:
			got, err := s.Take(ctx, key)
			if live != (err == nil) || live && string(got) != had.val || !live && !errors.Is(err, kv.ErrNotFound) {
				t.Fatalf("step %d: take %s: %q, %v, live %v", step, key, got, err, live)
			}
			delete(model, key)
		case verb < 700:
			ok(t, s.Delete(ctx, key))
			delete(model, key)
		case verb < 900:
			if live {
				holds(t, s, key, had.val)
			} else {
				gone(t, s, key)
			}
		case verb < 960:
			clk.Advance(time.Duration(rng.IntN(100)) * time.Millisecond)
		case verb < 975:
			unjam()
			ok(t, kv.Fold(s))
		case verb < 980 && !jam:
			ok(t, kv.Jam(s, fmt.Sprintf("k/{%03d}", rng.IntN(keys))))
			jam = true
			ok(t, kv.Seal(s))
			if rng.IntN(2) == 0 {
				kv.Want(s)
			}
		case verb < 985:
			unjam()
		case verb < 988:
			ok(t, kv.Sweep(s))
		case verb < 991:
			kv.Prune(s)
		case verb < 994:
			left := killed(t, s, path)
			unjam()
			ok(t, s.Close())
			s, path = open(left), left
		case verb < 996:
			unjam()
			ok(t, s.Close())
			s = open(path)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(model)) {
		if r := model[key]; r.exp.After(clk.Now()) {
			holds(t, s, key, r.val)
		} else {
			gone(t, s, key)
		}
	}
	unjam()
}

func TestCallsAreLinearizableWhileTheFileTakesThemUp(t *testing.T) {
	s := kvtest.SQLite(t, clock.System{})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := kv.Fold(s); err != nil {
				t.Error(err)
			}
			if n%3 == 0 {
				kv.Forget(s)
			}
			if err := kv.Sweep(s); err != nil {
				t.Error(err)
			}
		}
	}()
	all := history(t, s, 8, 600*time.Millisecond)
	close(stop)
	<-stopped
	judge(t, all)
}

// Of more than memory may hold, the writers wait for the file; nothing is lost.
func TestWritersWaitForTheFileRatherThanFillMemory(t *testing.T) {
	ctx := context.Background()
	s := kvtest.SQLite(t, clock.System{})
	ok(t, kv.Sweep(s)) // from now on a new key needs nothing of the file
	val := bytes.Repeat([]byte("x"), 900)
	const writers, each = 8, 1500
	most := func() {
		fresh, sealed, kept := kv.Held(s)
		const batch = writers * 1100
		if fresh > 2*kv.FreshBytes+batch || sealed > 2*kv.FreshBytes+batch || kept > 2*kv.FrontBytes+2*1100 {
			t.Errorf("memory holds %d written, %d on the way, %d of the file", fresh, sealed, kept)
		}
	}
	blocked := make(chan struct{})
	go func() {
		defer close(blocked)
		for range 4 {
			if err := kv.Busy(s, func() { time.Sleep(100 * time.Millisecond) }); err != nil {
				t.Error(err)
			}
			most()
		}
	}()
	race(t, writers, func(i int) error {
		for j := range each {
			if err := s.Create(ctx, fmt.Sprintf("a/{%d-%d}", i, j), val, time.Hour); err != nil {
				return err
			}
			if j%50 == 0 {
				most()
			}
		}
		return nil
	})
	<-blocked
	for i := range writers {
		for j := range each {
			holds(t, s, fmt.Sprintf("a/{%d-%d}", i, j), string(val))
		}
	}
	most()
}

// A file that takes nothing up any more, as on a full disk, is told of once memory
// is full, and by Ping at once; what was acknowledged stays readable, and is taken up
// when there is room again.
func TestWithoutSpaceForTheFileEachWriterLearnsItsOwnFate(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "kv.db")
	s := kvtest.Open(t, "sqlite:"+path, clock.System{})
	big := bytes.Repeat([]byte("x"), 3000)
	ok(t, s.Create(ctx, "a/{live}", big, time.Hour))
	ok(t, kv.Fold(s))
	ok(t, kv.LimitPages(s, 40))
	const writers, each = 32, 24
	var said [writers * each]error
	race(t, writers, func(i int) error {
		for j := range each {
			size := len(big)
			if j%2 == 1 {
				size = 1
			}
			said[i*each+j] = s.Create(ctx, fmt.Sprintf("a/{%d}", i*each+j), big[:size], time.Hour)
		}
		return nil
	})
	written := 0
	for n, err := range said {
		_, got := s.Get(ctx, fmt.Sprintf("a/{%d}", n))
		if (err == nil) != (got == nil) {
			t.Errorf("write %d was told %v, read says %v", n, err, got)
		}
		if err == nil {
			written++
		}
	}
	if written == 0 || written == len(said) {
		t.Errorf("%d of %d writes took place; there was to be no room in between", written, len(said))
	}
	if s.Ping(ctx) == nil {
		t.Error("a ping finds nothing wrong")
	}
	holds(t, s, "a/{live}", string(big))
	check := func(s kv.KV) {
		for n, err := range said {
			key := fmt.Sprintf("a/{%d}", n)
			if _, got := s.Get(ctx, key); (err == nil) != (got == nil) {
				t.Errorf("write %d was told %v, after a kill a read says %v", n, err, got)
			}
		}
	}
	left, err := kv.Open(ctx, "sqlite:"+killed(t, s, path), clock.System{})
	ok(t, err)
	check(left)
	ok(t, left.Close())
	ok(t, kv.LimitPages(s, 10_000))
	for deadline := time.Now().Add(soon); ; time.Sleep(20 * time.Millisecond) {
		err := s.Ping(ctx)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	ok(t, s.Create(ctx, "a/{after}", big, time.Hour))
	check(s)
}
