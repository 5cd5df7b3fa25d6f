package kv_test

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db/dbtest"
	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"
)

// cpuTime is what the process has spent so far, user and system.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkKV times the calls on the hot paths with records of 400 bytes, by
// one caller and by 32 at once. life is what most records see: made, read, changed and
// deleted within a moment; create fills the store. CPU time counts what the store does
// in the background.
func BenchmarkKV(b *testing.B) {
	ctx := context.Background()
	val := bytes.Repeat([]byte("0123456789abcdef"), 25)
	var n atomic.Int64
	fresh := func() string { return "b/{" + strconv.FormatInt(n.Add(1), 36) + "-0123456789abcdef}" }
	calls := []struct {
		name string
		call func(s kv.KV) func() error // one caller's loop body
	}{
		{"create", func(s kv.KV) func() error {
			return func() error { return s.Create(ctx, fresh(), val, 5*time.Minute) }
		}},
		{"get", func(s kv.KV) func() error {
			key := fresh()
			err := s.Create(ctx, key, val, 5*time.Minute)
			return func() error {
				if err == nil {
					_, err = s.Get(ctx, key)
				}
				return err
			}
		}},
		{"swap", func(s kv.KV) func() error {
			key := fresh()
			err := s.Create(ctx, key, val, 5*time.Minute)
			old, next := val, append(bytes.Clone(val[1:]), 'x')
			return func() error {
				if err == nil {
					err = s.Swap(ctx, key, old, next, kv.KeepTTL)
				}
				old, next = next, old
				return err
			}
		}},
		{"life", func(s kv.KV) func() error {
			next := append(bytes.Clone(val[1:]), 'x')
			return func() error {
				key := fresh()
				if err := s.Create(ctx, key, val, 5*time.Minute); err != nil {
					return err
				}
				if _, err := s.Get(ctx, key); err != nil {
					return err
				}
				if err := s.Swap(ctx, key, val, next, kv.KeepTTL); err != nil {
					return err
				}
				return s.Delete(ctx, key)
			}
		}},
	}
	for _, backend := range []string{"sqlite", "postgres", "redis"} {
		for _, c := range calls {
			for _, callers := range []int{1, 32} {
				b.Run(fmt.Sprintf("%s/%s/callers=%d", backend, c.name, callers), func(b *testing.B) {
					var s kv.KV
					switch backend {
					case "sqlite":
						s = kvtest.SQLite(b, clock.System{})
					case "postgres":
						s = kvtest.Open(b, dbtest.Postgres(b), clock.System{})
					case "redis":
						s = kvtest.Open(b, kvtest.Redis(b), clock.System{})
					}
					b.ReportAllocs()
					before := cpuTime(b)
					defer func() { b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op") }()
					b.SetParallelism((callers + 1) / 2)
					if callers == 1 {
						call := c.call(s)
						for b.Loop() {
							if err := call(); err != nil {
								b.Fatal(err)
							}
						}
						return
					}
					b.ResetTimer()
					b.RunParallel(func(pb *testing.PB) {
						call := c.call(s)
						for pb.Next() {
							if err := call(); err != nil {
								b.Error(err)
								return
							}
						}
					})
				})
			}
		}
	}
}
