package kv_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/kv"
)

// What a child process is to do, and with which file.
const (
	childFile = "KV_TEST_CHILD_FILE"
	childTask = "KV_TEST_CHILD_TASK"
)

// childMain does a child's task. What the task returns is printed.
func childMain() bool {
	path := os.Getenv(childFile)
	if path == "" {
		return false
	}
	task := map[string]func(s kv.KV, path string) error{"write": childWrites, "limit": childMeetsALimit}[os.Getenv(childTask)]
	s, err := kv.Open(context.Background(), "sqlite:"+path, clock.System{})
	if err == nil {
		err = task(s, path)
	}
	if err != nil {
		fmt.Println("error", err)
	}
	return true
}

// child is a process that does the task, and what it prints.
func child(t *testing.T, task, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childFile+"="+path, childTask+"="+task)
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	return cmd, bufio.NewScanner(out)
}

const childWriters = 8

// Names and values of what writer g makes in its round i: each round makes a pair
// of records in one batch, changes the first of them, and takes the first of some
// rounds ago.
func pairOf(pid string, g, i int) (first, second string) {
	return fmt.Sprintf("k/{%s-%d-%d}", pid, g, i), fmt.Sprintf("l/{%s-%d-%d}", pid, g, i)
}

const takenAfter = 100 // rounds: the record may be anywhere by then

func valueOf(key string) []byte { return bytes.Repeat([]byte(key), 50) }

// childWrites goes on until the process is killed, and prints each round that it was
// told is done.
func childWrites(s kv.KV, _ string) error {
	ctx := context.Background()
	pid := fmt.Sprint(os.Getpid())
	var print sync.Mutex
	failed := make(chan error)
	for g := range childWriters {
		go func() {
			for i := 0; ; i++ {
				first, second := pairOf(pid, g, i)
				calls := []*kv.Call{{Verb: kv.Create, Key: first, Val: []byte("old"), TTL: time.Hour}, {Verb: kv.Create, Key: second, Val: valueOf(second), TTL: time.Hour}}
				s.Batch(ctx, calls...)
				err := errors.Join(calls[0].Err, calls[1].Err, s.Swap(ctx, first, []byte("old"), valueOf(first), kv.KeepTTL))
				if i >= takenAfter && err == nil {
					gone, _ := pairOf(pid, g, i-takenAfter)
					_, err = s.Take(ctx, gone)
				}
				if err != nil {
					failed <- err
				}
				print.Lock()
				fmt.Println(pid, g, i)
				print.Unlock()
			}
		}()
	}
	return <-failed
}

func TestAKilledProcessLosesNothingAndTakesNothingTwice(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "kv.db")
	type writer struct {
		pid string
		g   int
	}
	rounds := map[writer]int{} // that were told of, by writer
	turning := 0
	for range 4 {
		// Each process writes into what the one before left behind.
		cmd, lines := child(t, "write", path)
		for kill, n := 1000+rand.IntN(1500), 0; lines.Scan(); n++ {
			var w writer
			var i int
			if _, err := fmt.Sscan(lines.Text(), &w.pid, &w.g, &i); err != nil {
				t.Error(lines.Text())
				continue
			}
			rounds[w] = i + 1
			if n == kill {
				ok(t, cmd.Process.Kill()) // what was printed before is still read
			}
		}
		_ = cmd.Wait()
		if _, err := os.Stat(path + kv.OldSuffix); err == nil {
			turning++
		}

		s, err := kv.Open(ctx, "sqlite:"+path, clock.System{})
		ok(t, err)
		for w, told := range rounds {
			for i := range told + 1 {
				first, second := pairOf(w.pid, w.g, i)
				a, errA := s.Get(ctx, first)
				b, errB := s.Get(ctx, second)
				switch {
				case i == told: // under way: its batch took place or not
					if (errA == nil) != (errB == nil) {
						t.Errorf("half of a batch: %v, %v", errA, errB)
					}
				case errB != nil || !bytes.Equal(b, valueOf(second)):
					t.Errorf("%s: %v", second, errB)
				case i < told-takenAfter:
					is(t, errA, kv.ErrNotFound)
					_, err := s.Take(ctx, first)
					is(t, err, kv.ErrNotFound)
				case i == told-takenAfter && errors.Is(errA, kv.ErrNotFound): // its take was under way
				case errA != nil || !bytes.Equal(a, valueOf(first)):
					t.Errorf("%s: %d bytes, %v", first, len(a), errA)
				}
			}
		}
		ok(t, s.Close())
	}
	t.Logf("%d of 4 died while the file was taking up a table", turning)
}

func TestAFullDiskInTheMiddleOfAWriteLeavesNothingOfIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kv.db")
	cmd, lines := child(t, "limit", path)
	said := ""
	for lines.Scan() {
		said += lines.Text() + "\n"
		if strings.HasPrefix(lines.Text(), "done") {
			ok(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait()
	if !strings.HasPrefix(said, "done") {
		t.Fatal(said)
	}
	s, err := kv.Open(context.Background(), "sqlite:"+path, clock.System{})
	ok(t, err)
	for _, key := range []string{"a/{1}", "a/{3}", "a/{4}"} {
		holds(t, s, key, key)
	}
	gone(t, s, "a/{2}")
	ok(t, s.Close())
}

// childMeetsALimit makes records, of which the second is more than its journal may
// take: the system writes a part of it and then refuses.
func childMeetsALimit(s kv.KV, path string) error {
	ctx := context.Background()
	if err := s.Create(ctx, "a/{1}", []byte("a/{1}"), time.Hour); err != nil {
		return err
	}
	before, err := os.Stat(path + kv.LogSuffix)
	if err != nil {
		return err
	}
	raise, err := limitFiles(before.Size() + 500)
	if err != nil {
		return err
	}
	for range 3 {
		if err := s.Create(ctx, "a/{2}", make([]byte, 1000), time.Hour); err == nil {
			return errors.New("more than the limit was written")
		}
		if after, err := os.Stat(path + kv.LogSuffix); err != nil || after.Size() != before.Size() {
			return fmt.Errorf("a part stayed: %d of %d, %w", after.Size(), before.Size(), err)
		}
	}
	if err := s.Create(ctx, "a/{3}", []byte("a/{3}"), time.Hour); err != nil { // there is room for it
		return err
	}
	if err := raise(); err != nil {
		return err
	}
	if _, err := s.Get(ctx, "a/{2}"); !errors.Is(err, kv.ErrNotFound) {
		return fmt.Errorf("what was refused is there: %w", err)
	}
	if err := s.Create(ctx, "a/{4}", []byte("a/{4}"), time.Hour); err != nil {
		return err
	}
	fmt.Println("done")
	time.Sleep(time.Minute) // until it is killed
	return nil
}
