package attacks

import (
	"net/url"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// What a client asked while it was one of ours is over once it is not: the phone
// still shows it, and its yes comes to nothing.
func TestC26_R3_NothingIsApprovedForAClientThatWasDisabled(t *testing.T) {
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
