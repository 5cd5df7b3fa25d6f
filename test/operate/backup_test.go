package operate_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/config"
	"mobileid/internal/audit"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/operation"
	"mobileid/sdk"
	"mobileid/test/program"
	"mobileid/test/rig"
)

// settings are those of a server whose files are in dir.
func settings(dir, issuer string) *config.Config {
	c := &config.Config{Issuer: issuer, DataDir: dir, MasterKeyFile: filepath.Join(dir, "master.key")}
	c.DB.URL = config.StoreURL("sqlite:" + filepath.Join(dir, "mobileid.db"))
	c.KV.URL = config.StoreURL("sqlite:" + filepath.Join(dir, "kv.db"))
	return c
}

// acknowledged collects the operations whose approval a phone was told.
type acknowledged struct {
	mu  sync.Mutex
	ids []string
}

func (a *acknowledged) add(id string) {
	a.mu.Lock()
	a.ids = append(a.ids, id)
	a.mu.Unlock()
}

func (a *acknowledged) all() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.ids...)
}

func TestABackupUnderLoadHoldsAllThatWasAcknowledgedBefore(t *testing.T) {
	r := rig.Start(t, rig.Options{})
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
				if a := r.Ask(r.Backend, u); a.Status != http.StatusOK {
					t.Errorf("bc-authorize: %d %s", a.Status, a.Body)
					return
				}
				ops, err := p.List(t.Context())
				if err != nil || len(ops) != 1 {
					t.Errorf("list: %d, %v", len(ops), err)
					return
				}
				if _, err := p.Approve(t.Context(), &ops[0], rig.PIN, ""); err != nil {
					t.Errorf("approve: %v", err)
					return
				}
				done.add(ops[0].Txn)
			}
		})
	}
	cfg := settings(r.Dir, r.Issuer)
	files := t.TempDir()
	before := map[string][]string{} // by backup
	for i := range 4 {
		for enough, give := len(done.all())+5, time.Now().Add(20*time.Second); len(done.all()) < enough; time.Sleep(time.Millisecond) {
			if time.Now().After(give) || t.Failed() {
				t.Fatal("no load")
			}
		}
		file := filepath.Join(files, fmt.Sprint("backup", i))
		before[file] = done.all()
		if _, err := node.Backup(t.Context(), cfg, file, true); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	load.Wait()
	for file, ids := range before {
		dir := filepath.Join(t.TempDir(), "elsewhere")
		there := settings(dir, r.Issuer)
		if _, err := node.Restore(t.Context(), there, file); err != nil {
			t.Fatal(err)
		}
		checkRestored(t, there, ids)
	}
}

// checkRestored holds the database against itself and against what was
// acknowledged before it was copied.
func checkRestored(t *testing.T, cfg *config.Config, ids []string) {
	t.Helper()
	s, err := node.Open(t.Context(), cfg, clock.System{}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.DB.Close()
	err = s.DB.View(t.Context(), func(tx *db.Tx) error {
		for _, id := range ids {
			if out, err := operation.OutcomeOf(tx, id); err != nil || out.State != operation.Completed {
				return fmt.Errorf("%s was acknowledged before the backup and is %q: %w", id, out.State, err)
			}
		}
		recorded, restored := 0, 0
		err := tx.AuditRecords(func(r db.AuditRecord) error {
			if strings.Contains(r.Body, `"act":"database.restored"`) {
				restored++
			}
			if strings.Contains(r.Body, `"act":"operation.decided"`) {
				recorded++
			}
			return nil
		})
		if err == nil && (recorded < len(ids) || restored != 1) {
			err = fmt.Errorf("%d decisions recorded, want %d or more; %d restores, want 1", recorded, len(ids), restored)
		}
		return err
	})
	if err == nil {
		_, err = audit.Verify(t.Context(), s.DB, nil)
	}
	if err != nil {
		t.Error(err)
	}
}

// backend does what the demo's backend does.
type backend struct {
	t *testing.T
	s *program.Server
	r *rig.Rig
}

func (b backend) post(path string, form url.Values) rig.Answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.s.Issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(b.s.Backend.ID, b.s.Backend.Secret)
	return b.send(req)
}

func (b backend) send(req *http.Request) rig.Answer {
	b.t.Helper()
	a, err := b.r.Send(req)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// phone registers a phone for the demo's user.
func (b backend) phone() *sdk.Phone {
	b.t.Helper()
	token := b.post("/token", url.Values{"grant_type": {"client_credentials"}, "scope": {"mobileid.devices"}}).Text("access_token")
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.s.Issuer+"/api/v1/registrations", strings.NewReader(`{"userId":"`+b.s.UserID+`","proofing":{"reference":"`+rand.Text()+`"}}`))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	link := b.send(req).Text("link")
	file := &sdk.File{Path: filepath.Join(b.t.TempDir(), "phone.json")}
	p := &sdk.Phone{Store: file, Keys: file, HTTP: b.r.HTTP, Now: time.Now, Rand: rand.Reader, Platform: "cli", Model: "Test phone"}
	if _, err := p.Register(b.t.Context(), link); err != nil {
		b.t.Fatal(err)
	}
	if _, err := p.Finish(b.t.Context(), rig.PIN); err != nil {
		b.t.Fatal(err)
	}
	return p
}

