// Package kvtest gives tests every backend of internal/kv: SQLite in a temporary
// folder, a database of a real PostgreSQL, and a real redis-server that it starts
// on a free port and stops again.
package kvtest

import (
	"path/filepath"
	"testing"

	"mobileid/internal/clock"
	"mobileid/internal/db/dbtest"
	"mobileid/internal/kv"
)

// SQLite returns an embedded store in a temporary folder whose records expire
// by clk. It is closed when the test ends.
func SQLite(t testing.TB, clk clock.Clock) kv.KV {
	t.Helper()
	return Open(t, "sqlite:"+filepath.Join(t.TempDir(), "kv.db"), clk)
}

// Open opens the store at url and closes it when the test ends.
func Open(t testing.TB, url string, clk clock.Clock) kv.KV {
	t.Helper()
	s, err := kv.Open(t.Context(), url, clk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close %T: %v", s, err)
		}
	})
	return s
}

// Each runs test once for each backend, as a subtest named after it. Records
// expire by the system's clock.
func Each(t *testing.T, test func(t *testing.T, s kv.KV)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite(t, clock.System{})) })
	t.Run("postgres", func(t *testing.T) { test(t, Open(t, dbtest.Postgres(t), clock.System{})) })
	t.Run("redis", func(t *testing.T) { test(t, Open(t, Redis(t), clock.System{})) })
}
