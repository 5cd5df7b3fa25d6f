package story

import (
	"strings"
	"testing"
	"time"

	"mobileid/internal/callback"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/test/rig"
)

// I11: what a merchant is to be told of a device is what became of it.
func TestADevicesStatesAreToldAsTheyChange(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		e, _, err := r.Node.Stores.Callbacks().Create(t.Context(), r.Merchant.ID, "https://shop.example/", []string{callback.DeviceState})
		if err != nil {
			t.Fatal(err)
		}
		u, p := r.Person()
		for range (identity.Policy{}).WithDefaults().FailureLimit {
			r.Ask(r.Backend, u)
			if _, err := p.Approve(t.Context(), r.Waiting(p), rig.WrongPIN, ""); err == nil {
				t.Fatal("a wrong PIN is taken")
			}
		}
		told := map[string]int{}
		r.SQL(func(tx *db.Tx) error {
			all, err := tx.Deliveries(e.ID, time.Time{}, "", 10)
			for _, d := range all {
				for _, move := range []string{`"from":"PENDING",`, `"to":"ACTIVE"`, `"from":"ACTIVE",`, `"to":"BLOCKED"`, u.ID} {
					if strings.Contains(d.Body, move) {
						told[move]++
					}
				}
			}
			return err
		})
		for move, n := range map[string]int{`"from":"PENDING",`: 1, `"to":"ACTIVE"`: 1, `"from":"ACTIVE",`: 1, `"to":"BLOCKED"`: 1, u.ID: 2} {
			if told[move] != n {
				t.Errorf("%s is told %d times, want %d", move, told[move], n)
			}
		}
	})
}
