package kv_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"
)

func TestTheEmbeddedStoreExpiresByTheInjectedClock(t *testing.T) {
	ctx := context.Background()
	clk := clock.NewManual(time.Unix(1_800_000_000, 0))
	s := kvtest.SQLite(t, clk)
	ok(t, s.Create(ctx, "a/{1}", []byte("x"), time.Hour))
	ok(t, s.Create(ctx, "a/{kept}", []byte("x"), time.Hour))
	clk.Advance(time.Hour - time.Millisecond)
	holds(t, s, "a/{1}", "x")
	ok(t, s.Swap(ctx, "a/{kept}", []byte("x"), []byte("y"), kv.KeepTTL))
	ok(t, s.Swap(ctx, "a/{1}", []byte("x"), []byte("y"), time.Second))
	clk.Advance(time.Millisecond)
	_, err := s.Get(ctx, "a/{kept}")
	is(t, err, kv.ErrNotFound)
	holds(t, s, "a/{1}", "y")
	clk.Advance(time.Second)
	is(t, s.Swap(ctx, "a/{1}", []byte("y"), []byte("z"), kv.KeepTTL), kv.ErrConflict)
	_, err = s.Take(ctx, "a/{1}")
	is(t, err, kv.ErrNotFound)
	ok(t, s.Create(ctx, "a/{1}", []byte("again"), time.Second))
}

func TestTheSweepFreesWhatHasExpiredAndNothingElse(t *testing.T) {
	ctx := context.Background()
	clk := clock.NewManual(time.Unix(1_800_000_000, 0))
	s := kvtest.SQLite(t, clk)
	race(t, 32, func(i int) error {
		for j := range 100 {
			if err := s.Create(ctx, fmt.Sprintf("old/{%d-%d}", i, j), []byte("x"), time.Minute); err != nil {
				return err
			}
		}
		return nil
	})
	ok(t, s.Create(ctx, "new/{1}", []byte("x"), time.Hour))
	ok(t, s.Create(ctx, "renewed/{1}", []byte("x"), time.Minute))
	ok(t, kv.Fold(s))
	ok(t, s.Swap(ctx, "renewed/{1}", []byte("x"), []byte("y"), time.Hour)) // the file does not know that yet
	clk.Advance(2 * time.Minute)
	for deadline := time.Now().Add(soon); ; time.Sleep(20 * time.Millisecond) {
		n, err := kv.Rows(s)
		ok(t, err)
		if n == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d rows are left", n)
		}
	}
	holds(t, s, "new/{1}", "x")
	holds(t, s, "renewed/{1}", "y")
	ok(t, kv.Fold(s))
	holds(t, s, "renewed/{1}", "y")
}

// What comes into the file while the sweep walks it is known afterwards, also where
// the sweep has been before.
func TestTheSweepKnowsWhatCameBehindIt(t *testing.T) {
	ctx := context.Background()
	s := kvtest.SQLite(t, clock.System{})
	for i := range 2500 {
		ok(t, s.Create(ctx, fmt.Sprintf("m/{%d}", i), nil, time.Hour))
	}
	ok(t, kv.Fold(s))
	for round := range 3 {
		ok(t, kv.Sweep(s))
		_, err := kv.SweepStep(s)
		ok(t, err)
		key := fmt.Sprintf("a/{%d}", round)
		ok(t, s.Create(ctx, key, []byte("one"), time.Hour))
		ok(t, kv.Fold(s))
		ok(t, kv.Sweep(s))
		kv.Forget(s)
		holds(t, s, key, "one")
		is(t, s.Create(ctx, key, []byte("two"), time.Hour), kv.ErrExists)
	}
}

// reopen opens path on a boot, runs fn, and closes.
func reopen(t *testing.T, path, boot string, fn func(s kv.KV)) {
	t.Helper()
	s, err := kv.OpenBoot(context.Background(), path, clock.System{}, boot)
	ok(t, err)
	fn(s)
	ok(t, s.Close())
}