// login asks by backchannel, has the phone approve, and returns the tokens.
func (b backend) login(p *sdk.Phone) (rig.Answer, error) {
	b.t.Helper()
	ack := b.post("/bc-authorize", url.Values{"scope": {"openid"}, "login_hint": {b.s.UserRef}})
	ops, err := p.List(b.t.Context())
	if err != nil || len(ops) == 0 {
		return ack, fmt.Errorf("nothing waits: %s: %w", ack.Body, errors.Join(err))
	}
	if _, err := p.Approve(b.t.Context(), &ops[len(ops)-1], rig.PIN, ""); err != nil {
		return ack, err
	}
	return b.post("/token", url.Values{"grant_type": {"urn:openid:params:grant-type:ciba"}, "auth_req_id": {ack.Text("auth_req_id")}}), nil
}

func (b backend) userinfo(token string) int {
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.s.Issuer+"/userinfo", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return b.send(req).Status
}

func TestARestoredServerGoesOnWithWhatWasBackedUpAndEndsEveryLogin(t *testing.T) {
	dir := t.TempDir()
	s := program.Start(t, binary, dir)
	b := backend{t, s, &rig.Rig{T: t, HTTP: &http.Client{Timeout: 30 * time.Second}}}
	defer b.r.HTTP.CloseIdleConnections()
	still, busy := b.phone(), b.phone()
	tokens, err := b.login(still)
	if err != nil || b.userinfo(tokens.Text("access_token")) != http.StatusOK {
		t.Fatalf("login: %v %s", err, tokens.Body)
	}
	key, err := os.ReadFile(filepath.Join(dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}

	file, whole := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "whole")
	run := func(want int, args ...string) string {
		t.Helper()
		out, errs, code := s.Run(nil, append(args, "--data-dir", dir)...)
		if code != want {
			t.Errorf("%v: exit %d, want %d: %s%s", args, code, want, out, errs)
		}
		return out + errs
	}
	run(0, "backup", file)
	run(0, "backup", whole, "--with-master-key")
	run(1, "backup", file) // not over another
	for name, want := range map[string]bool{file: false, whole: true} {
		text, err := os.ReadFile(name)
		info, serr := os.Stat(name)
		if err != nil || serr != nil || bytes.Contains(text, bytes.TrimSpace(key)) != want || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: holds the master key: %v, mode %v, %v", name, !want, info.Mode(), errors.Join(err, serr))
		}
	}
	if _, err := b.login(busy); err != nil { // the backup will not know of this
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}

	if says := run(2, "restore", file); !strings.Contains(says, "nothing is overwritten") {
		t.Errorf("over a database that is there: %s", says)
	}
	for _, f := range []string{"mobileid.db", "master.key"} {
		if err := os.Rename(filepath.Join(dir, f), filepath.Join(t.TempDir(), f)); err != nil {
			t.Fatal(err)
		}
	}
	if says := run(1, "restore", file); !strings.Contains(says, "without the master key") {
		t.Errorf("without the master key: %s", says)
	}
	another := []byte(strings.Repeat("A", 43) + "\n")
	if err := os.WriteFile(filepath.Join(dir, "master.key"), another, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{file, whole} {
		if says := run(1, "restore", f); !strings.Contains(says, "is not the one that sealed this backup") {
			t.Errorf("with another master key: %s", says)
		}
	}
	if err := os.Remove(filepath.Join(dir, "master.key")); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "mobileid.db*")); len(left) > 0 {
		t.Errorf("a refused restore leaves %v", left)
	}
	run(0, "restore", whole)
	if got, err := os.ReadFile(filepath.Join(dir, "master.key")); err != nil || !bytes.Equal(got, key) {
		t.Errorf("the master key is not back: %v", err)
	}
	if db, err := os.ReadFile(filepath.Join(dir, "mobileid.db")); err != nil || bytes.Contains(db, bytes.TrimSpace(key)) {
		t.Errorf("the master key is still in the database: %v", err)
	}

	s.Start()
	if got := b.userinfo(tokens.Text("access_token")); got != http.StatusUnauthorized {
		t.Errorf("an access token of before is answered with %d", got)
	}
	if again, err := b.login(still); err != nil || again.Status != http.StatusOK {
		t.Errorf("the phone that did nothing since the backup: %v %s", err, again.Body)
	}
	if _, err := b.login(busy); !errors.Is(err, sdk.ErrResync) {
		t.Errorf("the phone that answered since the backup: %v, want resync", err)
	}
}

func TestWhatIsNoBackupIsRefused(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	cfg := settings(r.Dir, r.Issuer)
	good := filepath.Join(t.TempDir(), "good")
	if _, err := node.Backup(t.Context(), cfg, good, true); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	torn := bytes.Clone(whole)
	for i := 3 * 4096; i < len(torn); i += 4096 { // every page but the first ones
		copy(torn[i:], make([]byte, 64))
	}
	for name, content := range map[string][]byte{
		"empty": {}, "text": []byte("no database"), "cut off": whole[:len(whole)/2], "damaged": torn,
	} {
		file := filepath.Join(t.TempDir(), "backup")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "there")
		if _, err := node.Restore(t.Context(), settings(dir, r.Issuer), file); err == nil {
			t.Errorf("%s: restored", name)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
			t.Errorf("%s: leaves %v", name, left)
		}
	}
}
