package registration_test

import (
	"strings"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/internal/kv/kvtest"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// typed starts a registration for typing and returns its id, locator and code.
func typed(t *testing.T, r *rig.Rig, u db.User) (id, locator, code string) {
	t.Helper()
	a := r.REST("POST", "/registrations", map[string]any{"userId": u.ID, "activationCode": true, "confirmation": "none"})
	if a.Status != 201 || len(a.Text("locator")) != 6 || len(a.Text("activationCode")) != 6 {
		t.Fatalf("start: %s", a)
	}
	return a.Text("id"), a.Text("locator"), a.Text("activationCode")
}

// claimed is a phone that has come as far as reg.finish by typing.
func claimed(t *testing.T, r *rig.Rig, u db.User) (p *sdk.Phone, id string) {
	t.Helper()
	id, locator, code := typed(t, r, u)
	p = r.Phone()
	reg, err := p.RegisterTyped(t.Context(), r.Issuer, locator, code)
	if err != nil || !reg.Compare {
		t.Fatalf("register: %+v, %v", reg, err)
	}
	if reg, err = p.Finish(t.Context(), rig.PIN); err != nil || reg.State != wire.RegPending {
		t.Fatalf("finish: %+v, %v", reg, err)
	}
	return p, id
}

func status(r *rig.Rig, id string) rig.Answer { return r.REST("GET", "/registrations/"+id, nil) }

func confirm(r *rig.Rig, id, digits string) rig.Answer {
	return r.REST("POST", "/registrations/"+id+"/confirm", map[string]any{"digits": digits})
}

func phoneIs(t *testing.T, p *sdk.Phone, want string) {
	t.Helper()
	if reg, err := p.Status(t.Context()); err != nil || reg.State != want {
		t.Fatalf("the phone is told %+v, %v; want %s", reg, err, want)
	}
}

func TestTypedCodesAlwaysNeedTheirDigitsCompared(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		p, id := claimed(t, r, r.User())
		st := status(r, id)
		if st.Text("state") != "CLAIMED" || st.Text("digits") != r.State(p).Digits {
			t.Fatalf("the merchant sees %s, the phone shows %s", st, r.State(p).Digits)
		}
		phoneIs(t, p, wire.RegPending)
		if d := r.Device(p); d.State != db.DevicePending || d.Enrol != "code" {
			t.Fatalf("before the confirmation the device is %s by %s", d.State, d.Enrol)
		}
		shown := r.State(p).Digits
		if a := confirm(r, id, shown[:4]+" "+shown[4:]); a.Text("state") != "COMPLETED" {
			t.Fatalf("the right digits: %s", a)
		}
		phoneIs(t, p, wire.RegActive)
		if a := confirm(r, id, "00000000"); a.Text("state") != "COMPLETED" {
			t.Fatalf("a confirmation after the end: %s", a)
		}
	})
}

func TestTheThirdWrongConfirmationRefusesThePhone(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	p, id := claimed(t, r, r.User())
	bad := "00000000"
	if r.State(p).Digits == bad {
		bad = "00000001"
	}
	for range 2 {
		if a := confirm(r, id, bad); a.Status != 400 {
			t.Fatalf("wrong digits: %s", a)
		}
	}
	if a := confirm(r, id, bad); a.Text("state") != "DECLINED" {
		t.Fatalf("the third time: %s", a)
	}
	if a := confirm(r, id, r.State(p).Digits); a.Text("state") != "DECLINED" {
		t.Fatalf("the right digits, too late: %s", a)
	}
	phoneIs(t, p, wire.RegRefused)
	if d := r.Device(p); d.State != db.DeviceDeactivated || d.KK != nil {
		t.Fatalf("the device is %s, knowledge key of %d bytes", d.State, len(d.KK))
	}
}

func TestAMerchantThatCancelsRefusesThePhone(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	p, id := claimed(t, r, r.User())
	if a := r.REST("POST", "/registrations/"+id+"/cancel", map[string]any{}); a.Text("state") != "CANCELLED" {
		t.Fatalf("cancel: %s", a)
	}
	phoneIs(t, p, wire.RegRefused)
}

func TestARegistrationThatIsNotConfirmedInTimeExpires(t *testing.T) {
	r := rig.Start(t, rig.Options{Policy: identity.Policy{RegistrationTTL: time.Minute}})
	p, id := claimed(t, r, r.User())
	r.Clock.Advance(time.Minute)
	if a := confirm(r, id, r.State(p).Digits); a.Text("state") != "EXPIRED" {
		t.Fatalf("confirmed too late: %s", a)
	}
	phoneIs(t, p, wire.RegRefused)
	if d := r.Device(p); d.State != db.DeviceDeactivated {
		t.Fatalf("the device is %s", d.State)
	}
}

