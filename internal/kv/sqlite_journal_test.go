package kv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"
)

const thisBoot = "boot-1"

// killed copies the files of the open store at path as they would be found if its
// process were killed now, and returns the path of the copy.
func killed(t *testing.T, s kv.KV, path string) string {
	t.Helper()
	left := filepath.Join(t.TempDir(), "kv.db")
	ok(t, kv.Still(s, func() {
		for _, suffix := range []string{"", "-wal", kv.OldSuffix, kv.LogSuffix} {
			b, err := os.ReadFile(path + suffix)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			ok(t, errors.Join(err, os.WriteFile(left+suffix, b, 0o600)))
		}
	}))
	return left
}

// jammed has a sealed table that cannot go into the file until Unjam.
func jammed(t *testing.T, s kv.KV) {
	t.Helper()
	ok(t, s.Create(t.Context(), "jam/{1}", nil, time.Hour))
	ok(t, kv.Jam(s, "jam/{1}"))
	ok(t, kv.Seal(s))
	kv.Want(s)
}

func gone(t *testing.T, s kv.KV, key string) {
	t.Helper()
	if val, err := s.Get(t.Context(), key); !errors.Is(err, kv.ErrNotFound) {
		t.Fatalf("%s holds %q, %v; it should be gone", key, val, err)
	}
}

// One record of each fate: in the file, in the older journal, in the newer one, and
// removed or changed in each.
func TestAKilledProcessLeavesWhatItsFileAndBothJournalsSayInTheirOrder(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "kv.db")
	reopen(t, path, thisBoot, func(s kv.KV) {
		for _, key := range []string{"filed", "filed-taken-old", "filed-taken-new", "filed-swapped", "filed-over"} {
			ok(t, s.Create(ctx, "a/{"+key+"}", []byte("one"), time.Hour))
		}
		ok(t, kv.Fold(s))
		ok(t, s.Swap(ctx, "a/{filed-swapped}", []byte("one"), []byte("two"), kv.KeepTTL))
		ok(t, s.Swap(ctx, "a/{filed-over}", []byte("one"), []byte("two"), time.Millisecond))
		_, err := s.Take(ctx, "a/{filed-taken-old}")
		ok(t, err)
		for _, key := range []string{"old", "old-swapped", "old-deleted", "old-again"} {
			ok(t, s.Create(ctx, "a/{"+key+"}", []byte("one"), time.Hour))
		}
		jammed(t, s)
		ok(t, s.Swap(ctx, "a/{filed-swapped}", []byte("two"), []byte("three"), kv.KeepTTL))
		ok(t, s.Swap(ctx, "a/{old-swapped}", []byte("one"), []byte("two"), kv.KeepTTL))
		ok(t, s.Delete(ctx, "a/{old-deleted}"))
		ok(t, s.Delete(ctx, "a/{old-again}"))
		ok(t, s.Create(ctx, "a/{old-again}", []byte("again"), time.Hour))
		_, err = s.Take(ctx, "a/{filed-taken-new}")
		ok(t, err)
		ok(t, s.Create(ctx, "a/{new}", []byte("one"), time.Hour))
		time.Sleep(2 * time.Millisecond)
		check := func(s kv.KV) {
			t.Helper()
			for key, want := range map[string]string{"filed": "one", "filed-swapped": "three", "old": "one", "old-swapped": "two", "old-again": "again", "new": "one"} {
				holds(t, s, "a/{"+key+"}", want)
			}
			for _, key := range []string{"filed-taken-old", "filed-taken-new", "filed-over", "old-deleted"} {
				gone(t, s, "a/{"+key+"}")
			}
		}
		check(s)
		left := killed(t, s, path)
		for range 2 {
			reopen(t, left, thisBoot, check)
			for _, suffix := range []string{kv.LogSuffix, kv.OldSuffix, "-wal"} {
				if _, err := os.Stat(left + suffix); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("after a close there is %s: %v", suffix, err)
				}
			}
		}
		ok(t, kv.Unjam(s))
		check(s)
		ok(t, kv.Fold(s))
		check(s)
		if n, err := kv.Rows(s); n != 7 || err != nil { // and that of the jam
			t.Errorf("%d rows are in the file, %v", n, err)
		}
	})
}

