package attacks

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/internal/operation"
	"mobileid/internal/risk"
	"mobileid/sdk"
	"mobileid/sdk/keystoretest"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// says is a phone that says this of itself.
type says wire.Risk

func (s says) Measure(context.Context) (wire.Risk, error) { return wire.Risk(s), nil }

func found(findings ...string) says { return says{Findings: findings} }

func staying(country string) says { return says{Country: country, CountrySource: wire.CountryNetwork} }

// demand changes the settings of the rig's App.
func demand(t *testing.T, r *rig.Rig, settings map[string]any) {
	t.Helper()
	app := r.REST("GET", "/apps/"+r.App.ID, nil)
	if a := r.REST("PATCH", "/apps/"+r.App.ID, map[string]any{"settings": settings}, "If-Match", app.Header.Get("Etag")); a.Status != http.StatusOK {
		t.Fatalf("%v: %s", settings, a)
	}
}

// ways are how an approval is asked for and how the merchant learns of it.
var ways = map[string]func(t *testing.T, r *rig.Rig, u db.User) (told func() string){
	"CIBA": func(_ *testing.T, r *rig.Rig, u db.User) func() string {
		id := r.Ask(r.Backend, u).Text("auth_req_id")
		return func() string { return rig.Word(r.Poll(r.Backend, id), nil) }
	},
	"REST": func(t *testing.T, r *rig.Rig, u db.User) func() string {
		a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID})
		if a.Status != http.StatusCreated {
			t.Fatal(a)
		}
		return func() string {
			a := r.REST("GET", "/authentications/"+a.Text("id"), nil)
			said, _ := a.JSON["risk"].(map[string]any)
			return fmt.Sprint(a.Text("state"), " ", a.Text("reason"), " ", said["verdict"], " ", said["check"], " ", said["detail"])
		}
	},
}

// refused approves with either PIN and checks that the phone is told neither why
// nor whether the PIN was right, that nothing is counted, and what the merchant and
// the audit know.
func refused(t *testing.T, r *rig.Rig, u db.User, p *sdk.Phone, pin, check, detail string) {
	t.Helper()
	for way, ask := range ways {
		told := ask(t, r, u)
		op := r.Waiting(p)
		_, err := p.Approve(t.Context(), op, pin, "000")
		e := r.Refused(err, wire.Need)
		if !slices.Equal(e.Need, []string{wire.NeedRisk}) || e.Left != nil || e.Check != "" || e.State != "" {
			t.Errorf("%s: the phone is told %+v", way, e)
		}
		out, decided := r.Decision(op.Txn)
		if !decided || out.State != operation.Cancelled || out.Reason != operation.ReasonRisk || out.Risk == nil ||
			out.Risk.Verdict != risk.Blocked || out.Risk.Check != check || out.Risk.Detail != detail || out.AMR != nil || out.ACR != "" {
			t.Errorf("%s: %+v, %+v", way, out, out.Risk)
		}
		want := map[string]string{"CIBA": "400 access_denied", "REST": "CANCELLED risk_blocked blocked " + check + " " + detail}[way]
		if detail == "" && way == "REST" {
			want += "<nil>"
		}
		if got := told(); got != want {
			t.Errorf("the merchant by %s is told %q, want %q", way, got, want)
		}
		if !audited(r, "operation.risk_blocked", op.Txn, check, detail) {
			t.Errorf("%s: no audit record", way)
		}
	}
	if d := r.Device(p); d.Failures != 0 || d.State != db.DeviceActive || r.Reread(u).FailCount != 0 {
		t.Errorf("%d failures, %s", d.Failures, d.State)
	}
}

func audited(r *rig.Rig, act, operationID, check, detail string) (found bool) {
	r.SQL(func(tx *db.Tx) error {
		return tx.AuditRecords(func(rec db.AuditRecord) error {
			var a audit.Record
			err := json.Unmarshal([]byte(rec.Body), &a)
			found = found || a.Act == act && a.Operation == operationID && a.Details["check"] == check && a.Details["detail"] == detail
			return err
		})
	})
	return found
}

