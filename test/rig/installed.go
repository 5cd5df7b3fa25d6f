package rig

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/config"
	"mobileid/internal/clock"
	"mobileid/internal/db/dbtest"
)

// installed is what a server leaves that was started once on empty stores and has
// served nobody: its schema and first keys. Rigs begin with copies of it, each of
// which is anybody's second start: to migrate took as long as many a test. What a
// first start does is the matter of the tests of the program.
var installed struct {
	sync.Mutex
	sqlite, masterKey []byte
}

const (
	sqliteFile = "mobileid.db"
	keyFile    = "master.key"
)

// install makes the installation, at its first call in a test process.
func install(t testing.TB) {
	t.Helper()
	installed.Lock()
	defer installed.Unlock()
	if installed.masterKey != nil {
		return
	}
	dir := t.TempDir()
	open(t, dir, "sqlite:"+filepath.Join(dir, sqliteFile))
	var key []byte
	var err error
	if installed.sqlite, err = os.ReadFile(filepath.Join(dir, sqliteFile)); err == nil {
		key, err = os.ReadFile(filepath.Join(dir, keyFile))
	}
	if err != nil {
		t.Fatal(err)
	}
	installed.masterKey = key
}

// open opens and closes the durable store, as a server does that is started.
func open(t testing.TB, dir, url string) {
	t.Helper()
	cfg := &config.Config{DataDir: dir, MasterKeyFile: filepath.Join(dir, keyFile)}
	cfg.DB.URL = config.StoreURL(url)
	s, err := node.Open(t.Context(), cfg, clock.NewManual(time.Now().Truncate(time.Millisecond)), true)
	if err == nil {
		err = s.DB.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// lay puts the installation into an empty data folder: the master key, and the
// embedded store for a server that has no other.
func lay(t testing.TB, dir string, embedded bool) {
	t.Helper()
	install(t)
	files := map[string][]byte{keyFile: installed.masterKey}
	if embedded {
		files[sqliteFile] = installed.sqlite
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Postgres returns the URL of a new PostgreSQL database for Options.DB of a rig with
// a data folder of its own.
func Postgres(t testing.TB) string {
	t.Helper()
	return dbtest.Copy(t, func(url string) {
		dir := t.TempDir()
		lay(t, dir, false)
		open(t, dir, url)
	})
}
