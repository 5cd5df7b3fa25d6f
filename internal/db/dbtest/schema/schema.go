// Package schema gives tests databases of both engines that have the schema and
// nothing in them. It is made once in a test process and copied from then on, as to
// make it takes longer than many a test does. That the migrations make it in an empty
// database is what the tests of internal/db and of the commands are for.
package schema

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/db/dbtest"
)

// Postgres returns the URL of a new database, as dbtest.Postgres does.
func Postgres(t testing.TB) string {
	t.Helper()
	return dbtest.PostgresOf(t, migrate)
}

// SQLite returns the URL of a new file, as dbtest.SQLite does.
func SQLite(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mobileid.db")
	if err := File(path); err != nil {
		t.Fatal(err)
	}
	return "sqlite:" + path
}

// File makes the file of a SQLite database, unless there is one.
func File(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	made, err := sqlite()
	if err != nil {
		return err
	}
	return os.WriteFile(path, made, 0o600)
}

var sqlite = sync.OnceValues(func() (file []byte, err error) {
	dir, err := os.MkdirTemp("", "mobileid-schema-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "mobileid.db")
	if err := migrate("sqlite:" + path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func migrate(url string) error {
	d, err := db.Open(context.Background(), url, clock.System{})
	if err != nil {
		return err
	}
	return errors.Join(d.Migrate(context.Background()), d.Close())
}
