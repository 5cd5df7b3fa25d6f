package chaos

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/db"
	"mobileid/internal/operation"
	"mobileid/sdk/wire"
)

// reconcile holds every history against the database: I1, I3, I4 and I8. That an
// operation has one decision (I2) is the row's primary key.
func reconcile(t *testing.T, d *db.DB, all []history, people []*someone) map[string]int {
	t.Helper()
	got := map[string]int{}
	issued := map[string]int{}
	err := d.View(t.Context(), func(tx *db.Tx) error {
		for _, h := range all {
			got[h.acked]++
			switch h.acked {
			case string(operation.Completed), string(operation.Declined):
				acknowledged(t, tx, h)
			case "":
				t.Errorf("a login was never answered: %+v", h)
			}
			if len(h.tokens) == 0 {
				got["no token: "+h.last]++
			}
			for _, g := range h.tokens {
				got["token"]++
				issued[g.Txn]++
				founded(t, tx, h, g)
			}
		}
		for _, s := range people {
			dev, user, err := owner(tx, s)
			if err != nil {
				return err
			}
			sameDay := s.day == time.Now().Unix()/86400
			if sameDay && user.FailCount != s.wrong || dev.Failures != s.row {
				t.Errorf("%d wrong PINs were told, %d in a row; counted are %d and %d", s.wrong, s.row, user.FailCount, dev.Failures)
			}
			got["wrong PIN"] += int(s.wrong)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for txn, n := range issued {
		if n > 1 {
			t.Errorf("%s gave %d token sets", txn, n)
		}
	}
	return got
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
func acknowledged(t *testing.T, tx *db.Tx, h history) {
	t.Helper()
	dec, err := tx.Decision(h.txn)
	if err != nil || dec.State != h.acked {
		t.Errorf("the phone was told %s of %s, the database says %q (%v)", h.acked, h.txn, dec.State, err)
		return
	}
	dev, err := tx.Device(dec.DeviceID)
	var jwk wire.JWK
	if err == nil {
		err = json.Unmarshal([]byte(dev.DSK), &jwk)
	}
	if err != nil {
		t.Error(err)
		return
	}
	key, err := jwk.ECDSA()
	if err != nil {
		t.Error(err)
		return
	}
	said, err := wire.VerifyAnswer(dec.Answer, jwk.KeyID(), key)
	shown := sha256.Sum256(dec.View)
	want := map[string]string{wire.Approve: string(operation.Completed), wire.Decline: string(operation.Declined)}[said.Dec]
	if err != nil || want != dec.State || said.Txn != h.txn || said.Aud != dec.ClientID || said.HV != wire.Encode(shown[:]) {
		t.Errorf("the evidence of %s does not prove it: %+v, %v", h.txn, said, err)
	}
}

// founded checks a token set: there is an approval before it, by a phone of the
// user, for this client (I1).
func founded(t *testing.T, tx *db.Tx, h history, g grant) {
	t.Helper()
	dec, err := tx.Decision(g.Txn)
	if err != nil || dec.State != string(operation.Completed) {
		t.Errorf("tokens for %s, which the database says is %q (%v)", g.Txn, dec.State, err)
		return
	}
	dev, err := tx.Device(dec.DeviceID)
	if err != nil || dev.UserID != dec.UserID || dec.ClientID != h.client || g.Aud != h.client || dec.At.Unix() > g.Iat {
		t.Errorf("tokens of %s at %d for a decision of %s by a phone of %s, for client %s at %v (%v)", h.client, g.Iat, dec.UserID, dev.UserID, dec.ClientID, dec.At, err)
	}
}

// sealed checks the audit: a chain without a gap, and one record for each
// decision (I10). Live nodes are given time to seal.
func sealed(t *testing.T, d *db.DB, dir string, all []history) {
	t.Helper()
	var rep audit.Report
	eventually(t, "the audit is sealed", func() error {
		anchors, err := audit.ReadAnchors(filepath.Join(dir, "audit-anchors.log"))
		if err == nil {
			rep, err = audit.Verify(t.Context(), d, anchors.Anchors)
		}
		if err == nil && (rep.Anchors == 0 || rep.Unsealed > 0) {
			err = fmt.Errorf("%+v", rep)
		}
		return err
	})
	records := map[string]int{}
	err := d.View(t.Context(), func(tx *db.Tx) error {
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
				t.Errorf("no record says that %s was decided", h.txn)
			}
		}
		for op, n := range records {
			if _, err := tx.Decision(op); err != nil || n != 1 {
				t.Errorf("%d records say that %s was decided (%v)", n, op, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// delivered waits until nothing is left to be told (I6).
func delivered(t *testing.T, d *db.DB) {
	t.Helper()
	eventually(t, "the outbox is empty", func() error {
		return d.View(t.Context(), func(tx *db.Tx) error {
			n, overdue, err := tx.OutboxDepth()
			if err == nil && n > 0 {
				err = fmt.Errorf("%d items, overdue by %v", n, overdue)
			}
			return err
		})
	})
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
