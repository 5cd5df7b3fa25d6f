package story

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

const newPIN = "161803"

// approves reports how an approval with the PIN ends, and cleans up after it.
func approves(t *testing.T, r *rig.Rig, u db.User, p *sdk.Phone, pin string) string {
	t.Helper()
	r.Ask(r.Backend, u)
	return rig.Answered(p.Approve(t.Context(), waiting(t, p), pin, ""))
}

func TestAPINIsChangedByProofOfTheOldOne(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		before := r.State(p)
		var e *wire.Error
		if err := p.ChangePIN(t.Context(), rig.WrongPIN, newPIN); !errors.As(err, &e) || e.Code != wire.AuthFailed || *e.Left != 2 {
			t.Fatalf("a wrong PIN: %v", err)
		}
		if st := r.State(p); st.Next != nil || string(st.Wrapped) != string(before.Wrapped) {
			t.Fatal("the phone took the new PIN over all the same")
		}
		if err := p.ChangePIN(t.Context(), rig.PIN, "12"); err == nil {
			t.Fatal("a PIN that the policy refuses")
		}
		if err := p.ChangePIN(t.Context(), rig.PIN, newPIN); err != nil {
			t.Fatal(err)
		}
		after := r.State(p)
		if after.Next != nil || string(after.Salt) == string(before.Salt) || string(after.Wrapped) == string(before.Wrapped) || r.Device(p).Failures != 0 {
			t.Errorf("kept: %+v; %d failures", after, r.Device(p).Failures)
		}
		if got := approves(t, r, u, p, rig.PIN); got != wire.AuthFailed {
			t.Errorf("the old PIN: %s", got)
		}
		if got := approves(t, r, u, p, newPIN); got != "COMPLETED" {
			t.Errorf("the new PIN: %s", got)
		}
	})
}

func TestGuessesAtAPINChangeCountLikeAnyOther(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	if got := approves(t, r, u, p, rig.WrongPIN); got != wire.AuthFailed {
		t.Fatal(got)
	}
	for _, left := range []int{1, 0} {
		var e *wire.Error
		if err := p.ChangePIN(t.Context(), rig.WrongPIN, newPIN); !errors.As(err, &e) || e.Code != wire.AuthFailed || *e.Left != left {
			t.Fatalf("with %d left: %v", left, err)
		}
	}
	if err := p.ChangePIN(t.Context(), rig.PIN, newPIN); rig.Sealed(err) != wire.DeviceBlocked {
		t.Errorf("the right PIN of a blocked phone: %v", err)
	}
	if d := r.Device(p); d.State != db.DeviceBlocked {
		t.Errorf("the phone is %s", d.State)
	}
}

func TestAPhonesKeysAreReplacedByOldAndNewTogether(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		copied := r.Copy(p)
		before, dev := r.State(p), r.Device(p)
		if err := p.Rotate(t.Context(), rig.WrongPIN); rig.Sealed(err) != wire.AuthFailed {
			t.Fatalf("a wrong PIN: %v", err)
		}
		if now := r.State(p); now.KeyRef != before.KeyRef || now.Next != nil || r.Device(p).DSKThumb != dev.DSKThumb {
			t.Fatal("a wrong PIN replaced the keys")
		}
		if err := p.Rotate(t.Context(), rig.PIN); err != nil {
			t.Fatal(err)
		}
		now := r.Device(p)
		if st := r.State(p); st.KeyRef == before.KeyRef || st.Next != nil || now.DSKThumb == dev.DSKThumb || string(now.KK) == string(dev.KK) {
			t.Errorf("the keys are the old ones: %+v", now)
		}
		if _, err := p.Keys.Signer(before.KeyRef); err == nil {
			t.Error("the old key is kept")
		}
		if got := approves(t, r, u, p, rig.PIN); got != "COMPLETED" {
			t.Errorf("with the new keys: %s", got)
		}
		if _, err := copied.List(t.Context()); rig.Sealed(err) != wire.UnknownKey {
			t.Errorf("a copy with the old keys: %v", err)
		}
	})
}

// losing drops the replies to a phone's calls while on is set.
type losing struct {
	under http.RoundTripper
	on    bool
}

func (l *losing) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := l.under.RoundTrip(req)
	if err == nil && l.on && strings.HasSuffix(req.URL.Path, "/rpc") {
		res.Body.Close()
		return nil, errors.New("the line is cut")
	}
	return res, err
}

func TestAPhoneThatLostTheReplyToAPINChangeFindsOutWhichHolds(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	line := &losing{under: http.DefaultTransport}
	p.HTTP = &http.Client{Transport: line}
	line.on = true
	if err := p.ChangePIN(t.Context(), rig.PIN, newPIN); err == nil {
		t.Fatal("no error without a reply")
	}
	if st := r.State(p); st.Next == nil || st.Sent == nil {
		t.Fatalf("both wraps are kept until the server has told: %+v", st)
	}
	line.on = false
	if got := approves(t, r, u, p, newPIN); got != "COMPLETED" {
		t.Errorf("the new PIN: %s", got)
	}
	if st := r.State(p); st.Next != nil || st.Sent != nil {
		t.Errorf("still kept: %+v", st)
	}
	t.Run("and of new keys", func(t *testing.T) {
		line.on = true
		if err := p.Rotate(t.Context(), newPIN); err == nil {
			t.Fatal("no error without a reply")
		}
		line.on = false
		r.Clock.Advance(time.Hour) // the server's key of then is gone
		if err := p.Rotate(t.Context(), newPIN); err != nil {
			t.Fatalf("what had been done: %v", err)
		}
		if got := approves(t, r, u, p, newPIN); got != "COMPLETED" {
			t.Errorf("with the new keys: %s", got)
		}
	})
}