func TestD23_ABlockedFindingOrCountryIsRefusedBeforeAnyFactorIsLookedAt(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		demand(t, r, map[string]any{"risk": "OPTIONAL", "blockFindings": []string{"rooted", "hooking"}, "denyCountries": []string{"KP", "IR"}})
		p.Risk = found("vpn", "hooking")
		refused(t, r, u, p, rig.PIN, risk.CheckFinding, "hooking")
		refused(t, r, u, p, rig.WrongPIN, risk.CheckFinding, "hooking")
		p.Risk = staying("KP")
		refused(t, r, u, p, rig.PIN, risk.CheckCountry, "KP")
		demand(t, r, map[string]any{"denyCountries": nil, "allowCountries": []string{"NO", "SE"}})
		refused(t, r, u, p, rig.PIN, risk.CheckCountry, "KP")
		// What is not on a list is kept and does no harm.
		p.Risk = says{Findings: []string{"vpn"}, Country: "SE", CountrySource: wire.CountryPosition, OS: "16"}
		told := ways["REST"](t, r, u)
		op := r.Waiting(p)
		r.Approve(p, "")
		if got := told(); got != "COMPLETED  accepted <nil> <nil>" {
			t.Errorf("told %q", got)
		}
		out, _ := r.Decision(op.Txn)
		if s := out.Risk; s == nil || !slices.Equal(s.Findings, []string{"vpn"}) || s.Country != "SE" || s.OSVersion != "16" || s.Model != "Test phone" || s.Platform != "cli" || s.At == nil {
			t.Errorf("kept: %+v", s)
		}
	})
}

func TestD23_WhatIsAbsentOrOldIsBadWhereItIsRequired(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	demand(t, r, map[string]any{"risk": "REQUIRED", "allowCountries": []string{"NO"}})
	refused(t, r, u, p, rig.PIN, risk.CheckMissing, "")
	p.Risk = found()
	refused(t, r, u, p, rig.PIN, risk.CheckCountry, "")
	for _, apart := range []time.Duration{-risk.MaxAge - time.Second, 11 * time.Second} {
		old := staying("NO")
		old.At = r.Clock.Now().Add(apart).Unix()
		p.Risk = old
		refused(t, r, u, p, rig.PIN, risk.CheckStale, "")
	}
	// The same is noted and lets pass where it is not required.
	demand(t, r, map[string]any{"risk": "OPTIONAL"})
	for check, says := range map[string]sdk.Risk{risk.CheckMissing: nil, risk.CheckCountry: found(), risk.CheckStale: p.Risk} {
		p.Risk = says
		r.Ask(r.Backend, u)
		op := r.Waiting(p)
		r.Approve(p, "")
		if out, _ := r.Decision(op.Txn); out.Risk == nil || out.Risk.Verdict != risk.Accepted || out.Risk.Check != check {
			t.Errorf("%s: %+v", check, out.Risk)
		}
	}
	// Where the App does not ask, nothing is kept; a "no" is a "no" everywhere.
	demand(t, r, map[string]any{"risk": "OFF", "allowCountries": nil})
	p.Risk = found("rooted")
	r.Ask(r.Backend, u)
	op := r.Waiting(p)
	r.Approve(p, "")
	if out, _ := r.Decision(op.Txn); out.Risk != nil || !out.Approved() {
		t.Errorf("OFF: %+v", out)
	}
	demand(t, r, map[string]any{"risk": "REQUIRED", "blockFindings": []string{"rooted"}})
	r.Ask(r.Backend, u)
	if reply, err := p.Decline(t.Context(), r.Waiting(p), false); err != nil || reply.State != "DECLINED" {
		t.Errorf("a decline: %+v, %v", reply, err)
	}
}

