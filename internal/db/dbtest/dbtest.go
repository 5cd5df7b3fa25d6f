// Package dbtest gives tests both engines of internal/db: a SQLite file in a
// temporary folder, and databases on a real PostgreSQL that it starts on a free
// port of loopback and that ends with the test process, however that ends.
package dbtest

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
)

// SQLite returns the URL of a new file.
func SQLite(t testing.TB) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "mobileid.db")
}

// Each runs test once for each engine, as a subtest named after it, with the URL
// of an empty database.
func Each(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, Postgres(t)) })
}

// shared is the server of this test process: to start one takes a second.
var shared struct {
	sync.Mutex
	server *Server
	filled bool // there is a database that Copy copies
	n      atomic.Int64
}

// Postgres returns the URL of a new database on the PostgreSQL of this test
// process; the test's end drops it. A test that stops or kills the server starts
// one of its own.
func Postgres(t testing.TB) string {
	t.Helper()
	return create(t, server(t), "")
}

// Copy is Postgres with a copy of the one database that fill fills, at the first call,
// and leaves: always the same one, in a test process.
func Copy(t testing.TB, fill func(url string)) string {
	t.Helper()
	const name = "filled"
	s := server(t)
	func() {
		shared.Lock()
		defer shared.Unlock()
		if !shared.filled {
			run(t, s, "CREATE DATABASE "+name)
			fill(s.url(name))
			shared.filled = true
		}
	}()
	return create(t, s, " TEMPLATE "+name)
}

func server(t testing.TB) *Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		s, err := start(Options{})
		if err != nil {
			t.Fatal(err)
		}
		shared.server = s
	}
	return shared.server
}

func create(t testing.TB, s *Server, how string) string {
	t.Helper()
	name := fmt.Sprintf("t%d", shared.n.Add(1))
	run(t, s, "CREATE DATABASE "+name+how)
	t.Cleanup(func() { run(t, s, "DROP DATABASE "+name+" WITH (FORCE)") })
	return s.url(name)
}

func run(t testing.TB, s *Server, sql string) {
	t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, sql); err != nil {
		t.Fatal(err)
	}
}