func TestTheFileIsKeptForItsBootAndWhileSound(t *testing.T) {
	ctx := context.Background()
	const boot = "boot-1"
	overwrite := func(off int64, b []byte) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			ok(t, err)
			_, err = f.WriteAt(b, off)
			ok(t, errors.Join(err, f.Close()))
		}
	}
	junk := bytes.Repeat([]byte{0xa5, 0x5a, 7}, 20_000)
	tests := []struct {
		name   string
		damage func(t *testing.T, path string)
		boot   string
		kept   bool
	}{
		{"the same boot keeps it", nil, boot, true},
		{"another boot makes it anew", nil, "boot-2", false},
		{"torn pages make it anew", overwrite(8192, junk), boot, false},
		{"a torn header page makes it anew", overwrite(100, junk[:3000]), boot, false},
		{"a destroyed header makes it anew", overwrite(0, junk), boot, false},
		{"a cut file is made anew", func(t *testing.T, path string) { ok(t, os.Truncate(path, 10_000)) }, boot, false},
		{"an emptied file is made anew", func(t *testing.T, path string) { ok(t, os.Truncate(path, 0)) }, boot, false},
		{"a removed file is made anew", func(t *testing.T, path string) { ok(t, os.Remove(path)) }, boot, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sub folder", "kv#1?.db")
			reopen(t, path, boot, func(s kv.KV) {
				for i := range 500 {
					ok(t, s.Create(ctx, fmt.Sprintf("a/{%d}", i), junk[:200], time.Hour))
				}
			})
			if tt.damage != nil {
				tt.damage(t, path)
			}
			reopen(t, path, tt.boot, func(s kv.KV) {
				for _, key := range []string{"a/{0}", "a/{250}", "a/{499}"} {
					_, err := s.Get(ctx, key)
					if kept := err == nil; kept != tt.kept || (!kept && !errors.Is(err, kv.ErrNotFound)) {
						t.Errorf("%s: %v; want kept %v", key, err, tt.kept)
					}
				}
				if err := s.Create(ctx, "b/{1}", nil, time.Hour); err != nil {
					t.Error(err)
				}
			})
			info, err := os.Stat(path)
			ok(t, err)
			if info.Mode().Perm() != 0o600 {
				t.Errorf("file mode is %v", info.Mode())
			}
		})
	}
}

func TestWhereBootsHaveNoNameEveryStartIsAnew(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "kv.db")
	for range 2 {
		reopen(t, path, "", func(s kv.KV) { ok(t, s.Create(ctx, "a/{1}", nil, time.Hour)) })
	}
}

func TestADatabaseOfAnotherProgramIsLeftAlone(t *testing.T) {
	source := filepath.Join(t.TempDir(), "merchants.db")
	db, err := sql.Open("sqlite", source)
	ok(t, err)
	_, err = db.Exec("CREATE TABLE merchant (id TEXT PRIMARY KEY)")
	ok(t, errors.Join(err, db.Close()))
	sound, err := os.ReadFile(source)
	ok(t, err)
	torn := append(bytes.Clone(sound[:100]), bytes.Repeat([]byte{0xa5}, len(sound)-100)...)
	for name, content := range map[string][]byte{"sound": sound, "torn": torn} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "other.db")
			ok(t, os.WriteFile(path, content, 0o600))
			s, err := kv.Open(context.Background(), "sqlite:"+path, clock.System{})
			if err == nil {
				s.Close()
				t.Fatal("it is taken")
			}
			if !strings.Contains(err.Error(), "another program") {
				t.Errorf("error is %v", err)
			}
			after, err := os.ReadFile(path)
			ok(t, err)
			if !bytes.Equal(after, content) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestAFileIsOpenOnce(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "kv.db")
	reopen(t, path, "boot", func(s kv.KV) {
		ok(t, s.Create(ctx, "a/{1}", []byte("one"), time.Hour))
		other, err := kv.OpenBoot(ctx, path, clock.System{}, "boot")
		if err == nil {
			other.Close()
			t.Fatal("it was opened twice")
		}
		ok(t, s.Create(ctx, "a/{2}", []byte("two"), time.Hour))
		reopen(t, killed(t, s, path), "boot", func(s kv.KV) {
			holds(t, s, "a/{1}", "one")
			holds(t, s, "a/{2}", "two")
		})
	})
}

func TestTheEmbeddedStoreIsRemovedWithAllItsFiles(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "kv.db")
	reopen(t, path, "boot", func(s kv.KV) {
		jammed(t, s)
		ok(t, s.Create(ctx, "a/{1}", []byte("one"), time.Hour))
		path = killed(t, s, path)
		ok(t, kv.Unjam(s))
	})
	for _, suffix := range []string{"", kv.LogSuffix, kv.OldSuffix} {
		_, err := os.Stat(path + suffix)
		ok(t, err)
	}
	ok(t, kv.Remove("sqlite:"+path))
	ok(t, kv.Remove("redis://127.0.0.1:1"))
	left, err := os.ReadDir(filepath.Dir(path))
	ok(t, err)
	if len(left) != 0 {
		t.Error("there is still ", left)
	}
}
