package rest

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/kv/kvtest"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// tokens logs the user in by backchannel.
func tokens(t *testing.T, r *rig.Rig, u db.User, approve func()) rig.Answer {
	t.Helper()
	ask := r.Ask(r.Backend, u)
	approve()
	a := r.Poll(r.Backend, ask.Text("auth_req_id"))
	if a.Status != http.StatusOK {
		t.Fatalf("tokens: %s", a)
	}
	return a
}

func active(r *rig.Rig, token string) bool {
	a := r.Post("/introspect", r.Backend, url.Values{"token": {token}})
	return a.JSON["active"] == true
}

func move(t *testing.T, r *rig.Rig, path string) {
	t.Helper()
	if a := r.REST("POST", path, nil); a.Status != http.StatusOK {
		t.Fatalf("%s: %s", path, a)
	}
}

// B9, I7: what was issued to somebody withdrawn is void when the call returns; what
// was pending is cancelled; nothing new begins; unlocking brings none of it back.
func TestB9_LockingOrDeactivatingEndsWhatWasIssuedAndWhatIsPending(t *testing.T) {
	for name, c := range map[string]struct {
		path   func(u db.User, device string) string
		undo   string
		begins string // what a new request is told meanwhile
	}{
		"user locked":        {func(u db.User, _ string) string { return "/users/" + u.ID + "/lock" }, "unlock", "access_denied"},
		"user deactivated":   {func(u db.User, _ string) string { return "/users/" + u.ID + "/deactivate" }, "", "unknown_user_id"},
		"device locked":      {func(_ db.User, d string) string { return "/devices/" + d + "/lock" }, "unlock", "access_denied"},
		"device deactivated": {func(_ db.User, d string) string { return "/devices/" + d + "/deactivate" }, "", "access_denied"},
	} {
		t.Run(name, func(t *testing.T) {
			rig.Each(t, func(t *testing.T, r *rig.Rig) {
				u, p := r.Person()
				device := r.State(p).Device
				got := tokens(t, r, u, func() { r.Approve(p, "") })
				if !active(r, got.Text("access_token")) {
					t.Fatal("not active before")
				}
				r.Clock.Advance(2 * time.Millisecond)
				pending := r.Ask(r.Backend, u).Text("auth_req_id")
				op := r.Waiting(p)
				path := c.path(u, device)
				move(t, r, path)
				move(t, r, path) // again changes nothing
				check := func(when string) {
					t.Helper()
					if active(r, got.Text("access_token")) || active(r, got.Text("refresh_token")) {
						t.Errorf("%s: introspected as active", when)
					}
					if a := r.Post("/token", r.Backend, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {got.Text("refresh_token")}}); a.Text("error") != "invalid_grant" {
						t.Errorf("%s: refresh: %s", when, a)
					}
					if a := r.Get("/userinfo", "Authorization", "Bearer "+got.Text("access_token")); a.Status != http.StatusUnauthorized {
						t.Errorf("%s: userinfo: %s", when, a)
					}
				}
				check("after")
				if out, decided := r.Decision(op.Txn); !decided || out.State != "CANCELLED" {
					t.Errorf("what was pending is %+v", out)
				}
				if a := r.Poll(r.Backend, pending); a.Text("error") != "access_denied" {
					t.Errorf("its poll: %s", a)
				}
				if _, err := p.Approve(t.Context(), op, rig.PIN, ""); err == nil {
					t.Error("the phone could still approve")
				}
				if a := r.Post("/bc-authorize", r.Backend, url.Values{"scope": {"openid"}, "login_hint": {u.ExternalRef}}); a.Text("error") != c.begins {
					t.Errorf("a new request: %s, want %s", a, c.begins)
				}
				if c.undo == "" {
					return
				}
				r.Clock.Advance(time.Second)
				move(t, r, path[:strings.LastIndex(path, "/")+1]+c.undo)
				check("undone")
				r.Ask(r.Backend, u)
				since := r.Waiting(p)
				swept(t, r)
				if out, decided := r.Decision(since.Txn); decided {
					t.Errorf("what was started since, once more was swept: %+v", out)
				}
				if a := tokens(t, r, u, func() { r.Approve(p, "") }); !active(r, a.Text("access_token")) {
					t.Error("a new login after it is not good")
				}
			})
		})
	}
}

