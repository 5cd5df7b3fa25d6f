package story

import (
	"strings"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/test/rig"
)

// D25: whoever holds the phone may change its factors, with the PIN; the merchant hears
// of each change, and so can tell the person by another way.
func TestD25_TheMerchantHearsOfEachFactorThatChanges(t *testing.T) {
	rig.EachWith(t, vouched().Policy, func(t *testing.T, r *rig.Rig) {
		ctx := t.Context()
		_, p, _ := native(t, r)
		if p.AddBiometry(ctx, rig.WrongPIN, asking) == nil {
			t.Fatal("added with a wrong PIN")
		}
		for _, step := range []struct {
			name string
			do   func() error
		}{
			{"add", func() error { return p.AddBiometry(ctx, rig.PIN, asking) }},
			{"add again", func() error { return p.AddBiometry(ctx, rig.PIN, asking) }},
			{"remove", func() error { return p.RemoveBiometry(ctx) }},
			{"change the PIN", func() error { return p.ChangePIN(ctx, rig.PIN, newPIN) }},
			{"rotate", func() error { return p.Rotate(ctx, newPIN) }},
		} {
			r.Clock.Advance(time.Second)
			if err := step.do(); err != nil {
				t.Fatal(step.name, err)
			}
		}
		r.Clock.Advance(time.Second)
		for range 3 {
			if p.ChangePIN(ctx, rig.WrongPIN, newPIN) == nil {
				t.Fatal("changed with a wrong PIN")
			}
		}
		r.Clock.Advance(db.EventsSettle)
		a := r.REST("GET", "/events", nil)
		var got []string
		items, _ := a.JSON["items"].([]any)
		for _, it := range items {
			e := it.(map[string]any)
			d := e["data"].(map[string]any)
			switch e["type"] {
			case "device.factor.change":
				got = append(got, d["factor"].(string)+" "+d["change"].(string))
			case "device.state.change":
				got = append(got, d["from"].(string)+" "+d["to"].(string))
			}
			if e["deviceId"] != r.State(p).Device {
				t.Errorf("of whom: %v", e)
			}
		}
		want := "PENDING ACTIVE, INHERENCE ADDED, INHERENCE REPLACED, INHERENCE REMOVED, KNOWLEDGE REPLACED, POSSESSION REPLACED, ACTIVE BLOCKED"
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("told %s\nwant %s", s, want)
		}
	})
}
