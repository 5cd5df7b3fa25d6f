package chaos

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/operation"
	"mobileid/sdk/wire"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"
)

// judge holds what clients, phones and the merchant's server saw against the
// database, and writes down what cannot be.
type judge struct {
	*db.DB
	raw   *sql.DB // the same, for what the program never asks
	found []string
}

// openJudge opens the database at dsn; the test's end closes it.
func openJudge(t *testing.T, dsn string) *judge {
	t.Helper()
	d, err := db.Open(t.Context(), dsn, clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	driver, source := "pgx", dsn
	if path, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		driver, source = "sqlite", "file:"+path+"?_pragma=busy_timeout(5000)"
	}
	raw, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	return &judge{DB: d, raw: raw}
}

func (j *judge) finds(format string, args ...any) {
	j.found = append(j.found, fmt.Sprintf(format, args...))
}

// report fails the test with what was found.
func (j *judge) report(t *testing.T) {
	t.Helper()
	for _, f := range j.found {
		t.Error(f)
	}
}

// lines finds what is wrong by each row of text that the query gives.
func (j *judge) lines(ctx context.Context, wrong, query string) {
	rows, err := j.raw.QueryContext(ctx, query)
	if err != nil {
		j.finds("%s: %v", wrong, err)
		return
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var n int64
		if err := rows.Scan(&id, &n); err != nil {
			j.finds("%s: %v", wrong, err)
		}
		j.finds(wrong, id, n)
	}
	if err := rows.Err(); err != nil {
		j.finds("%s: %v", wrong, err)
	}
}

// all is the whole judgement; got are the messages to the merchant's server.
func (j *judge) all(ctx context.Context, dir string, all []history, people []*someone, owed map[string]bool, got map[string][]string) map[string]int {
	j.audited(ctx, dir, all)
	j.heard(ctx, owed, got)
	return j.histories(ctx, all, people)
}

// histories holds every login against the database, I1, I3, I4 and I8, and counts
// how they ended. That an operation has one decision (I2) is the row's primary key.
func (j *judge) histories(ctx context.Context, all []history, people []*someone) map[string]int {
	got, issued := map[string]int{}, map[string]int{}
	err := j.View(ctx, func(tx *db.Tx) error {
		for _, h := range all {
			got[h.acked]++
			switch h.acked {
			case string(operation.Completed), string(operation.Declined):
				j.acknowledged(tx, h)
			case "":
				j.finds("a login was never answered: %+v", h)
			}
			if len(h.tokens) == 0 {
				got["no token: "+h.last]++
			}
			for _, g := range h.tokens {
				got["token"]++
				issued[g.Txn]++
				j.founded(tx, h, g)
			}
			if len(h.successors) > 0 {
				got["refreshed"]++
			}
			if len(h.successors) > 1 {
				j.finds("one refresh token had %d successors: %+v", len(h.successors), h)
			}
			if h.calm {
				got["calm"]++
				if h.declined && h.acked != string(operation.Declined) || !h.declined && len(h.tokens) == 0 {
					j.finds("nothing was broken from its start on, and yet a login came to nothing: %+v", h)
				}
			}
		}
		for _, s := range people {
			dev, user, err := owner(tx, s)
			if err != nil {
				return err
			}
			sameDay := s.day == time.Now().Unix()/86400
			if sameDay && user.FailCount != s.wrong || dev.Failures != s.row {
				j.finds("%d wrong PINs were told, %d in a row; counted are %d and %d", s.wrong, s.row, user.FailCount, dev.Failures)
			}
			got["wrong PIN"] += int(s.wrong)
		}
		return nil
	})
	if err != nil {
		j.finds("%v", err)
	}
	for txn, n := range issued {
		if n > 1 {
			j.finds("%s gave %d token sets", txn, n)
		}
	}
	j.once(ctx)
	return got
}

// once counts, in the tables, what may be there once (I4). A login of the load is
// never a silent one: each operation is for one grant at most.
func (j *judge) once(ctx context.Context) {
	j.lines(ctx, "%s has %d grants", `SELECT operation_id, COUNT(*) FROM grants GROUP BY operation_id HAVING COUNT(*) > 1`)
	j.lines(ctx, "grant %s came of %d redemptions", `SELECT g.id, COUNT(r.hash) FROM grants g LEFT JOIN redeemed r ON r.grant_id = g.id AND r.kind IN ('code', 'auth_req_id')
		GROUP BY g.id HAVING COUNT(r.hash) <> 1`)
	j.lines(ctx, "%s has %d grants and is not approved", `SELECT g.operation_id, COUNT(*) FROM grants g LEFT JOIN decisions d ON d.operation_id = g.operation_id
		WHERE d.state IS NULL OR d.state <> 'COMPLETED' GROUP BY g.operation_id`)
	j.lines(ctx, "refresh family %s is at generation %d, and nobody refreshes twice", `SELECT id, generation FROM refresh_families WHERE generation > 2`)
}