// swept waits until the outbox has cancelled once more what waited for who was
// withdrawn.
func swept(t *testing.T, r *rig.Rig) {
	t.Helper()
	r.Clock.Advance(6 * time.Second)
	var items int64
	for range 200 {
		r.SQL(func(tx *db.Tx) (err error) {
			items, _, err = tx.OutboxDepth()
			return err
		})
		if items == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%d items of the outbox are left", items)
}

// What only one phone can answer, as it has claimed it, ends with that phone, however
// many others the user has.
func TestWhatAPhoneHasClaimedEndsWithIt(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	r.Registered(u)
	a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "initiation": "app"})
	if _, err := p.Claim(t.Context(), a.Text("startToken")); err != nil {
		t.Fatal(err)
	}
	move(t, r, "/devices/"+r.State(p).Device+"/lock")
	if out, _ := r.Decision(a.Text("id")); out.State != "CANCELLED" {
		t.Errorf("it is %+v", out)
	}
}

// I7 is SQL's to hold: that the short-lived store had lost what waited at the lock
// brings it not back after the unlock.
func TestWhatWaitedAtALockIsNotApprovedAfterItThoughKVHadLostIt(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		r.Ask(r.Backend, u)
		op := r.Waiting(p)
		r.Clock.Advance(time.Second)
		r.SetUser(u, db.UserLocked) // alone: nothing is swept
		r.SetUser(u, db.UserActive)
		_, err := p.Approve(t.Context(), op, rig.PIN, "")
		r.Refused(err, wire.OpGone)
		if out, _ := r.Decision(op.Txn); out.State != "CANCELLED" {
			t.Errorf("it is %+v", out)
		}
		r.Ask(r.Backend, u)
		r.Approve(p, "")
	})
}

// What was asked for before a phone was locked is not that phone's any more, whoever
// unlocks it and whatever the short-lived store has lost; another phone may answer it.
func TestWhatWaitedAtAPhonesLockIsNotItsAfterTheUnlock(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		other := r.Registered(u)
		r.Ask(r.Backend, u)
		op := r.Waiting(p)
		r.Clock.Advance(time.Second)
		r.SetDevice(p, db.DeviceLocked) // alone: nothing is swept
		r.SetDevice(p, db.DeviceActive)
		_, err := p.Approve(t.Context(), op, rig.PIN, "")
		r.Refused(err, wire.OpNotHere)
		if ops, err := p.List(t.Context()); err != nil || len(ops) != 0 {
			t.Errorf("it is offered %v, %v", ops, err)
		}
		if out, decided := r.Decision(op.Txn); decided {
			t.Fatalf("it is %+v", out)
		}
		r.Approve(other, "")
		r.Ask(r.Backend, u)
		r.Approve(p, "")
	})
}

// A merchant's cancel ends what a phone could still answer as it was listed, although
// the short-lived store has lost it.
func TestACancelEndsWhatAPhoneHasListedThoughKVHasLostIt(t *testing.T) {
	store := kvtest.StartRedis(t)
	r := rig.Start(t, rig.Options{KV: store.URL()})
	u, p := r.Person()
	a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID})
	op := r.Waiting(p)
	store.CLI("FLUSHALL")
	if a := r.REST("POST", "/authentications/"+op.Txn+"/cancel", nil); a.Text("state") != "CANCELLED" || a.Text("id") != op.Txn {
		t.Fatalf("%s", a)
	}
	_, err := p.Approve(t.Context(), op, rig.PIN, "")
	r.Refused(err, wire.OpGone)
	if a := r.REST("POST", "/signatures/"+a.Text("id")+"/cancel", nil); a.Status != http.StatusNotFound {
		t.Errorf("as another kind: %s", a)
	}
}