// The file takes a table up a part at a time; what was removed since it was sealed
// is gone also when a part is in the file and another is not.
func TestATableOfWhichTheFileHasAPartBringsNothingBack(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "kv.db")
	reopen(t, path, thisBoot, func(s kv.KV) {
		name := func(i int) string { return fmt.Sprintf("a/{%03d}", i) }
		for i := range 300 {
			ok(t, s.Create(ctx, name(i), []byte("one"), time.Hour))
		}
		jammed(t, s) // after what begins with a
		for i := range 300 {
			switch i % 3 {
			case 0:
				ok(t, s.Delete(ctx, name(i)))
			case 1:
				ok(t, s.Swap(ctx, name(i), []byte("one"), []byte("two"), kv.KeepTTL))
			}
		}
		check := func(s kv.KV) {
			t.Helper()
			for i := range 300 {
				switch i % 3 {
				case 0:
					gone(t, s, name(i))
				case 1:
					holds(t, s, name(i), "two")
				case 2:
					holds(t, s, name(i), "one")
				}
			}
		}
		for range 2 {
			if kv.Retry(s) == nil || s.Ping(ctx) == nil {
				t.Fatal("nothing is in the way, or a ping does not say so")
			}
			check(s)
		}
		reopen(t, killed(t, s, path), thisBoot, check)
		ok(t, kv.Unjam(s))
		check(s)
		ok(t, kv.Fold(s))
		check(s)
		if n, err := kv.Rows(s); n != 201 || err != nil { // and that of the jam
			t.Errorf("%d rows are in the file, %v", n, err)
		}
	})
}

func TestATornJournalLosesItsLastGroupAndNothingElse(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "kv.db")
	reopen(t, path, thisBoot, func(s kv.KV) {
		ok(t, s.Create(ctx, "a/{1}", []byte("one"), time.Hour))
		ok(t, s.Create(ctx, "a/{2}", []byte("two"), time.Hour))
		whole, err := os.ReadFile(killed(t, s, path) + kv.LogSuffix)
		ok(t, err)
		s.Batch(ctx, &kv.Call{Verb: kv.Create, Key: "b/{1}", Val: []byte("long enough"), TTL: time.Hour},
			&kv.Call{Verb: kv.Swap, Key: "a/{1}", Old: []byte("one"), Val: []byte("1")}, &kv.Call{Verb: kv.Delete, Key: "a/{2}"})
		left := killed(t, s, path)
		more, err := os.ReadFile(left + kv.LogSuffix)
		ok(t, err)
		file, err := os.ReadFile(left)
		ok(t, err)
		if len(more) < len(whole)+30 {
			t.Fatalf("the journal grew from %d to %d", len(whole), len(more))
		}
		for n := len(whole); n <= len(more); n++ {
			ok(t, os.WriteFile(left, file, 0o600))
			ok(t, os.WriteFile(left+kv.LogSuffix, more[:n], 0o600))
			reopen(t, left, thisBoot, func(s kv.KV) {
				if n == len(more) {
					holds(t, s, "b/{1}", "long enough")
					holds(t, s, "a/{1}", "1")
					gone(t, s, "a/{2}")
					return
				}
				gone(t, s, "b/{1}")
				holds(t, s, "a/{1}", "one")
				holds(t, s, "a/{2}", "two")
			})
		}
	})
}

