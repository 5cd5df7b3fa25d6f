package operate_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/config"
	"mobileid/internal/db/dbtest"
	"mobileid/test/program"
	"mobileid/test/rig"
)

// documented returns the shell commands of docs/operations.md that begin with
// the comment.
func documented(t *testing.T, title string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?ms)^```sh\n# " + regexp.QuoteMeta(title) + "\n(.*?)^```").FindSubmatch(text)
	if found == nil {
		t.Fatalf("docs/operations.md has no commands called %q", title)
	}
	return string(found[1])
}

// shell runs the commands with the paths and addresses of the test in place of
// those of the documentation, each of which must be there.
func shell(t *testing.T, commands string, instead map[string]string) string {
	t.Helper()
	for old, new := range instead {
		if !strings.Contains(commands, old) {
			t.Fatalf("the documented commands have no %s:\n%s", old, commands)
		}
		commands = strings.ReplaceAll(commands, old, new)
	}
	psql, err := dbtest.Program("psql")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", commands)
	cmd.Env = program.Environ("PATH=" + filepath.Dir(binary) + ":" + filepath.Dir(psql) + ":" + os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, commands, out)
	}
	return string(out)
}

func TestX22_ADumpUnderLoadRestoredByTheDocumentedCommandsHoldsAllThatWasAcknowledged(t *testing.T) {
	from, to := dbtest.StartPostgres(t, dbtest.Options{}), dbtest.StartPostgres(t, dbtest.Options{})
	from.SQL(t, "CREATE DATABASE mobileid")
	at := func(s *dbtest.Server) string {
		return fmt.Sprintf("postgres://mobileid@%s/mobileid?sslmode=disable", s.Addr())
	}
	r := rig.Start(t, rig.Options{DB: at(from)})
	var done acknowledged
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		u, p := r.Person()
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ack := r.Ask(r.Backend, u)
				ops, err := p.List(t.Context())
				if err != nil || len(ops) != 1 {
					t.Errorf("list: %d, %v", len(ops), err)
					return
				}
				if _, err := p.Approve(t.Context(), &ops[0], rig.PIN, ""); err != nil {
					t.Errorf("approve: %v", err)
					return
				}
				if a := r.Poll(r.Backend, ack.Text("auth_req_id")); a.Status != http.StatusOK {
					t.Errorf("redeem: %s", a)
				}
				done.add(ops[0].Txn)
			}
		})
	}
	more := func() {
		t.Helper()
		for enough, give := len(done.all())+10, time.Now().Add(30*time.Second); len(done.all()) < enough; time.Sleep(time.Millisecond) {
			if time.Now().After(give) || t.Failed() {
				t.Fatal("no load")
			}
		}
	}
	more()
	before := done.all()
	backup := t.TempDir()
	shell(t, documented(t, "backup of PostgreSQL"), map[string]string{"postgres://mobileid@db.internal/mobileid?sslmode=verify-full": at(from), "/backup/": backup + "/"})
	if info, err := os.Stat(filepath.Join(backup, "mobileid.dump")); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the dump: %v, %v", info, err)
	}
	more() // the load went on beside it
	close(stop)
	load.Wait()
	r.Stop()

	dir := t.TempDir()
	key, err := os.ReadFile(filepath.Join(r.Dir, "master.key"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "master.key"), key, 0o600)
	}
	conf := filepath.Join(dir, "mobileid.yaml")
	text := fmt.Sprintf("issuer: %s\ndata_dir: %s\ndb:\n  url: %s\n", r.Issuer, dir, at(to))
	if err = errors.Join(err, os.WriteFile(conf, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	out := shell(t, documented(t, "restore of PostgreSQL"), map[string]string{
		"postgres://mobileid@db.internal/mobileid?sslmode=verify-full": at(to), "postgres://postgres@db.internal/postgres?sslmode=verify-full": to.URL(),
		"/backup/": backup + "/", "/etc/mobileid/mobileid.yaml": conf})
	if !regexp.MustCompile(`(?m)^[1-9]\d* logins ended; every session is over\.$`).MatchString(out) || !strings.Contains(out, "database: ok") ||
		!strings.Contains(out, "master key: ok") || !regexp.MustCompile(`(?m)^ok: \d+ records in the chain`).MatchString(out) {
		t.Errorf("the commands said\n%s", out)
	}
	cfg, err := config.Load(config.Sources{File: conf})
	if err != nil {
		t.Fatal(err)
	}
	checkRestored(t, cfg, before)
}