func TestAUserWhoIsLockedStartsNothingAndHisRegistrationsEnd(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u := r.User()
	reg := r.REST("POST", "/registrations", map[string]any{"userId": u.ID})
	move(t, r, "/users/"+u.ID+"/lock")
	if a := r.REST("GET", "/registrations/"+reg.Text("id"), nil); a.Text("state") != "CANCELLED" {
		t.Errorf("the registration is %s", a)
	}
	if a := r.REST("POST", "/registrations", map[string]any{"userId": u.ID}); rig.Word(a, nil) != "409 user_locked" {
		t.Errorf("a new one: %s", a)
	}
	move(t, r, "/users/"+u.ID+"/deactivate")
	for _, to := range []string{"lock", "unlock"} {
		if a := r.REST("POST", "/users/"+u.ID+"/"+to, nil); rig.Word(a, nil) != "409 "+string(fault.UserDeactivated) {
			t.Errorf("%s after the end: %s", to, a)
		}
	}
	if a := r.REST("PATCH", "/users/"+u.ID, map[string]any{"attributes": map[string]any{"a": "b"}}); rig.Word(a, nil) != "409 user_deactivated" {
		t.Errorf("patch after the end: %s", a)
	}
}

func TestADeviceThatWasCopiedCannotBeUnlocked(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	_, p := r.Person()
	r.SetDevice(p, db.DeviceSuspended)
	if a := r.REST("POST", "/devices/"+r.State(p).Device+"/unlock", nil); rig.Word(a, nil) != "409 state_conflict" {
		t.Fatalf("%s", a)
	}
}

// D18: a reference that is free again is somebody new.
func TestD18_ARecycledReferenceInheritsNothing(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		old := tokens(t, r, u, func() { r.Approve(p, "") })
		if a := r.REST("POST", "/users", map[string]any{"externalRef": u.ExternalRef}); rig.Word(a, nil) != "409 state_conflict" {
			t.Fatalf("while it is taken: %s", a)
		}
		move(t, r, "/users/"+u.ID+"/deactivate")
		a := r.REST("POST", "/users", map[string]any{"externalRef": u.ExternalRef})
		if a.Status != http.StatusCreated || a.Text("id") == u.ID || len(a.JSON["attributes"].(map[string]any)) != 0 {
			t.Fatalf("recycled: %s", a)
		}
		id := a.Text("id")
		if a := r.REST("POST", "/users/resolve", map[string]any{"externalRef": u.ExternalRef}); a.Text("id") != id {
			t.Errorf("resolves to %s", a)
		}
		for _, list := range []string{"devices", "transactions"} {
			if a := r.REST("GET", "/users/"+id+"/"+list, nil); len(a.JSON["items"].([]any)) != 0 {
				t.Errorf("inherits %s: %s", list, a)
			}
		}
		if a := r.REST("GET", "/users/"+u.ID, nil); a.Text("externalRef") != u.ExternalRef || a.Text("state") != "DEACTIVATED" {
			t.Errorf("the old user is %s", a)
		}
		if active(r, old.Text("access_token")) {
			t.Error("the old user's token is active")
		}
		if a := r.REST("GET", "/devices/"+r.State(p).Device, nil); a.Text("state") != "DEACTIVATED" {
			t.Errorf("the old user's device is %s", a)
		}
		// A reference is bytes: another case, another spelling is another user.
		for _, other := range []string{strings.ToUpper(u.ExternalRef), u.ExternalRef + " ", "ｕ" + u.ExternalRef} {
			if a := r.REST("POST", "/users/resolve", map[string]any{"externalRef": other}); a.Status != http.StatusNotFound {
				t.Errorf("%q resolves to %s", other, a)
			}
		}
	})
}