func owner(tx *db.Tx, s *someone) (dev db.Device, user db.User, err error) {
	st, err := s.phone.Store.Load()
	if err == nil {
		dev, err = tx.Device(st.Device)
	}
	if err == nil {
		user, err = tx.User(dev.UserID)
	}
	return dev, user, err
}

// acknowledged checks a decision that a phone was told: it is there, and what the
// phone signed proves it to anybody who has the phone's public key (I3).
func (j *judge) acknowledged(tx *db.Tx, h history) {
	dec, err := tx.Decision(h.txn)
	if err != nil || dec.State != h.acked {
		j.finds("the phone was told %s of %s, the database says %q (%v)", h.acked, h.txn, dec.State, err)
		return
	}
	dev, err := tx.Device(dec.DeviceID)
	var jwk wire.JWK
	if err == nil {
		err = json.Unmarshal([]byte(dev.DSK), &jwk)
	}
	if err != nil {
		j.finds("%s: %v", h.txn, err)
		return
	}
	key, err := jwk.ECDSA()
	if err != nil {
		j.finds("%s: %v", h.txn, err)
		return
	}
	said, err := wire.VerifyAnswer(dec.Answer, jwk.KeyID(), key)
	shown := sha256.Sum256(dec.View)
	want := map[string]string{wire.Approve: string(operation.Completed), wire.Decline: string(operation.Declined)}[said.Dec]
	if err != nil || want != dec.State || said.Txn != h.txn || said.Aud != dec.ClientID || said.HV != wire.Encode(shown[:]) {
		j.finds("the evidence of %s does not prove it: %+v, %v", h.txn, said, err)
	}
}

// founded checks a token set: there is an approval before it, by a phone of the
// user, for this client (I1).
func (j *judge) founded(tx *db.Tx, h history, g grant) {
	dec, err := tx.Decision(g.Txn)
	if err != nil || dec.State != string(operation.Completed) {
		j.finds("tokens for %s, which the database says is %q (%v)", g.Txn, dec.State, err)
		return
	}
	dev, err := tx.Device(dec.DeviceID)
	if err != nil || dev.UserID != dec.UserID || dec.ClientID != h.client || g.Aud != h.client || dec.At.Unix() > g.Iat {
		j.finds("tokens of %s at %d for a decision of %s by a phone of %s, for client %s at %v (%v)", h.client, g.Iat, dec.UserID, dev.UserID, dec.ClientID, dec.At, err)
	}
}

// chain is an error unless the whole audit is sealed, in order and anchored.
func (j *judge) chain(ctx context.Context, dir string) error {
	anchors, err := audit.ReadAnchors(filepath.Join(dir, "audit-anchors.log"))
	if err != nil {
		return err
	}
	rep, err := audit.Verify(ctx, j.DB, anchors.Anchors)
	if err == nil && (rep.Anchors == 0 || rep.Unsealed > 0) {
		err = fmt.Errorf("not sealed: %+v", rep)
	}
	return err
}

// audited checks the audit: a chain without a gap, and one record for each
// decision (I10).
func (j *judge) audited(ctx context.Context, dir string, all []history) {
	if err := j.chain(ctx, dir); err != nil {
		j.finds("the audit: %v", err)
	}
	records := map[string]int{}
	err := j.View(ctx, func(tx *db.Tx) error {
		err := tx.AuditRecords(func(r db.AuditRecord) error {
			var a audit.Record
			err := json.Unmarshal([]byte(r.Body), &a)
			if a.Act == "operation.decided" {
				records[a.Operation]++
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, h := range all {
			if h.acked != "gone" && records[h.txn] == 0 {
				j.finds("no record says that %s was decided", h.txn)
			}
		}
		for op, n := range records {
			if _, err := tx.Decision(op); err != nil || n != 1 {
				j.finds("%d records say that %s was decided (%v)", n, op, err)
			}
		}
		return nil
	})
	if err != nil {
		j.finds("%v", err)
	}
}

// eventually gives it the time of a lease, 30 s, and of tries that failed.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Errorf("not in 90 s: %s: %v", what, err)
}
