package rest

import (
	"crypto/rand"
	"net/http"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/internal/notify/pushtest"
	"mobileid/internal/operation"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// strictPhone is a phone of the user in an App that blocks after three wrong proofs,
// whose id is returned.
func strictPhone(t *testing.T, r *rig.Rig, u db.User) (string, *sdk.Phone) {
	t.Helper()
	r.Clock.Advance(time.Second) // the first App is the oldest
	app := r.REST("POST", "/apps", map[string]any{"name": "Strict", "settings": map[string]any{"failureLimit": 3}}).Text("id")
	if a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "appId": app}); rig.Word(a, nil) != "409 no_device" {
		t.Fatalf("before there is a phone of the App: %s", a)
	}
	p := r.Phone()
	reg := r.REST("POST", "/registrations", map[string]any{"userId": u.ID, "appId": app, "proofing": map[string]any{"reference": rand.Text()}})
	if _, err := p.Register(t.Context(), reg.Text("link")); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Finish(t.Context(), rig.PIN); err != nil || got.State != sdk.StatusActive {
		t.Fatalf("%+v, %v", got, err)
	}
	return app, p
}

func TestOnlyPhonesOfTheAppThatIsNamedAreAskedAndMayAnswer(t *testing.T) {
	r := pushing(t, identity.Policy{})
	u, usual := r.Person()
	app, strict := strictPhone(t, r, u)
	pushes := map[*sdk.Phone]*pushtest.Service{usual: pushtest.Start(t), strict: pushtest.Start(t)}
	for p, s := range pushes {
		subscribe(t, p, s)
	}
	if a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "appId": app, "deviceId": r.State(usual).Device}); rig.Word(a, nil) != "409 no_device" {
		t.Errorf("a phone of another App is named: %s", a)
	}

	a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "appId": app, "sendPush": true})
	if ops, err := usual.List(t.Context()); err != nil || len(ops) != 0 {
		t.Fatalf("the phone of another App is asked: %v, %v", ops, err)
	}
	arrived(t, pushes[strict], 1)
	quiet(t, r)
	arrived(t, pushes[usual], 0)
	op := r.Waiting(strict)
	if op.Txn != a.Text("id") {
		t.Fatalf("%+v", op)
	}
	other, d := *op, r.Device(usual) // as it would be shown there
	other.Handle = operation.Handle(&d, op.ClientID)
	_, err := usual.Approve(t.Context(), &other, rig.PIN, "")
	r.Refused(err, wire.OpNotHere)
	_, err = usual.Decline(t.Context(), &other, true)
	r.Refused(err, wire.OpNotHere)
	r.Approve(strict, "")
	if out, _ := r.Decision(op.Txn); !out.Approved() || out.DeviceID != r.State(strict).Device {
		t.Errorf("%+v", out)
	}

	a = r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "appId": app, "initiation": "app"})
	_, err = usual.Claim(t.Context(), a.Text("startToken"))
	r.Refused(err, wire.OpNotHere)
	if _, err := strict.Claim(t.Context(), a.Text("startToken")); err != nil {
		t.Error(err)
	}
	r.Approve(strict, "")

	r.REST("POST", "/authentications", map[string]any{"userId": u.ID})
	if r.Waiting(usual).Txn != r.Waiting(strict).Txn {
		t.Error("without an App not all are asked")
	}
}

func TestWhatOnlyPhonesOfOneAppMayAnswerEndsWithThem(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u := r.User()
	r.Registered(u)
	app, strict := strictPhone(t, r, u)
	device := "/devices/" + r.State(strict).Device
	for named, want := range map[string]string{app: "CANCELLED", "": "PENDING"} {
		body := map[string]any{"userId": u.ID}
		if named != "" {
			body["appId"] = named
		}
		id := r.REST("POST", "/authentications", body).Text("id")
		if a := r.REST("POST", device+"/lock", nil); a.Status != http.StatusOK {
			t.Fatal(a)
		}
		if a := r.REST("GET", "/authentications/"+id, nil); a.Text("state") != want {
			t.Errorf("with its phone locked, asked of App %q: %s", named, a)
		}
		r.REST("POST", device+"/unlock", nil)
	}

	id := r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "appId": app}).Text("id")
	op := r.Waiting(strict)
	for range 3 {
		if _, err := strict.Approve(t.Context(), op, rig.WrongPIN, ""); err == nil {
			t.Fatal("a wrong PIN")
		}
	}
	if out, _ := r.Decision(id); out.State != operation.Locked {
		t.Errorf("with its phone blocked it is %q", out.State)
	}
}