// D25: a further device needs the yes of one that the user has, or a new proofing,
// and whoever has the old one is told.
func TestD25_AFurtherDeviceNeedsAnApprovalOrANewProofing(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		start := func(more map[string]any) rig.Answer {
			body := map[string]any{"userId": u.ID}
			for k, v := range more {
				body[k] = v
			}
			return r.REST("POST", "/registrations", body)
		}
		if a := start(nil); rig.Word(a, nil) != "403 forbidden" || !names(a, "/approvedBy") {
			t.Fatalf("without: %s", a)
		}
		approved := func(u db.User, p *sdk.Phone) string {
			r.Ask(r.Backend, u)
			id := r.Waiting(p).Txn
			r.Approve(p, "")
			return id
		}
		v, vp := r.Person()
		foreign, yes := approved(v, vp), approved(u, p)
		for name, id := range map[string]string{"another user's": foreign, "unknown": "op_none", "a registration": r.Device(p).OperationID} {
			if a := start(map[string]any{"approvedBy": id}); a.Status != http.StatusBadRequest || !names(a, "/approvedBy") {
				t.Errorf("approved by %s: %s", name, a)
			}
		}
		a := start(map[string]any{"approvedBy": yes})
		if a.Status != http.StatusCreated {
			t.Fatalf("approved: %s", a)
		}
		if again := start(map[string]any{"approvedBy": yes}); again.Status != http.StatusBadRequest {
			t.Errorf("one yes, two devices: %s", again)
		}
		late := approved(u, p)
		r.Clock.Advance(11 * time.Minute)
		if a := start(map[string]any{"approvedBy": late}); a.Status != http.StatusBadRequest {
			t.Errorf("a yes of long ago: %s", a)
		}
		fresh := start(map[string]any{"proofing": map[string]any{"reference": "case-9"}})
		next := r.Phone()
		if _, err := next.Register(t.Context(), fresh.Text("link")); err != nil {
			t.Fatal(err)
		}
		if _, err := next.Finish(t.Context(), rig.PIN); err != nil {
			t.Fatal(err)
		}
		if a := start(map[string]any{"proofing": map[string]any{"reference": "case-9"}}); a.Status != http.StatusBadRequest || !names(a, "/proofing/reference") {
			t.Errorf("an old proofing: %s", a)
		}
		if a := r.REST("GET", "/users/"+u.ID, nil); a.JSON["proofing"].(map[string]any)["reference"] != "case-9" {
			t.Errorf("the proofing is not the user's: %s", a)
		}
		r.Clock.Advance(db.EventsSettle)
		if a := r.REST("GET", "/events", nil); !strings.Contains(a.Body, "device.added") || !strings.Contains(a.Body, `"beside":"`+r.State(p).Device+`"`) {
			t.Errorf("nobody is told: %s", a)
		}
	})
}

// Two registrations begun while the user had no device give one device.
func TestD25_TheSecondOfTwoFirstDevicesIsRefused(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u := r.User()
		one, two := r.REST("POST", "/registrations", map[string]any{"userId": u.ID}), r.REST("POST", "/registrations", map[string]any{"userId": u.ID})
		first, second := r.Phone(), r.Phone()
		if _, err := first.Register(t.Context(), one.Text("link")); err != nil {
			t.Fatal(err)
		}
		if _, err := second.Register(t.Context(), two.Text("link")); err != nil {
			t.Fatal(err)
		}
		if _, err := first.Finish(t.Context(), rig.PIN); err != nil {
			t.Fatal(err)
		}
		if _, err := second.Finish(t.Context(), rig.PIN); err == nil && r.Device(second).State == db.DeviceActive {
			t.Fatal("both phones are the user's")
		}
		if a := r.REST("GET", "/registrations/"+two.Text("id"), nil); a.Text("state") != "CANCELLED" {
			t.Errorf("the second is %s", a)
		}
	})
}
