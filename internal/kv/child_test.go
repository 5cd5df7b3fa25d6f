package kv_test

import (
	"bufio"
	"context"
	"fmt"
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

const childFile = "KV_TEST_CHILD_FILE"

// childMain, in a child of TestAKilledProcessLosesNothing, writes records from
// several goroutines and prints each key once the write is acknowledged, until
// it is killed.
func childMain() bool {
	path := os.Getenv(childFile)
	if path == "" {
		return false
	}
	ctx := context.Background()
	s, err := kv.Open(ctx, "sqlite:"+path, clock.System{})
	if err != nil {
		fmt.Println("error", err)
		return true
	}
	var print sync.Mutex
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("k/{%d-%d-%d}", os.Getpid(), g, i)
				err := s.Create(ctx, key, []byte("old"), time.Hour)
				if err == nil {
					err = s.Swap(ctx, key, []byte("old"), []byte(key), kv.KeepTTL)
				}
				print.Lock()
				if err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				fmt.Println(key)
				print.Unlock()
			}
		})
	}
	all.Wait()
	return true
}

func TestAKilledProcessLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kv.db")
	var written []string
	for round := range 3 {
		// Each round writes new keys into what the round before left behind.
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childFile+"="+path)
		out, err := cmd.StdoutPipe()
		ok(t, err)
		ok(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if strings.HasPrefix(lines.Text(), "error") {
				t.Error(lines.Text())
			}
			written = append(written, lines.Text())
			if n == 1000*(round+1) {
				ok(t, cmd.Process.Kill()) // what was printed before is still read
			}
		}
		_ = cmd.Wait()

		s, err := kv.Open(context.Background(), "sqlite:"+path, clock.System{})
		ok(t, err)
		for _, key := range written {
			holds(t, s, key, key)
		}
		ok(t, s.Close())
	}
}
