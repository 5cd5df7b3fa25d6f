package attacks

import (
	"bytes"
	"net/url"
	"strings"
	"testing"

	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/test/rig"
)

// C5: the hint of a backchannel request is an ID token of this server for this client.
func TestC5_AnIDTokenHintIsThisServersForThisClient(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	ask := func(c string, hint string, more ...string) rig.Answer {
		form := url.Values{"scope": {"openid"}, "id_token_hint": {hint}}
		for i := 0; i+1 < len(more); i += 2 {
			form.Set(more[i], more[i+1])
		}
		client := r.Backend
		if c == "match" {
			client = r.Match
		}
		return r.Post("/bc-authorize", client, form)
	}
	ack := r.Ask(r.Backend, u)
	r.Approve(p, "")
	own := r.Poll(r.Backend, ack.Text("auth_req_id")).Text("id_token")
	access := r.Login(r.Browser(), u, p)
	foreign := r.Redeem(access.Get("code"))
	parts := strings.Split(own, ".")
	for name, a := range map[string]rig.Answer{
		"of another client":       ask("", foreign.Text("id_token")),
		"own one, by another":     ask("match", own),
		"an access token":         ask("", foreign.Text("access_token")),
		"payload changed":         ask("", parts[0]+"."+parts[1][:len(parts[1])-2]+"AA."+parts[2]),
		"signature left out":      ask("", parts[0]+"."+parts[1]+"."),
		"alg none":                ask("", "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0."+parts[1]+"."),
		"aud that is no text":     ask("", parts[0]+".eyJhdWQiOlsxXX0."+parts[2]),
		"no token":                ask("", "x"),
		"long":                    ask("", strings.Repeat("a", 40<<10)),
		"with a login_hint":       ask("", own, "login_hint", u.ExternalRef),
		"with a login_hint_token": ask("", own, "login_hint_token", "x"),
	} {
		if a.Status != 400 || a.Text("error") != "invalid_request" {
			t.Errorf("%s: %s", name, a)
		}
	}
	if ops, err := p.List(t.Context()); err != nil || len(ops) != 0 {
		t.Fatalf("%d operations were started, %v", len(ops), err)
	}
	if a := ask("", own); a.Status != 200 {
		t.Fatalf("the right one: %s", a)
	}
	r.Waiting(p)
}

// D18: who is called alike is not the same person, and nobody comes after another.
func TestD18_AReferenceIsOnePersonForEverByteForByte(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	alike := []string{strings.ToUpper(u.ExternalRef), u.ExternalRef + " ", strings.Replace(u.ExternalRef, "e", "е", 1), strings.Replace(u.ExternalRef, "e", "e\u0301", 1), u.ExternalRef + "\u200d"}
	for _, ref := range alike {
		other, err := r.Node.Users.CreateUser(t.Context(), r.Merchant.ID, ref, nil)
		if err != nil {
			t.Fatalf("%q: %v", ref, err)
		}
		if other.ID == u.ID {
			t.Fatalf("%q is the same user", ref)
		}
		// No phone is inherited: nobody can be asked, and u's phone sees nothing.
		if a := r.Post("/bc-authorize", r.Backend, url.Values{"scope": {"openid"}, "login_hint": {ref}}); a.Status != 403 {
			t.Errorf("%q: %s", ref, a)
		}
	}
	if ops, err := p.List(t.Context()); err != nil || len(ops) != 0 {
		t.Errorf("the phone is offered %d operations, %v", len(ops), err)
	}
	t.Run("nor does anybody come after one who is gone", func(t *testing.T) {
		r.SetUser(u, db.UserDeactivated)
		next, err := r.Node.Users.CreateUser(t.Context(), r.Merchant.ID, u.ExternalRef, nil)
		if fault.Is(err, fault.StateConflict) {
			return // the reference is not given again
		}
		if err != nil || next.ID == u.ID {
			t.Fatalf("%s, %v", next.ID, err)
		}
		if a := r.Post("/bc-authorize", r.Backend, url.Values{"scope": {"openid"}, "login_hint": {u.ExternalRef}}); a.Status != 403 {
			t.Errorf("the next one can be asked on the old phone: %s", a)
		}
	})
}

// D20: nothing that leaves the server lets the next code be told, or an earlier secret.
func TestD20_NoCodeTellsOfAnotherAndNoEvidenceOfASecret(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	seen := map[string]bool{}
	for range 3 {
		ack := r.Ask(r.Match, u, "binding_message", "the same each time")
		op := r.Waiting(p)
		if len(op.Chal) != 32 || seen[string(op.Chal)] || seen[op.Txn] {
			t.Fatalf("a challenge or id comes twice")
		}
		seen[string(op.Chal)], seen[op.Txn] = true, true
		match := ack.Text("mobileid_match_code")
		if bytes.Contains(op.View, []byte(match)) || bytes.Contains(op.Data, []byte(match)) {
			t.Error("the phone is told the number to type")
		}
		if _, err := p.Approve(t.Context(), op, rig.PIN, match); err != nil {
			t.Fatal(err)
		}
		var d db.Decision
		r.SQL(func(tx *db.Tx) (err error) {
			d, err = tx.Decision(op.Txn)
			return err
		})
		dev := r.Device(p)
		for name, secret := range map[string][]byte{"PIN": []byte(`"` + rig.PIN), "knowledge key": dev.KK, "number": []byte(`"` + match + `"`)} {
			for where, kept := range map[string][]byte{"outcome": d.Outcome, "view": d.View, "data": d.Data, "answer": []byte(d.Answer)} {
				if len(secret) > 0 && bytes.Contains(kept, secret) {
					t.Errorf("the %s shows the %s", where, name)
				}
			}
		}
	}
}
