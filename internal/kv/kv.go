// Package kv keeps the short-lived state that nodes share: pending operations,
// sessions, codes' payloads, rate counters, and wake-ups between waiters.
//
// What lives here may be lost as a whole; durable truth lives in internal/db.
// A caller must therefore never conclude from a missing record that something
// did not happen, only that the user has to try again. Nor may it conclude from
// a record that is there that nobody changed or took it: a fail-over of Redis
// (Sentinel, or a replica in a Cluster) can undo the last writes that were
// acknowledged, deletions too, since Redis replicates after it has answered. Each
// call is linearizable on the master that answers it.
//
// There are three backends behind one contract and one test suite: SQLite in a
// file of its own (one node, nothing to install), PostgreSQL in an UNLOGGED table
// (several nodes, nothing but the database) and Redis (several nodes).
package kv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"mobileid/internal/clock"
)

// Outcomes a caller is expected to handle. Every other error means that the
// store could not be asked, and that nothing was written.
var (
	// ErrExists says that Create found a live record under the key.
	ErrExists = errors.New("kv: record exists")
	// ErrNotFound says that there is no live record under the key.
	ErrNotFound = errors.New("kv: no such record")
	// ErrConflict says that Swap did not find the value it was to replace:
	// another writer came first, or the record is gone.
	ErrConflict = errors.New("kv: record changed")
	// ErrUnknown says that the reply to a write was lost and that reading the
	// record did not settle whether the write took place; it may even take
	// place after this error was returned. The caller answers "unavailable"
	// and must not send the write again as if nothing had happened.
	ErrUnknown = errors.New("kv: outcome of the write is unknown")
)

// KeepTTL, given to Swap, leaves the record's remaining life as it is.
const KeepTTL time.Duration = 0

var (
	errClosed = errors.New("kv: store is closed")
	errTTL    = errors.New("kv: a record needs a positive time to live")
)

// KV is a store of small records. Every call is atomic and linearizable per
// key, costs one round trip, and may be made from any goroutine. A record whose
// time is over does not exist. Lives are counted in milliseconds, rounded up.
//
// Values are opaque bytes; callers must not change a slice they passed in
// before the call returns, and own every slice they get back. Keys of one
// record have the form prefix/{id}: the braces are the hash tag that keeps them
// on one Redis Cluster slot. Bucket builds them.
type KV interface {
	// Create writes a new record, or returns ErrExists.
	Create(ctx context.Context, key string, val []byte, ttl time.Duration) error
	// Get returns the record's value, or ErrNotFound.
	Get(ctx context.Context, key string) ([]byte, error)
	// Swap replaces the value if it still equals old, or returns ErrConflict,
	// also when the record is gone. ttl is the new life; KeepTTL keeps the old.
	Swap(ctx context.Context, key string, old, val []byte, ttl time.Duration) error
	// Take returns the value and deletes the record: of many callers one gets
	// it, the others ErrNotFound. If the reply is lost so is the record, hence
	// it is only for what may be lost; single use is enforced in internal/db.
	Take(ctx context.Context, key string) ([]byte, error)
	// Delete removes the record; that it was not there is no error.
	Delete(ctx context.Context, key string) error

	// Batch carries out calls on different keys, or a Notify behind the write it
	// tells of, in one round trip where the store can. Each is atomic by itself and
	// has its own outcome, as if the methods had been called one after the other.
	Batch(ctx context.Context, calls ...*Call)

	// Notify wakes those who Watch the key, on every node that shares the
	// store. Call it after the write that they should see.
	Notify(ctx context.Context, key string) error
	// Watch returns a channel that gets a hint when the record may have
	// changed. Hints coalesce (capacity 1), may come without a change and may
	// be lost: the waiter reads the record after Watch, on each hint and every
	// 5 s. The caller calls stop once done; hint is never closed.
	Watch(key string) (hint <-chan struct{}, stop func())

	// Ping reports whether the store answers.
	Ping(ctx context.Context) error
	// Close ends all work in the background; calls made later fail.
	Close() error
}

// Open connects to the store that url names: "sqlite:/path/kv.db" for the
// embedded one, postgres:// for PostgreSQL, redis:// or rediss:// (TLS) for one
// Redis, redis-sentinel://h1:26379,h2:26379/0?master=name and
// redis-cluster://h1:6379,h2:6379 (with TLS: rediss-…) for several. clk decides
// expiry in the embedded store; the others count by their own clock. Errors do
// not quote the URL, which may hold a password.
func Open(ctx context.Context, url string, clk clock.Clock) (KV, error) {
	scheme, _, _ := strings.Cut(url, ":")
	switch scheme {
	case "sqlite":
		path := embedded(url)
		if path == "" || strings.HasPrefix(path, ":") {
			return nil, errors.New("kv: sqlite: needs the path of a file, as in sqlite:/var/lib/mobileid/kv.db")
		}
		return openSQLite(ctx, path, clk, bootID())
	case "postgres", "postgresql":
		return openPostgres(ctx, url)
	case "redis", "rediss", "redis-sentinel", "rediss-sentinel", "redis-cluster", "rediss-cluster":
		return openRedis(ctx, url)
	}
	return nil, errors.New("kv: the URL must start with sqlite:, postgres://, redis:// or rediss://")
}

// embedded is the path of the embedded store that url names, "" of any other.
func embedded(url string) string {
	path, ok := strings.CutPrefix(url, "sqlite:")
	if !ok {
		return ""
	}
	return strings.TrimPrefix(path, "//")
}

// Remove removes the embedded store that url names, which must not be open, with all
// its files. It does nothing to any other store.
func Remove(url string) error {
	path := embedded(url)
	if path == "" {
		return nil
	}
	if err := removeFiles(path); err != nil {
		return fmt.Errorf("kv: remove: %w", err)
	}
	return nil
}

// bootID names the machine's current boot, or is "" where the system has no
// such name.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// millis is ttl in whole milliseconds, rounded up so that no positive life
// becomes zero.
func millis(ttl time.Duration) int64 {
	return int64((ttl + time.Millisecond - 1) / time.Millisecond)
}

// opError names the call and its key's prefix. The id is left out: it may be
// the hash of a secret, and errors go to logs.
func opError(op, key string, err error) error {
	prefix, _, _ := strings.Cut(key, "{")
	return fmt.Errorf("kv: %s %s: %w", op, prefix, err)
}

// blob makes nil an empty value, which SQL keeps apart from NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
