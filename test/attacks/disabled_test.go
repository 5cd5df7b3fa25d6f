package attacks

import (
	"maps"
	"net/url"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/db"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// What a client asked while it was one of ours is over once it is not: the phone
// still shows it, and its yes comes to nothing.
func TestC26_R3_NothingIsApprovedForAClientThatWasDisabled(t *testing.T) {
	t.Parallel()
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

// Whoever is enabled again is asked anew by all: an operation of before stays
// refused, and a login of the browser's own, which is not the client's, goes on.
func TestC26_WhatAClientAskedBeforeItWasDisabledStaysRefused(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		b := r.Browser()
		r.Login(b, u, p)
		code := b.Open(r.AuthorizeURL()).Left.Query().Get("code")
		approved := r.Ask(r.Backend, u).Text("auth_req_id")
		r.Approve(p, "")
		r.Ask(r.Backend, u)
		op := r.Waiting(p)
		r.Clock.Advance(6 * time.Second)
		clients := []string{r.Web.ClientID, r.Backend.ClientID}
		for _, id := range clients {
			if err := r.Node.DisableClient(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		r.Clock.Advance(2 * time.Second)
		for _, more := range [][]string{nil, {"prompt", "none"}, {"response_mode", "form_post"}} {
			if page := b.Open(r.AuthorizeURL(more...)); page.Left != nil || page.Status != 400 {
				t.Errorf("authorize for a disabled client: %s, sent to %v", page.Answer, page.Left)
			}
		}
		for path, form := range map[string]url.Values{
			"/token": {"grant_type": {"client_credentials"}}, "/bc-authorize": {"scope": {"openid"}, "login_hint": {u.ExternalRef}},
			"/introspect": {"token": {"x"}}, "/revoke": {"token": {"x"}},
		} {
			if a := r.Post(path, r.Backend, form); rig.Word(a, nil) != "401 invalid_client" {
				t.Errorf("%s for a disabled client: %s", path, a)
			}
		}
		for _, id := range clients {
			if err := r.Node.EnableClient(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		r.Clock.Advance(2 * time.Second)
		if a := r.Redeem(code); rig.Word(a, nil) != "400 invalid_grant" {
			t.Errorf("a code of before: %s", a)
		}
		if a := r.Poll(r.Backend, approved); rig.Word(a, nil) != "400 invalid_grant" {
			t.Errorf("an approval of before: %s", a)
		}
		_, err := p.Approve(t.Context(), op, rig.PIN, "")
		if e := r.Refused(err, wire.OpGone); e.State != "CANCELLED" {
			t.Errorf("a request of before: %+v", e)
		}
		page := b.Open(r.AuthorizeURL())
		if page.Left == nil {
			t.Fatalf("the browser's login is gone: %s", page.Answer)
		}
		if a := r.Redeem(page.Left.Query().Get("code")); a.Status != 200 {
			t.Errorf("a code by a login of before: %s", a)
		}
		id := r.Ask(r.Backend, u).Text("auth_req_id")
		r.Approve(p, "")
		if a := r.Poll(r.Backend, id); a.Status != 200 {
			t.Errorf("a new request: %s", a)
		}
	})
}

// Whoever stole a REST client's secret must not keep a phone by it: once the client is
// disabled no phone begins, ends or is confirmed by what it started, neither then nor
// after it is enabled again. Its approvals give nobody a further device.
func TestC26_B9_RegistrationsThatADisabledClientStartedAreOver(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		thief := r.Client(node.ClientOptions{Name: "Stolen", Binding: "trusted", Grants: []string{"client_credentials", "urn:openid:params:grant-type:ciba"},
			Scopes: []string{"openid", "mobileid.devices"}})
		token := func() string {
			return r.Post("/token", thief, url.Values{"grant_type": {"client_credentials"}}).Text("access_token")
		}
		start := func(with string, u db.User, more map[string]any) rig.Answer {
			body := map[string]any{"userId": u.ID, "confirmation": "none"}
			maps.Copy(body, more)
			a, err := r.TryREST(with, "POST", "/registrations", body)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		begun := func(a rig.Answer) *sdk.Phone {
			p := r.Phone()
			if _, err := p.Register(t.Context(), a.Text("link")); err != nil {
				t.Fatalf("%s: %v", a, err)
			}
			return p
		}
		u, own := r.Person()
		r.Ask(thief, u)
		approval := r.Waiting(own).Txn
		r.Approve(own, "")
		with := token()
		lateLink, link := start(with, r.User(), nil), start(with, r.User(), nil)
		finishing, later := begun(start(with, r.User(), nil)), begun(start(with, r.User(), nil))
		compared := start(with, r.User(), map[string]any{"confirmation": "digits"})
		comparing := begun(compared)
		if reg, err := comparing.Finish(t.Context(), rig.PIN); err != nil || !reg.Compare {
			t.Fatalf("finish: %+v, %v", reg, err)
		}
		r.Clock.Advance(time.Second)
		if err := r.Node.DisableClient(t.Context(), thief.ClientID); err != nil {
			t.Fatal(err)
		}
		over := func(when, link string, finishing *sdk.Phone) {
			t.Helper()
			_, err := r.Phone().Register(t.Context(), link)
			r.Refused(err, wire.ActivationFailed)
			if reg, err := finishing.Finish(t.Context(), rig.PIN); err != nil || reg.State != wire.RegRefused {
				t.Errorf("%s, the phone ends: %+v, %v", when, reg, err)
			}
			if d := r.Device(finishing); d.State != db.DeviceDeactivated {
				t.Errorf("%s, the phone is %s", when, d.State)
			}
			if a := start(r.Token(), u, map[string]any{"approvedBy": approval}); rig.Word(a, nil) != "400 invalid_request" {
				t.Errorf("%s, its approval: %s", when, a)
			}
		}
		over("disabled", link.Text("link"), finishing)
		r.Clock.Advance(time.Second)
		if err := r.Node.EnableClient(t.Context(), thief.ClientID); err != nil {
			t.Fatal(err)
		}
		r.Clock.Advance(2 * time.Second)
		over("enabled again", lateLink.Text("link"), later)
		a := r.REST("POST", "/registrations/"+compared.Text("id")+"/confirm", map[string]any{"digits": r.State(comparing).Digits})
		if a.Text("state") != "CANCELLED" || a.Text("reason") != "the client was disabled" {
			t.Errorf("the right digits: %s", a)
		}
		if d := r.Device(comparing); d.State != db.DeviceDeactivated {
			t.Errorf("the phone whose digits were compared is %s", d.State)
		}
		anew := begun(start(token(), r.User(), nil))
		if reg, err := anew.Finish(t.Context(), rig.PIN); err != nil || reg.State != wire.RegActive {
			t.Errorf("a new registration: %+v, %v", reg, err)
		}
	})
}
