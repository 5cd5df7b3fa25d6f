package story

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/sdk"
	"mobileid/test/rig"
)

func TestAPhoneIsToldWhatWasDecidedAndByWhom(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		other := r.Registered(u)
		_, stranger := r.Person()
		for _, phone := range []*sdk.Phone{p, other} {
			r.Clock.Advance(time.Second) // the list is ordered by time
			r.Ask(r.Backend, u)
			r.Approve(phone, "")
		}
		r.Clock.Advance(time.Second)
		r.Ask(r.Backend, u)
		if _, err := p.Decline(t.Context(), waiting(t, p), false); err != nil {
			t.Fatal(err)
		}
		past, err := p.History(t.Context())
		if err != nil || len(past) < 3 {
			t.Fatalf("%+v, %v", past, err)
		}
		for i, want := range []struct{ state, by string }{{"DECLINED", "this"}, {"COMPLETED", "other"}, {"COMPLETED", "this"}} {
			if got := past[i]; got.State != want.state || got.By != want.by || got.Client != "Acme Backend" || got.Kind != "authentication" || got.At == 0 {
				t.Errorf("%d: %+v", i, got)
			}
		}
		if theirs, err := stranger.History(t.Context()); err != nil || len(theirs) != 1 || theirs[0].Kind != "registration" {
			t.Errorf("another user is told %+v, %v", theirs, err)
		}
	})
}

func TestAPhoneThatIsRemovedIsGoneForGoodAndItsLoginsEnd(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		before := r.State(p)
		ack := r.Ask(r.Backend, u)
		r.Approve(p, "")
		tokens := r.Poll(r.Backend, ack.Text("auth_req_id"))
		waits := r.Ask(r.Backend, u)
		if err := p.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st := r.State(p); st.Status != sdk.StatusNone || st.Device != "" {
			t.Errorf("kept: %+v", st)
		}
		if _, err := p.Keys.Signer(before.KeyRef); err == nil {
			t.Error("the key is kept")
		}
		var d db.Device
		r.SQL(func(tx *db.Tx) (err error) {
			d, err = tx.Device(before.Device)
			return err
		})
		if d.State != db.DeviceDeactivated || d.KK != nil {
			t.Errorf("%+v", d)
		}
		if a := r.Post("/token", r.Backend, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.Text("refresh_token")}}); a.Text("error") != "invalid_grant" {
			t.Errorf("a refresh: %s", a)
		}
		if a := r.Poll(r.Backend, waits.Text("auth_req_id")); a.Text("error") != "access_denied" {
			t.Errorf("what waited for it: %s", a)
		}
		if _, err := p.List(t.Context()); !errors.Is(err, sdk.ErrNotRegistered) {
			t.Errorf("%v", err)
		}
	})
}
