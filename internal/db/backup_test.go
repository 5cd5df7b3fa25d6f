package db

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mobileid/internal/clock"
)

func backup(t *testing.T, d *DB) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "a backup?#%")
	info, err := Backup(t.Context(), "sqlite:"+d.path, to, BackupInfo{Issuer: "https://id.example", KeyCheck: []byte("check"), MasterKey: []byte("k3y")}, clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	if read, err := ReadBackup(t.Context(), to); err != nil || read.String() != info.String() || string(read.MasterKey) != "k3y" || strings.Contains(read.String(), "k3y") {
		t.Fatalf("read %v, wrote %v: %v", read, info, err)
	}
	return to
}

func TestARestoredDatabaseIsTheOneThatWasBackedUp(t *testing.T) {
	d := open(t)
	if err := add(d, "mer_before"); err != nil {
		t.Fatal(err)
	}
	from := backup(t, d)
	if err := add(d, "mer_after"); err != nil {
		t.Fatal(err)
	}
	to := "sqlite:" + filepath.Join(t.TempDir(), "new.db")
	err := Restore(t.Context(), from, to, clock.System{}, func(r *DB) error { return add(r, "mer_ready") })
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), to, clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := merchants(t, r)
	if len(got) != 2 || !got["mer_before"] || !got["mer_ready"] {
		t.Errorf("holds %v", got)
	}
	// Once more over it, and it is as it was.
	if err := Restore(t.Context(), from, to, clock.System{}, func(*DB) error { return nil }); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a database: %v", err)
	}
	if got := merchants(t, r); len(got) != 2 {
		t.Errorf("holds %v", got)
	}
}

func TestARestoreThatFailsLeavesNothing(t *testing.T) {
	d := open(t)
	good, newer := backup(t, d), backup(t, d)
	f, err := plainFile(newer)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.ExecContext(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	no := errors.New("no")
	for _, tc := range []struct {
		name, from, want string
		ready            error
	}{
		{"not ready", good, "no", no},
		{"a schema of a newer program", newer, "schema version 9999", nil},
		{"a database that is no backup", d.path, "backup_info", nil},
		{"no file", filepath.Join(t.TempDir(), "none"), "no such file", nil},
	} {
		dir := t.TempDir()
		err := Restore(t.Context(), tc.from, "sqlite:"+filepath.Join(dir, "new.db"), clock.System{}, func(*DB) error { return tc.ready })
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
			t.Errorf("%s: leaves %v", tc.name, left)
		}
	}
	if _, err := Backup(t.Context(), "sqlite:"+d.path, good, BackupInfo{}, clock.System{}); !errors.Is(err, os.ErrExist) {
		t.Errorf("a backup over another: %v", err)
	}
	if _, err := Backup(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "none.db"), filepath.Join(t.TempDir(), "b"), BackupInfo{}, clock.System{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a backup of nothing: %v", err)
	}
}
