// Package dbtest gives tests both engines of internal/db: a SQLite file in a
// temporary folder, and databases on a real PostgreSQL that it starts on a free
// port of loopback and that ends with the test process, however that ends.
package dbtest

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
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
	n      int
	filled string // the database that PostgresOf copies
}

// Postgres returns the URL of a new database on the PostgreSQL of this test
// process; the test's end drops it. A test that stops or kills the server starts
// one of its own.
func Postgres(t testing.TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	return create(t, "template1")
}

// PostgresOf is Postgres with a database that is not empty but a copy of the one that
// fill filled. Whoever is first in this test process has it filled for all others, who
// give the same fill. It leaves no connection open.
func PostgresOf(t testing.TB, fill func(url string) error) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.filled == "" {
		s, name := next(t, "template1")
		if err := fill(s.url(name)); err != nil {
			t.Fatal(err)
		}
		shared.filled = name
	}
	return create(t, shared.filled)
}

// create makes a database for one test. The caller holds shared.
func create(t testing.TB, template string) string {
	t.Helper()
	s, name := next(t, template)
	t.Cleanup(func() { run(t, s, "DROP DATABASE "+name+" WITH (FORCE)") })
	return s.url(name)
}

// next makes a database of this process's server, which it starts if need be. The
// caller holds shared.
func next(t testing.TB, template string) (s *Server, name string) {
	t.Helper()
	if shared.server == nil {
		started, err := start(Options{})
		if err != nil {
			t.Fatal(err)
		}
		shared.server = started
	}
	shared.n++
	name = fmt.Sprintf("t%d", shared.n)
	run(t, shared.server, "CREATE DATABASE "+name+" TEMPLATE "+template)
	return shared.server, name
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