// A journal without which the file would be a state that never was makes the file
// anew; one that has nothing to do with it does not.
func TestAJournalThatDoesNotFitIsNotTakenUp(t *testing.T) {
	ctx := context.Background()
	edit := func(suffix string, fn func(b []byte) []byte) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			b, err := os.ReadFile(path + suffix)
			ok(t, errors.Join(err, os.WriteFile(path+suffix, fn(b), 0o600)))
		}
	}
	flip := func(at int) func(b []byte) []byte {
		return func(b []byte) []byte { b[(at+len(b))%len(b)] ^= 1; return b }
	}
	tests := []struct {
		name   string
		damage func(t *testing.T, path string)
		boot   string
		kept   string // what of the three is kept: in the file, in the older journal, in the newer
	}{
		{"all is sound", nil, thisBoot, "yyy"},
		{"another boot", nil, "boot-2", "nnn"},
		{"the file is gone", func(t *testing.T, path string) { ok(t, errors.Join(os.Remove(path), os.Remove(path+"-wal"))) }, thisBoot, "nnn"},
		{"the file is torn", func(t *testing.T, path string) { ok(t, os.WriteFile(path, make([]byte, 5000), 0o600)) }, thisBoot, "nnn"},
		{"a byte of the journal is wrong", edit(kv.LogSuffix, flip(-40)), thisBoot, "nnn"},
		{"a byte of its last group is wrong", edit(kv.LogSuffix, flip(-1)), thisBoot, "nnn"},
		{"a byte of the older journal is wrong", edit(kv.OldSuffix, flip(60)), thisBoot, "nnn"},
		{"the older journal is cut", edit(kv.OldSuffix, func(b []byte) []byte { return b[:len(b)-1] }), thisBoot, "nnn"},
		{"the journal is of another file", edit(kv.LogSuffix, flip(10)), thisBoot, "yyn"},
		{"both are", func(t *testing.T, path string) {
			edit(kv.LogSuffix, flip(10))(t, path)
			edit(kv.OldSuffix, flip(10))(t, path)
		}, thisBoot, "ynn"},
		{"the journal is no journal", edit(kv.LogSuffix, func([]byte) []byte { return []byte("my diary") }), thisBoot, "nnn"},
		{"the journal is empty", edit(kv.LogSuffix, func([]byte) []byte { return nil }), thisBoot, "nnn"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "kv.db")
			var left string
			reopen(t, path, thisBoot, func(s kv.KV) {
				ok(t, s.Create(ctx, "a/{file}", bytes.Repeat([]byte("x"), 100), time.Hour))
				ok(t, kv.Fold(s))
				ok(t, s.Create(ctx, "a/{old}", bytes.Repeat([]byte("x"), 100), time.Hour))
				jammed(t, s)
				ok(t, s.Create(ctx, "a/{new}", bytes.Repeat([]byte("x"), 100), time.Hour))
				ok(t, s.Create(ctx, "a/{new2}", bytes.Repeat([]byte("x"), 100), time.Hour))
				left = killed(t, s, path)
				ok(t, kv.Unjam(s))
			})
			if tt.damage != nil {
				tt.damage(t, left)
			}
			reopen(t, left, tt.boot, func(s kv.KV) {
				kept := ""
				for _, key := range []string{"a/{file}", "a/{old}", "a/{new}"} {
					switch _, err := s.Get(ctx, key); {
					case err == nil:
						kept += "y"
					case errors.Is(err, kv.ErrNotFound):
						kept += "n"
					default:
						t.Error(err)
					}
				}
				if kept != tt.kept {
					t.Errorf("kept %s, want %s", kept, tt.kept)
				}
				ok(t, s.Create(ctx, "b/{1}", nil, time.Hour))
				info, err := os.Stat(left + kv.LogSuffix)
				ok(t, err)
				if info.Mode().Perm() != 0o600 {
					t.Errorf("the journal's mode is %v", info.Mode())
				}
			})
			aside, err := os.ReadFile(left + kv.LogSuffix + ".bad")
			if strings.Contains(tt.name, "no journal") && string(aside) != "my diary" {
				t.Errorf("what was there is lost: %q, %v", aside, err)
			}
		})
	}
}

