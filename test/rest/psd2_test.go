package rest

import (
	"net/http"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// psd2 are settings that keep every article.
func psd2() map[string]any {
	return map[string]any{"psd2": true}
}

// strict is a server whose App is held to the RTS.
func strict(t *testing.T) *rig.Rig {
	r := rig.Start(t, rig.Options{Policy: identity.Policy{PSD2: true}})
	r.Clock.Advance(time.Second) // Apps that come later are not the merchant's first
	return r
}

// refusedWith saves the settings that keep every article but for one change.
func refusedWith(t *testing.T, r *rig.Rig, member string, value any) {
	t.Helper()
	settings := psd2()
	if a := r.REST("POST", "/apps", map[string]any{"name": "Kept", "settings": settings}); a.Status != http.StatusCreated {
		t.Fatalf("settings that keep every article: %s", a)
	}
	settings[member] = value
	a := r.REST("POST", "/apps", map[string]any{"name": "Broken", "settings": settings})
	if a.Status != http.StatusBadRequest || !names(a, "/settings/"+member) {
		t.Errorf("%s %v is saved with psd2: %s", member, value, a)
	}
	delete(settings, "psd2")
	loose := r.REST("POST", "/apps", map[string]any{"name": "Loose", "settings": settings})
	if loose.Status != http.StatusCreated {
		return // not allowed without psd2 either
	}
	if a := r.REST("PATCH", "/apps/"+loose.Text("id"), map[string]any{"settings": map[string]any{"psd2": true}}, "If-Match", loose.Header.Get("Etag")); a.Status != http.StatusBadRequest || !names(a, "/settings/"+member) {
		t.Errorf("psd2 is switched on beside %s %v: %s", member, value, a)
	}
}

func TestRTS4_3_b_AtMostFiveFailuresThenABlockWithAWarningBefore(t *testing.T) {
	r := strict(t)
	refusedWith(t, r, "failureLimit", 6)
	refusedWith(t, r, "blockFor", 60)
	u, p := r.Person()
	r.Ask(r.Backend, u)
	op := r.Waiting(p)
	if op.Left != 3 {
		t.Errorf("%d tries are left, want 3 by default", op.Left)
	}
	for left := 2; left >= 0; left-- {
		_, err := p.Approve(t.Context(), op, rig.WrongPIN, "")
		if e := r.Refused(err, wire.AuthFailed); e.Left == nil || *e.Left != left {
			t.Errorf("told %v tries, want %d", e.Left, left)
		}
	}
	if d := r.Device(p); d.State != db.DeviceBlocked || d.BlockedUntil.Before(r.Clock.Now().Add(5*time.Minute)) {
		t.Errorf("the device is %s until %s", d.State, d.BlockedUntil)
	}
}

func TestRTS4_3_d_ASessionMayBeIdleForFiveMinutes(t *testing.T) {
	r := strict(t)
	refusedWith(t, r, "sessionIdle", 301)
	u, p := r.Person()
	b := r.Browser()
	r.Login(b, u, p)
	again := func() bool { return b.Open(r.AuthorizeURL("prompt", "none")).Left.Query().Get("code") != "" }
	r.Clock.Advance(299 * time.Second)
	if !again() {
		t.Error("after 299 s the user has to log in")
	}
	r.Clock.Advance(2 * time.Second)
	if again() {
		t.Error("after 301 s without use the session is good")
	}
}

func TestRTS6_1_APINHasSixDigitsAtLeast(t *testing.T) { refusedWith(t, strict(t), "pinMin", 4) }

// RTS 24(2)(b), 25(2)(c).
func TestD13_RTS25_2_c_NoSingleChannelBringsAllThatActivatesADevice(t *testing.T) {
	r := strict(t)
	refusedWith(t, r, "confirmation", "none")
	u := r.User()
	for _, typed := range []bool{false, true} {
		a := r.REST("POST", "/registrations", map[string]any{"userId": u.ID, "confirmation": "none", "activationCode": typed})
		if a.Status != http.StatusBadRequest || !names(a, "/confirmation") {
			t.Errorf("a link alone, typed %v: %s", typed, a)
		}
	}
	p := r.Phone()
	reg := r.REST("POST", "/registrations", map[string]any{"userId": u.ID})
	if reg.Text("confirmation") != "digits" {
		t.Errorf("by default: %s", reg)
	}
	if _, err := p.Register(t.Context(), reg.Text("link")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Finish(t.Context(), rig.PIN); err != nil {
		t.Fatal(err)
	}
	if d := r.Device(p); d.State != db.DevicePending {
		t.Errorf("by its link alone the device is %s", d.State)
	}
}

func TestRTS24_2_b_AFurtherDeviceNeedsStrongCustomerAuthentication(t *testing.T) {
	r := strict(t)
	u, _ := r.Person()
	if a := r.REST("POST", "/registrations", map[string]any{"userId": u.ID}); rig.Word(a, nil) != "403 forbidden" {
		t.Errorf("%s", a)
	}
}

func TestRTS27_RevocationWipesTheKeysAndEndsWhatWasIssued(t *testing.T) {
	r := strict(t)
	u, p := r.Person()
	got := tokens(t, r, u, func() { r.Approve(p, "") })
	move(t, r, "/users/"+u.ID+"/deactivate")
	if d := r.Device(p); d.State != db.DeviceDeactivated || d.KK != nil {
		t.Errorf("the device is %s, knowledge key of %d bytes", d.State, len(d.KK))
	}
	if active(r, got.Text("access_token")) || active(r, got.Text("refresh_token")) {
		t.Error("its tokens are active")
	}
}

func TestEveryArticleThatSettingsBreakIsNamedAtOnce(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	a := r.REST("POST", "/apps", map[string]any{"name": "All", "settings": map[string]any{"psd2": true, "pinMin": 4, "blockFor": 60, "sessionIdle": 600, "confirmation": "none"}})
	for _, member := range []string{"sessionIdle", "confirmation", "pinMin", "blockFor"} {
		if a.Status != http.StatusBadRequest || !names(a, "/settings/"+member) {
			t.Errorf("%s is not named: %s", member, a)
		}
	}
}

// RTS 4(3)(b) speaks of the payer, not of one phone: with lockScope USER all are blocked.
func TestTheFailureLimitOfAnAppMayBlockEveryDeviceOfTheUser(t *testing.T) {
	for scope, want := range map[string]string{identity.LockDevice: db.DeviceActive, identity.LockUser: db.DeviceBlocked} {
		r := rig.Start(t, rig.Options{Policy: identity.Policy{LockScope: scope}})
		u, p := r.Person()
		other := r.Registered(u)
		r.Ask(r.Backend, u)
		op := r.Waiting(p)
		for range 3 {
			if _, err := p.Approve(t.Context(), op, rig.WrongPIN, ""); err == nil {
				t.Fatal("a wrong PIN was taken")
			}
		}
		if d := r.Device(other); d.State != want {
			t.Errorf("lockScope %s: the other device is %s, want %s", scope, d.State, want)
		}
		if out, decided := r.Decision(op.Txn); decided != (scope == identity.LockUser) {
			t.Errorf("lockScope %s: decided %v, %+v", scope, decided, out)
		}
	}
}

func TestD16_AnAppThatRequiresAttestationTakesNoPhoneWithoutIt(t *testing.T) {
	r := rig.Start(t, rig.Options{Policy: identity.Policy{Attestation: identity.AttestationRequired}})
	_, err := r.Phone().Register(t.Context(), r.Link(r.User()))
	r.Refused(err, wire.AttestationFailed)
}

// A token that stands for a user is not the backend, whatever its scope.
func TestATokenOfAUserIsNoBackend(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	c := r.Client(node.ClientOptions{Name: "Both", Binding: "trusted", RevealUnknownUser: true, Grants: []string{"client_credentials", "urn:openid:params:grant-type:ciba"},
		Scopes: []string{"openid", "mobileid.users"}})
	ask := r.Ask(c, u, "scope", "openid mobileid.users")
	r.Approve(p, "")
	got := r.Poll(c, ask.Text("auth_req_id"))
	a, err := r.TryREST(got.Text("access_token"), "GET", "/users", nil)
	if err != nil || a.Status != http.StatusForbidden {
		t.Errorf("%s %v", a, err)
	}
}
