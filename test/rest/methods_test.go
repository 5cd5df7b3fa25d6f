package rest

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// allow lets the rig's App take the methods and no others, and waits until every
// node has seen it.
func allow(t *testing.T, r *rig.Rig, methods ...string) {
	t.Helper()
	have := r.REST("GET", "/apps/"+r.App.ID, nil)
	a := r.REST("PATCH", "/apps/"+r.App.ID, map[string]any{"settings": map[string]any{"allowedMethods": methods}}, "If-Match", have.Header.Get("Etag"))
	if a.Status != http.StatusOK {
		t.Fatalf("%v: %s", methods, a)
	}
	r.Clock.Advance(3 * time.Second)
}

func settings(a rig.Answer) map[string]any {
	s, _ := a.JSON["settings"].(map[string]any)
	return s
}

func TestTheAllowedMethodsOfAnAppAreCheckedOnSave(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	for what, methods := range map[string][]any{"none": {}, "unknown": {"PIN", "FACE"}, "twice": {"PIN", "PIN"}, "lower case": {"pin"}, "a number": {1}} {
		a := r.REST("POST", "/apps", map[string]any{"name": "X", "settings": map[string]any{"allowedMethods": methods}})
		if a.Status != http.StatusBadRequest || !begins(a, "/settings/allowedMethods") {
			t.Errorf("%s: %s", what, a)
		}
	}
	a := r.REST("POST", "/apps", map[string]any{"name": "X", "settings": map[string]any{"allowedMethods": []string{"BIOMETRIC", "PIN"}}})
	if got, _ := settings(a)["allowedMethods"].([]any); a.Status != http.StatusCreated || len(got) != 2 || got[0] != "BIOMETRIC" {
		t.Errorf("%s", a)
	}
	same := map[string]any{"settings": map[string]any{"allowedMethods": []string{"PIN"}}}
	path, seen := "/apps/"+a.Text("id"), a.Header.Get("Etag")
	if b := r.REST("PATCH", path, same, "If-Match", seen); b.Status != http.StatusOK || b.Header.Get("Etag") == seen {
		t.Errorf("%s", b)
	}
	if b := r.REST("PATCH", path, same, "If-Match", seen); b.Status != http.StatusPreconditionFailed {
		t.Errorf("changed as it was before: %s", b)
	}
	for psd2, want := range map[bool]int{false: 3, true: 2} {
		a := r.REST("POST", "/apps", map[string]any{"name": "Y", "settings": map[string]any{"psd2": psd2}})
		if got, _ := settings(a)["allowedMethods"].([]any); len(got) != want {
			t.Errorf("by default, psd2 %v: %s", psd2, a)
		}
	}
}

// begins reports whether the problem names a member at or under the pointer.
func begins(a rig.Answer, pointer string) bool {
	for i := range 4 {
		if names(a, pointer) || names(a, pointer+"/"+string(rune('0'+i))) {
			return true
		}
	}
	return false
}

func TestAMethodThatTheAppDoesNotAllowIsRefusedAtTheStart(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	allow(t, r, "PIN")
	for _, path := range []string{"/authentications", "/signatures"} {
		body := map[string]any{"userId": u.ID, "authMethods": []string{"PIN", "BIOMETRIC"}, "preContext": map[string]any{"content": "x"}}
		if a := r.REST("POST", path, body); a.Status != http.StatusBadRequest || !names(a, "/authMethods") {
			t.Errorf("%s: %s", path, a)
		}
	}
	if a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "authMethods": []string{"PIN"}}); a.Status != http.StatusCreated {
		t.Errorf("an allowed one: %s", a)
	}
	r.Approve(p, "")

	allow(t, r, "WEBAUTHN") // which no phone can prove
	if a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID}); rig.Word(a, nil) != "403 forbidden" {
		t.Errorf("REST: %s", a)
	}
	if a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "authLevel": "ONE_FACTOR"}); a.Status != http.StatusCreated {
		t.Errorf("possession alone: %s", a)
	} else {
		r.REST("POST", "/authentications/"+a.Text("id")+"/cancel", nil)
	}
	for _, acr := range []string{"", "urn:mobileid:acr:web"} {
		if a := r.Post("/bc-authorize", r.Backend, url.Values{"scope": {"openid"}, "login_hint": {u.ExternalRef}, "acr_values": {acr}}); a.Text("error") != "access_denied" {
			t.Errorf("CIBA, acr_values %q: %s", acr, a)
		}
		at := r.Browser().Open(r.AuthorizeURL("acr_values", acr, "login_hint", u.ExternalRef))
		if at.Left == nil || at.Left.Query().Get("error") != "unmet_authentication_requirements" {
			t.Errorf("redirect, acr_values %q: %+v", acr, at)
		}
	}
	if ops, err := p.List(t.Context()); err != nil || len(ops) != 0 {
		t.Errorf("%d requests wait, %v", len(ops), err)
	}
}

func TestAnAnswerByAMethodThatIsNotAllowedIsRefused(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	ask := r.Ask(r.Backend, u)
	op := r.Waiting(p)
	allow(t, r, "WEBAUTHN")
	_, err := p.Approve(t.Context(), op, rig.PIN, "")
	r.Refused(err, wire.Need)
	if out, decided := r.Decision(op.Txn); decided {
		t.Fatalf("%+v", out)
	}
	if d := r.Device(p); d.Failures != 0 {
		t.Errorf("%d failures were counted", d.Failures)
	}
	allow(t, r, "PIN")
	r.Approve(p, "")
	if a := r.Poll(r.Backend, ask.Text("auth_req_id")); a.Status != http.StatusOK {
		t.Errorf("%s", a)
	}
}

// A client's App may allow what a phone's own App does not.
func TestAPhoneWhoseAppAllowsNoMethodThatIsAskedForIsNotAsked(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	r.Clock.Advance(time.Second)
	other := r.REST("POST", "/apps", map[string]any{"name": "Face", "settings": map[string]any{"allowedMethods": []string{"BIOMETRIC"}}})
	u := r.User()
	p := r.Phone()
	reg := r.REST("POST", "/registrations", map[string]any{"userId": u.ID, "appId": other.Text("id")})
	if _, err := p.Register(t.Context(), reg.Text("link")); err != nil {
		t.Fatal(err)
	}
	if got := r.State(p).Policy.Methods; len(got) != 0 {
		t.Errorf("the phone is told of %v", got)
	}
	if _, err := p.Finish(t.Context(), rig.PIN); err != nil {
		t.Fatal(err)
	}
	if a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID}); rig.Word(a, nil) != "409 no_device" {
		t.Errorf("%s", a)
	}
}

func TestRTS4_1_WebAuthnCountsForNeitherKnowledgeNorInherence(t *testing.T) {
	refusedWith(t, strict(t), "allowedMethods", []string{"PIN", "WEBAUTHN"})
}