// What the journal could not take was not written, whoever asks and whenever, and
// those who follow are not disturbed.
func TestAWriteThatTheJournalRefusesChangesNothing(t *testing.T) {
	ctx := context.Background()
	for _, fault := range []string{"full", "closed"} {
		t.Run(fault, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "kv.db")
			reopen(t, path, thisBoot, func(s kv.KV) {
				for _, key := range []string{"a/{1}", "a/{2}", "a/{3}"} {
					ok(t, s.Create(ctx, key, []byte("one"), time.Hour))
				}
				bad, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
				ok(t, err)
				if fault == "closed" {
					ok(t, bad.Close())
				}
				good := kv.LogTo(s, bad)
				refused := func(err error) {
					t.Helper()
					if err == nil || errors.Is(err, kv.ErrExists) || errors.Is(err, kv.ErrNotFound) || errors.Is(err, kv.ErrConflict) || errors.Is(err, kv.ErrUnknown) {
						t.Errorf("the call says %v", err)
					}
				}
				batch := []*kv.Call{{Verb: kv.Create, Key: "a/{5}", TTL: time.Hour}, {Verb: kv.Create, Key: "a/{5}", TTL: time.Hour}, {Verb: kv.Delete, Key: "a/{1}"}}
				for range 3 {
					refused(s.Create(ctx, "a/{4}", []byte("one"), time.Hour))
					refused(s.Swap(ctx, "a/{1}", []byte("one"), []byte("two"), time.Hour))
					val, err := s.Take(ctx, "a/{2}")
					refused(err)
					if val != nil {
						t.Errorf("took %q all the same", val)
					}
					refused(s.Delete(ctx, "a/{3}"))
					s.Batch(ctx, batch...)
					for _, c := range batch {
						refused(c.Err)
					}
					refused(s.Ping(ctx))
				}
				check := func(s kv.KV) {
					t.Helper()
					for _, key := range []string{"a/{1}", "a/{2}", "a/{3}"} {
						holds(t, s, key, "one")
					}
					gone(t, s, "a/{4}")
					gone(t, s, "a/{5}")
				}
				check(s)
				kv.LogTo(s, good)
				bad.Close()
				reopen(t, killed(t, s, path), thisBoot, check)
				ok(t, s.Create(ctx, "b/{1}", []byte("one"), time.Hour))
				ok(t, s.Ping(ctx))
				check(s)
				reopen(t, killed(t, s, path), thisBoot, func(s kv.KV) {
					check(s)
					holds(t, s, "b/{1}", "one")
				})
			})
		})
	}
}

func TestWhatNobodyChangesIsNotWrittenDown(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "kv.db")
	s := kvtest.Open(t, "sqlite:"+path, clock.System{})
	ok(t, s.Create(ctx, "a/{1}", []byte("one"), time.Hour))
	before, err := os.Stat(path + kv.LogSuffix)
	ok(t, err)
	is(t, s.Create(ctx, "a/{1}", []byte("two"), time.Hour), kv.ErrExists)
	is(t, s.Swap(ctx, "a/{1}", []byte("two"), []byte("one"), time.Hour), kv.ErrConflict)
	ok(t, s.Delete(ctx, "a/{2}"))
	_, err = s.Take(ctx, "a/{2}")
	is(t, err, kv.ErrNotFound)
	holds(t, s, "a/{1}", "one")
	after, err := os.Stat(path + kv.LogSuffix)
	ok(t, err)
	if before.Size() != after.Size() {
		t.Errorf("the journal grew by %d bytes", after.Size()-before.Size())
	}
	for i := range 2000 { // made and removed: the file sees nothing of it
		key := fmt.Sprintf("b/{%d}", i)
		ok(t, s.Create(ctx, key, make([]byte, 1000), time.Hour))
		ok(t, s.Delete(ctx, key))
	}
	for i := range 100 { // also if a table was sealed in between
		ok(t, s.Create(ctx, fmt.Sprintf("c/{%d}", i), []byte("old"), time.Hour))
	}
	ok(t, kv.Seal(s))
	for i := range 100 {
		ok(t, s.Swap(ctx, fmt.Sprintf("c/{%d}", i), []byte("old"), []byte("new"), kv.KeepTTL))
		ok(t, s.Delete(ctx, fmt.Sprintf("c/{%d}", i)))
	}
	if fresh, _, _ := kv.Held(s); fresh != 0 {
		t.Errorf("memory holds %d bytes of what is gone", fresh)
	}
	ok(t, kv.Fold(s))
	if n, err := kv.Rows(s); n != 1 || err != nil {
		t.Errorf("%d rows are in the file, %v", n, err)
	}
}

func TestWhatTheFileDoesNotTakeUpAtTheEndIsThereAtTheNextStart(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "kv.db")
	s, err := kv.OpenBoot(ctx, path, clock.System{}, thisBoot)
	ok(t, err)
	ok(t, s.Create(ctx, "a/{old}", []byte("one"), time.Hour))
	jammed(t, s)
	ok(t, s.Create(ctx, "a/{new}", []byte("one"), time.Hour))
	if s.Close() == nil {
		t.Fatal("the end was said to be clean")
	}
	for range 2 {
		reopen(t, path, thisBoot, func(s kv.KV) {
			holds(t, s, "a/{old}", "one")
			holds(t, s, "a/{new}", "one")
		})
	}
}