// The statement is under the answer's signature: what is taken out of a message, put
// in, changed or carried over from another answer is not an answer any more.
func TestD23_AStatementThatIsStrippedForgedOrMovedIsRefused(t *testing.T) {
	t.Parallel()
	for _, ask := range []string{"CIBA", "REST"} {
		r := rig.Start(t, rig.Options{})
		u, p := r.Person()
		demand(t, r, map[string]any{"risk": "REQUIRED", "blockFindings": []string{"rooted"}})
		now := r.Clock.Now().Unix()
		bad, err1 := wire.Risk{Findings: []string{"rooted"}, At: now}.Bytes()
		clean, err2 := wire.Risk{At: now}.Bytes()
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		ways[ask](t, r, u)
		op := r.Waiting(p)
		signed := func(hr string, statement []byte) []byte {
			var body wire.Answer
			if err := json.Unmarshal(answer(t, r, p, op, rig.PIN, func(c *wire.AnswerClaims) { c.HR = hr }), &body); err != nil {
				t.Fatal(err)
			}
			body.Risk = statement
			text, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		for name, c := range map[string]struct {
			body []byte
			want string
		}{
			"stripped":                                  {signed(wire.RiskHash(bad), nil), wire.OpNotHere},
			"forged after signing":                      {signed(wire.RiskHash(bad), clean), wire.OpNotHere},
			"from another answer":                       {signed("", clean), wire.OpNotHere},
			"the same words with a blank":               {signed(wire.RiskHash(clean), append([]byte(" "), clean...)), wire.OpNotHere},
			"a finding of no vocabulary":                {signed(wire.RiskHash([]byte(`{"findings":["none"],"at":1}`)), []byte(`{"findings":["none"],"at":1}`)), wire.Malformed},
			"a member too many, such as who owns it":    {signed(wire.RiskHash([]byte(`{"findings":[],"at":1,"owner":"x"}`)), []byte(`{"findings":[],"at":1,"owner":"x"}`)), wire.Malformed},
			"a hash of nothing that is there, as a lie": {signed(wire.RiskHash([]byte(" ")), nil), wire.OpNotHere},
		} {
			reply := r.Call(p, wire.OpAnswer, c.body, nil)
			if told(reply) != c.want {
				t.Errorf("%s by %s: %s, want %s", name, ask, told(reply), c.want)
			}
			behead(t, r, p, reply)
		}
		if out, decided := r.Decision(op.Txn); decided {
			t.Errorf("%s: decided %+v", ask, out)
		}
		if d := r.Device(p); d.Failures != 0 {
			t.Errorf("%s: %d failures", ask, d.Failures)
		}
	}
}

// A phone that is not accepted and one that is answer at once: one decision, and the
// loser is told.
func TestD23_OfTwoPhonesThatAnswerAtOnceOneDecides(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		u, clean := r.Person()
		rooted := r.Registered(u)
		demand(t, r, map[string]any{"risk": "REQUIRED", "blockFindings": []string{"rooted"}})
		clean.Risk, rooted.Risk = found(), found("rooted")
		for range 8 {
			id := r.Ask(r.Backend, u).Text("auth_req_id")
			phones := []*sdk.Phone{clean, rooted}
			ops := []*wire.Operation{r.Waiting(clean), r.Waiting(rooted)}
			words := rig.Crowd(2, func(i int) string { return rig.Answered(phones[i].Approve(t.Context(), ops[i], rig.PIN, "")) })
			out, _ := r.Decision(ops[0].Txn)
			word := rig.Word(r.Poll(r.Backend, id), nil)
			switch {
			case out.State == operation.Completed && words[0] == "COMPLETED" && words[1] == wire.OpGone && word == "200":
			case out.State == operation.Cancelled && words[0] == wire.OpGone && words[1] == wire.Need && word == "400 access_denied":
			default:
				t.Errorf("%s, the phones are told %v, the client %s", out.State, words, word)
			}
			r.Clock.Advance(31 * time.Second)
		}
	})
}

// Outside operations the PIN is not looked at either: a phone that is not accepted is
// told the same with the right one and with a wrong one, and nothing is counted.
func TestD23_OutsideOperationsABlockedPhoneLearnsNothingOfThePIN(t *testing.T) {
	t.Parallel()
	rig.EachWith(t, identity.Policy{Trusted: true}, func(t *testing.T, r *rig.Rig) {
		p := r.RegisteredAs(r.User(), func(p *sdk.Phone) { p.Platform, p.Bio = "android", &keystoretest.Soft{} })
		demand(t, r, map[string]any{"risk": "REQUIRED", "blockFindings": []string{"hooking"}})
		before := r.Device(p)
		calls := map[string]func(pin string) error{
			wire.OpPIN:    func(pin string) error { return p.ChangePIN(t.Context(), pin, "271828") },
			wire.OpRotate: func(pin string) error { return p.Rotate(t.Context(), pin) },
			wire.OpBioAdd: func(pin string) error { return p.AddBiometry(t.Context(), pin, "x") },
		}
		for call, try := range calls {
			for says, of := range map[string]struct {
				phone         sdk.Risk
				check, detail string
			}{"nothing": {nil, risk.CheckMissing, ""}, "hooking": {found("hooking"), risk.CheckFinding, "hooking"}} {
				for _, pin := range []string{rig.PIN, rig.WrongPIN} {
					p.Risk = of.phone
					e := r.Refused(try(pin), wire.Need)
					if !slices.Equal(e.Need, []string{wire.NeedRisk}) || e.Left != nil || e.Check != "" {
						t.Errorf("%s, says %s: told %+v", call, says, e)
					}
				}
				if !audited(r, "device.risk_blocked", "", of.check, of.detail) {
					t.Errorf("%s, says %s: no audit record", call, says)
				}
			}
			if d := r.Device(p); d.Failures != 0 || d.State != db.DeviceActive || d.DSKThumb != before.DSKThumb || d.DBK != "" || !bytes.Equal(d.KK, before.KK) {
				t.Errorf("%s: %d failures, %s", call, d.Failures, d.State)
			}
		}
		p.Risk = found("vpn")
		if err := p.ChangePIN(t.Context(), rig.WrongPIN, "271828"); rig.Sealed(err) != wire.AuthFailed {
			t.Errorf("a phone that is accepted, with a wrong PIN: %v", err)
		}
		for _, call := range []string{wire.OpBioAdd, wire.OpRotate, wire.OpPIN} {
			if err := calls[call](rig.PIN); err != nil {
				t.Errorf("%s of a phone that is accepted: %v", call, err)
			}
		}
	})
}
