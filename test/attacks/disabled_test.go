package attacks

import (
	"testing"

	"mobileid/internal/db"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// What a client asked while it was one of ours is over once it is not: the phone
// still shows it, and its yes comes to nothing.
func TestC26_R3_NothingIsApprovedForAClientThatWasDisabled(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		r.Ask(r.Backend, u)
		op := r.Waiting(p)
		r.SQL(func(tx *db.Tx) error { return tx.DisableClient(r.Backend.ClientID) })
		_, err := p.Approve(t.Context(), op, rig.PIN, "")
		if e := r.Refused(err, wire.OpGone); e.State != "CANCELLED" {
			t.Fatalf("%+v", e)
		}
		if d, decided := r.Decision(op.Txn); !decided || d.State != "CANCELLED" {
			t.Fatalf("decided: %v, %+v", decided, d)
		}
	})
}
