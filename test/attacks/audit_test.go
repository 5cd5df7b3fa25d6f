package attacks

import (
	"database/sql"
	"net/http"
	"path/filepath"
	"testing"

	"mobileid/internal/audit"
	"mobileid/internal/db"
	"mobileid/sdk/wire"
	"mobileid/test/rig"

	_ "modernc.org/sqlite"
)

// broken makes every audit record fail until the function it returns is called:
// what a full disk or a broken table does.
func broken(t *testing.T, r *rig.Rig) (mend func()) {
	t.Helper()
	run := func(q string) {
		t.Helper()
		raw, err := sql.Open("sqlite", "file:"+filepath.Join(r.Dir, "mobileid.db")+"?_pragma=busy_timeout(5000)")
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		if _, err := raw.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	run(`CREATE TRIGGER no_audit BEFORE INSERT ON audit_records BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END`)
	return func() { t.Helper(); run(`DROP TRIGGER no_audit`) }
}

func TestL4_NoRecordNoAcknowledgement(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{Log: 12})
	u, p := r.Person()
	ack := r.Ask(r.Backend, u)
	id := ack.Text("auth_req_id")
	op := r.Waiting(p)
	b := r.Browser()

	mend := broken(t, r)
	_, err := p.Approve(t.Context(), op, rig.PIN, "")
	r.Refused(err, wire.Unavailable)
	if _, decided := r.Decision(op.Txn); decided {
		t.Fatal("decided without a record")
	}
	if a := r.Poll(r.Backend, id); a.Text("error") != "authorization_pending" && a.Text("error") != "slow_down" {
		t.Errorf("the client was told %s", a)
	}
	if a := r.REST("POST", "/users", map[string]any{"externalRef": "unrecorded"}); a.Status < 500 {
		t.Errorf("a user without a record: %s", a)
	}
	mend()

	r.Clock.Advance(6e9)
	if _, err := p.Approve(t.Context(), op, rig.PIN, ""); err != nil {
		t.Fatalf("after the disk has room again: %v", err)
	}
	// Decided and recorded. Now the tokens: their grant is an act of its own.
	mend = broken(t, r)
	if a := r.Poll(r.Backend, id); a.Status != http.StatusInternalServerError && a.Status != http.StatusServiceUnavailable || a.Text("access_token") != "" {
		t.Errorf("tokens without a record: %s", a)
	}
	mend()
	r.Clock.Advance(6e9)
	if a := r.Poll(r.Backend, id); a.Status != http.StatusOK {
		t.Errorf("the undone redemption was not undone: %s", a)
	}

	page := b.Open(r.AuthorizeURL("login_hint", u.ExternalRef))
	r.Approve(p, page.Match())
	mend = broken(t, r)
	if done := b.Open(page.URL.String()); done.Left != nil || done.Status < 500 {
		t.Errorf("a session without a record: %s", done.Answer)
	}
	mend()
	r.Redeem(b.Open(page.URL.String()).Left.Query().Get("code"))

	r.Stop()
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(r.Dir, "mobileid.db"), r.Clock)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	anchors, err := audit.ReadAnchors(filepath.Join(r.Dir, "audit-anchors.log"))
	if err != nil {
		t.Fatal(err)
	}
	rep, err := audit.Verify(t.Context(), d, anchors.Anchors)
	if err != nil || rep.Anchors == 0 || rep.Sealed < 8 || rep.Unsealed != 0 {
		t.Errorf("the chain after it all: %+v, %v", rep, err)
	}
}