func TestAPhoneWhoseTicketWasLostIsRefusedInsteadOfLeftWaiting(t *testing.T) {
	store := kvtest.StartRedis(t)
	r := rig.Start(t, rig.Options{KV: store.URL()})
	p, id := claimed(t, r, r.User())
	store.CLI("FLUSHALL")
	phoneIs(t, p, wire.RegRefused)
	if a := status(r, id); a.Text("state") != "EXPIRED" {
		t.Fatalf("the merchant is told %s", a)
	}
}

func TestATicketLostBeforeThePINIsSetRefusesThePhone(t *testing.T) {
	store := kvtest.StartRedis(t)
	r := rig.Start(t, rig.Options{KV: store.URL()})
	p := r.Phone()
	if _, err := p.Register(t.Context(), r.Link(r.User())); err != nil {
		t.Fatal(err)
	}
	store.CLI("FLUSHALL")
	_, err := p.Finish(t.Context(), rig.PIN)
	r.Refused(err, wire.ActivationFailed)
}

func TestAUserLockedMeanwhileGetsNoPhone(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u := r.User()
	p, id := claimed(t, r, u)
	r.SetUser(u, db.UserLocked)
	if a := confirm(r, id, r.State(p).Digits); a.Text("state") != "CANCELLED" {
		t.Fatalf("confirmed: %s", a)
	}
	phoneIs(t, p, wire.RegRefused)
	locked := r.User()
	link := r.Link(locked)
	r.SetUser(locked, db.UserLocked)
	_, err := r.Phone().Register(t.Context(), link)
	r.Refused(err, wire.ActivationFailed)
	if a := r.REST("POST", "/registrations", map[string]any{"userId": locked.ID}); rig.Word(a, nil) != "409 user_locked" {
		t.Fatalf("start for a locked user: %s", a)
	}
}

func TestTheLinkOfATicketWithACodeMayGoWithoutDigits(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u := r.User()
	a := r.REST("POST", "/registrations", map[string]any{"userId": u.ID, "activationCode": true, "confirmation": "none"})
	p := r.Phone()
	if reg, err := p.Register(t.Context(), a.Text("link")); err != nil || reg.Compare {
		t.Fatalf("%+v, %v", reg, err)
	}
	if reg, err := p.Finish(t.Context(), rig.PIN); err != nil || reg.State != wire.RegActive {
		t.Fatalf("%+v, %v", reg, err)
	}
	if st := status(r, a.Text("id")); st.Text("state") != "COMPLETED" || st.Text("digits") != "" {
		t.Fatalf("%s", st)
	}
}

func TestAnotherMerchantsRegistrationIsNotFound(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	id, _, _ := typed(t, r, r.User())
	other, _, err := r.Node.CreateMerchant(t.Context(), "Other", identity.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Node.CreateClient(t.Context(), other.ID, node.ClientOptions{Name: "Other", Grants: []string{"client_credentials"}, Scopes: []string{"mobileid.users", "mobileid.devices"}})
	if err != nil {
		t.Fatal(err)
	}
	mine := r.Backend
	r.Backend = c
	for _, got := range []rig.Answer{status(r, id), confirm(r, id, "00000000"), r.REST("POST", "/registrations/"+id+"/cancel", map[string]any{})} {
		if rig.Word(got, nil) != "404 not_found" {
			t.Errorf("another merchant: %s", got)
		}
	}
	r.Backend = mine
	if st := status(r, id); st.Text("state") != "PENDING" {
		t.Errorf("its own merchant: %s", st)
	}
}

func TestCodesFollowTheAppsAlphabetAndLength(t *testing.T) {
	r := rig.Start(t, rig.Options{Policy: identity.Policy{CodeLength: 13, CodeAlphabet: "XYZ"}})
	seen := map[string]bool{}
	for range 20 {
		a := r.REST("POST", "/registrations", map[string]any{"userId": r.User().ID, "activationCode": true})
		code := a.Text("activationCode")
		if len(code) != 13 || strings.Trim(code, "XYZ") != "" || seen[a.Text("locator")] {
			t.Fatalf("%s", a)
		}
		seen[a.Text("locator")] = true
	}
}

func TestBadStartsAreRefused(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u := r.User()
	for name, c := range map[string]struct {
		body map[string]any
		want string
	}{
		"no user":              {map[string]any{}, "400 invalid_request"},
		"an unknown user":      {map[string]any{"userId": "usr_none"}, "404 not_found"},
		"an unknown App":       {map[string]any{"userId": u.ID, "appId": "app_none"}, "400 invalid_request"},
		"another confirmation": {map[string]any{"userId": u.ID, "confirmation": "maybe"}, "400 invalid_request"},
		"an unknown member":    {map[string]any{"userId": u.ID, "pin": "1"}, "400 invalid_request"},
	} {
		if a := r.REST("POST", "/registrations", c.body); rig.Word(a, nil) != c.want {
			t.Errorf("%s: %s, want %s", name, a, c.want)
		}
	}
	for _, path := range []string{"/registrations/op_none", "/registrations/op_none?wait=1s"} {
		if a := r.REST("GET", path, nil); a.Status != 404 {
			t.Errorf("%s: %s", path, a)
		}
	}
}
