package story

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"testing"

	"mobileid/flows"
	"mobileid/internal/operation"
	"mobileid/internal/view"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

func inApp(t *testing.T, r *rig.Rig, ref string) flows.Started {
	t.Helper()
	c := backend(r)
	got, err := r.Node.Flows.StartAuthentication(t.Context(), &c, flows.Request{Hint: ref, Initiation: operation.FromApp, Pre: &view.Content{Text: "Open the gate"}})
	if err != nil || got.MatchCode != "" || !strings.HasPrefix(got.StartToken, got.OperationID+".") {
		t.Fatalf("%+v, %v", got, err)
	}
	return got
}

func TestAnOperationOfTheMerchantsAppIsThePhonesThatClaimsItFirst(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		phones := []*sdk.Phone{p, r.Registered(u), r.Registered(u)}
		got := inApp(t, r, u.ExternalRef)
		for i, p := range phones {
			if ops, err := p.List(t.Context()); err != nil || len(ops) != 0 {
				t.Fatalf("phone %d is offered %d operations before its claim: %v", i, len(ops), err)
			}
		}
		ops := make([]*wire.Operation, len(phones))
		words := rig.Crowd(len(phones), func(i int) string {
			var err error
			ops[i], err = phones[i].Claim(t.Context(), got.StartToken)
			return rig.Sealed(err)
		})
		if !rig.Count(words).Is(rig.Tally{"ok": 1, wire.OpGone: len(phones) - 1}) {
			t.Fatalf("%v", words)
		}
		first := slices.Index(words, "ok")
		owner, other := phones[first], phones[(first+1)%len(phones)]
		st, err := r.Node.Flows.Status(t.Context(), r.Merchant.ID, operation.KindAuthentication, got.OperationID, 0)
		if err != nil || st.State != operation.Claimed || st.DeviceID != r.State(owner).Device {
			t.Fatalf("%+v, %v", st, err)
		}
		if again, err := owner.Claim(t.Context(), got.StartToken); err != nil || again.Txn != got.OperationID {
			t.Errorf("the same phone again: %v", err)
		}
		if listed := waiting(t, owner); listed.UI != wire.UIApp || listed.Flow != operation.FlowApp || !strings.Contains(text(t, listed.View), "Open the gate") {
			t.Errorf("%+v", listed)
		}
		if ops, err := other.List(t.Context()); err != nil || len(ops) != 0 {
			t.Errorf("another phone is offered %d operations, %v", len(ops), err)
		}
		// The other phone knows all of the operation, as after a leak.
		stolen, dev := *ops[first], r.Device(other)
		stolen.Handle = operation.Handle(&dev, stolen.ClientID)
		if _, err := other.Approve(t.Context(), &stolen, rig.PIN, ""); rig.Sealed(err) != wire.OpNotHere {
			t.Errorf("it answers: %v", err)
		}
		if _, err := owner.Approve(t.Context(), ops[first], rig.PIN, ""); err != nil {
			t.Fatal(err)
		}
		out, _ := r.Decision(got.OperationID)
		if !out.Approved() || out.DeviceID != r.State(owner).Device || out.SCA.UI != "app" || out.SCA.Flow != "app" || slices.Contains(out.AMR, "mca") {
			t.Errorf("%+v %+v", out, out.SCA)
		}
		if _, err := owner.Claim(t.Context(), got.StartToken); rig.Sealed(err) != wire.OpGone {
			t.Errorf("a claim of what is decided: %v", err)
		}
	})
}

func TestAClaimNeedsTheTokenAndTheRightUser(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	_, stranger := r.Person()
	got := inApp(t, r, u.ExternalRef)
	wrong := got.OperationID + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	for name, claim := range map[string]func() error{
		"another secret": func() error { _, err := p.Claim(t.Context(), wrong); return err },
		"another user":   func() error { _, err := stranger.Claim(t.Context(), got.StartToken); return err },
		"an unknown one": func() error {
			_, err := p.Claim(t.Context(), "op_x."+strings.Split(got.StartToken, ".")[1])
			return err
		},
		"one that is listed": func() error {
			c := backend(r)
			named, err := r.Node.Flows.StartAuthentication(t.Context(), &c, flows.Request{Hint: u.ExternalRef})
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.Claim(t.Context(), named.OperationID+"."+base64.RawURLEncoding.EncodeToString(make([]byte, 32)))
			return err
		},
	} {
		if code := rig.Sealed(claim()); code != wire.OpNotHere {
			t.Errorf("%s: %s", name, code)
		}
	}
	if _, err := p.Claim(t.Context(), got.StartToken); err != nil {
		t.Errorf("the right one afterwards: %v", err)
	}
	t.Run("one that was cancelled", func(t *testing.T) {
		got := inApp(t, r, u.ExternalRef)
		if _, err := r.Node.Flows.CancelOperation(t.Context(), r.Merchant.ID, operation.KindAuthentication, got.OperationID); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Claim(t.Context(), got.StartToken); rig.Sealed(err) != wire.OpGone {
			t.Error(err)
		}
	})
	t.Run("one whose time is over", func(t *testing.T) {
		got := inApp(t, r, u.ExternalRef)
		r.Clock.Advance(operation.DefaultLife)
		if _, err := p.Claim(t.Context(), got.StartToken); rig.Sealed(err) != wire.OpGone {
			t.Error(err)
		}
	})
}

func TestAnAppBeginsABackchannelRequestAndOnlyTheBackendGetsTokens(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	ack := r.Ask(r.Match, u, "initiation", "app")
	token := ack.Text("start_token")
	if token == "" || ack.Text("mobileid_match_code") != "" {
		t.Fatalf("%s", ack)
	}
	op, err := p.Claim(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Approve(t.Context(), op, rig.PIN, ""); err != nil {
		t.Fatal(err)
	}
	if a := r.Poll(r.Match, token); a.Text("error") != "invalid_grant" {
		t.Errorf("the start token at the token endpoint: %s", a)
	}
	if a := r.Poll(r.Match, ack.Text("auth_req_id")); a.Status != 200 {
		t.Fatalf("%s", a)
	}
	if a := r.Post("/bc-authorize", r.Match, url.Values{"scope": {"openid"}, "login_hint": {u.ExternalRef}, "initiation": {"web"}}); a.Text("error") != "invalid_request" {
		t.Errorf("%s", a)
	}
}

func TestAnAppsOperationsTakeNoPlaceOfPromptsUntilTheyAreClaimed(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	for range 5 {
		inApp(t, r, u.ExternalRef)
	}
	r.Ask(r.Backend, u)
	r.Approve(p, "")
	op, err := p.Claim(t.Context(), inApp(t, r, u.ExternalRef).StartToken)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Decline(t.Context(), op, false); err != nil {
		t.Fatal(err)
	}
	c := backend(r)
	if _, err := r.Node.Flows.StartAuthentication(t.Context(), &c, flows.Request{Hint: u.ExternalRef, Initiation: operation.FromApp}); err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("right after a decline: %v", err)
	}
}
