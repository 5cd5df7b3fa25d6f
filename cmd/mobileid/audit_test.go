package main

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mobileid/internal/audit"
)

// mobileid runs the program over the folder and returns its exit status and what
// it printed.
func mobileid(t *testing.T, dir string, args ...string) (code int, out string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = file, file
	code = run(t.Context(), append(args, "--data-dir", dir))
	os.Stdout, os.Stderr = stdout, stderr
	file.Close()
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return code, string(text)
}

func TestL3_AuditVerifyExitsWith1AndNamesTheRecord(t *testing.T) {
	dir := t.TempDir()
	if code, out := mobileid(t, dir, "audit", "verify"); code != 1 || !strings.Contains(out, "no such file") {
		t.Errorf("without a database: %d, %s", code, out)
	}
	for _, name := range []string{"One", "Two", "Three"} {
		if code, out := mobileid(t, dir, "merchant", "create", name); code != 0 {
			t.Fatal(out)
		}
	}
	if code, out := mobileid(t, dir, "audit", "verify"); code != 0 || !strings.Contains(out, "ok: 0 records in the chain, 3 not in it yet, 0 anchors agree") {
		t.Errorf("before any server ran: %d, %s", code, out)
	}
	code, out := mobileid(t, dir, "audit", "export")
	if code != 0 || strings.Count(out, "\n") != 3 || !strings.Contains(out, `"act":"merchant.created"`) {
		t.Errorf("export: %d, %s", code, out)
	}
	if code, out := mobileid(t, dir, "audit", "export", "--from", "2999-01-01"); code != 0 || out != "" {
		t.Errorf("export of the future: %d, %s", code, out)
	}
	if code, _ := mobileid(t, dir, "audit", "export", "--to", "yesterday"); code != exitUsage {
		t.Errorf("a time that is none: %d", code)
	}
	anchor := audit.Anchor{Seq: 7, Hash: strings.Repeat("ab", 32)}
	anchors := filepath.Join(t.TempDir(), "anchors.log")
	if err := (audit.File{Path: anchors}).Anchor(t.Context(), anchor); err != nil {
		t.Fatal(err)
	}
	if code, out := mobileid(t, dir, "audit", "verify", "--anchors", anchors); code != 1 || !strings.Contains(out, "entry 1 of the chain: is missing") {
		t.Errorf("anchors of what is not there: %d, %s", code, out)
	}
	raw, err := sql.Open("sqlite", filepath.Join(dir, "mobileid.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if _, err := raw.Exec(`UPDATE audit_records SET body = replace(body, 'merchant', 'merchent')`); err != nil {
		t.Fatal(err)
	}
	if code, out := mobileid(t, dir, "audit", "verify"); code != 1 || !strings.Contains(out, "record 1 of writer aw_") || !strings.Contains(out, "was changed") {
		t.Errorf("after an edit: %d, %s", code, out)
	}
}
