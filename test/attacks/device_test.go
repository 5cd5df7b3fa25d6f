package attacks

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// answer is the body of an op.answer by p, with its proof; change may break the
// claims before they are signed.
func answer(t *testing.T, r *rig.Rig, p *sdk.Phone, op *wire.Operation, pin string, change func(*wire.AnswerClaims)) []byte {
	t.Helper()
	st := r.State(p)
	dsk, err := p.Keys.Signer(st.KeyRef)
	if err != nil {
		t.Fatal(err)
	}
	c := wire.ClaimsFor(op)
	c.Dec, c.Iat, c.JTI = wire.Approve, r.Clock.Now().Unix(), rig.Challenge22
	if change != nil {
		change(&c)
	}
	ans, err := wire.SignAnswer(dsk, c)
	if err != nil {
		t.Fatal(err)
	}
	slow, err := p.Stretch(pin, st.Salt)
	if err != nil {
		t.Fatal(err)
	}
	mac, err := p.Keys.MAC(st.KeyRef, slow)
	if err != nil {
		t.Fatal(err)
	}
	mask, err := wire.Mask(mac)
	if err != nil {
		t.Fatal(err)
	}
	kk, err := wire.Xor(st.Wrapped, mask)
	if err != nil {
		t.Fatal(err)
	}
	kpf := wire.AnswerProof(kk, wire.AnswerHash(ans), op.Chal)
	body, err := json.Marshal(wire.Answer{Ans: ans, KPF: kpf[:]})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func told(reply *wire.Reply) string {
	if reply.Err != nil {
		return reply.Err.Code
	}
	return "ok"
}

func TestD1_ACapturedAnswerActsOnce(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		tap := r.Tapped(p)
		id := r.Ask(r.Backend, u).Text("auth_req_id")
		r.Approve(p, "")
		captured := tap.Last()
		first := r.RPC(captured)
		if second := r.RPC(captured); first.Status != 200 || second.Body != first.Body {
			t.Fatal("the same bytes get different replies")
		}
		is(t, "the client", r.Poll(r.Backend, id), nil, "200")
		// A newer operation is not touched by the older answer.
		again := r.Ask(r.Backend, u).Text("auth_req_id")
		op := r.Waiting(p)
		r.RPC(captured)
		if _, decided := r.Decision(op.Txn); decided {
			t.Fatal("a replay decided another operation")
		}
		// Nor does it act, fork or block once the head has moved on.
		r.Approve(p, "")
		is(t, "the client, again", r.Poll(r.Backend, again), nil, "200")
		r.RPC(captured)
		r.Clock.Advance(2 * time.Minute)
		r.RPC(captured)
		if d := r.Device(p); d.State != db.DeviceActive || d.Failures != 0 {
			t.Fatalf("after replays the device is %s with %d failures", d.State, d.Failures)
		}
		r.Ask(r.Backend, u)
		r.Approve(p, "")
	})
}

func TestD1_ACapturedWrongPINCountsOnce(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	tap := r.Tapped(p)
	r.Ask(r.Backend, u)
	_, err := p.Approve(t.Context(), r.Waiting(p), rig.WrongPIN, "")
	r.Refused(err, wire.AuthFailed)
	captured := tap.Last()
	for range 5 {
		r.RPC(captured)
	}
	if d := r.Device(p); d.Failures != 1 || d.State != db.DeviceActive {
		t.Fatalf("%d failures, %s", d.Failures, d.State)
	}
}

func TestD2_AnAnswerIsForItsOperationAndItsWords(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	match := r.Ask(r.Match, u).Text("mobileid_match_code")
	id := r.Ask(r.Backend, u).Text("auth_req_id")
	ops, err := p.List(t.Context())
	if err != nil || len(ops) != 2 {
		t.Fatal(err, len(ops))
	}
	x, y := &ops[0], &ops[1] // x needs a number, y does not
	if match == "" || x.Match != wire.MatchTyped {
		t.Fatalf("%+v", x)
	}
	for name, change := range map[string]func(*wire.AnswerClaims){
		"another operation":  func(c *wire.AnswerClaims) { c.Txn = x.Txn },
		"another challenge":  func(c *wire.AnswerClaims) { c.Chal = wire.Encode(x.Chal) },
		"another client":     func(c *wire.AnswerClaims) { c.Aud = x.ClientID },
		"another handle":     func(c *wire.AnswerClaims) { c.Iss = x.Handle },
		"another view":       func(c *wire.AnswerClaims) { c.HV = wire.ClaimsFor(x).HV },
		"other data":         func(c *wire.AnswerClaims) { c.HD = c.HV },
		"another template":   func(c *wire.AnswerClaims) { c.Tpl = "login/2" },
		"another language":   func(c *wire.AnswerClaims) { c.Lang = "de" },
		"another flow":       func(c *wire.AnswerClaims) { c.Flow = x.Flow },
		"another way in":     func(c *wire.AnswerClaims) { c.UI = wire.UIQR },
		"a browser's proof":  func(c *wire.AnswerClaims) { c.CV = rig.Challenge22 },
		"an operation of no": func(c *wire.AnswerClaims) { c.Txn = "op_none" },
	} {
		reply := r.Call(p, wire.OpAnswer, answer(t, r, p, y, rig.PIN, change), nil)
		if told(reply) != wire.OpNotHere {
			t.Errorf("%s: %s", name, told(reply))
		}
		behead(t, r, p, reply)
	}
	for _, op := range ops {
		if _, decided := r.Decision(op.Txn); decided {
			t.Fatalf("%s was decided", op.Flow)
		}
	}
	// The proof of one answer under another answer is a wrong PIN.
	var a, b wire.Answer
	if json.Unmarshal(answer(t, r, p, y, rig.PIN, nil), &a) != nil ||
		json.Unmarshal(answer(t, r, p, y, rig.PIN, func(c *wire.AnswerClaims) { c.Iat++ }), &b) != nil {
		t.Fatal("bodies")
	}
	a.KPF = b.KPF
	body, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	reply := r.Call(p, wire.OpAnswer, body, nil)
	if told(reply) != wire.AuthFailed {
		t.Errorf("a proof moved to another answer: %s", told(reply))
	}
	behead(t, r, p, reply)
	if reply := r.Call(p, wire.OpAnswer, answer(t, r, p, y, rig.PIN, nil), nil); told(reply) != "ok" {
		t.Fatalf("the right answer: %s", told(reply))
	}
	is(t, "the client", r.Poll(r.Backend, id), nil, "200")
}

// behead gives the phone the head of a reply to a call made by hand.
func behead(t *testing.T, r *rig.Rig, p *sdk.Phone, reply *wire.Reply) {
	t.Helper()
	if reply.Head == "" {
		return
	}
	st := r.State(p)
	st.Head = reply.Head
	if err := p.Store.Save(st); err != nil {
		t.Fatal(err)
	}
}

func TestD3_AnotherUsersOperationIsNotHere(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	alice, a := r.Person()
	bob, b := r.Person()
	r.Ask(r.Backend, alice)
	op := r.Waiting(a)
	if ops, err := b.List(t.Context()); err != nil || len(ops) != 0 {
		t.Fatalf("bob is shown %d operations, %v", len(ops), err)
	}
	// Whatever bob may find out of alice's operation: all but his own name is hers.
	r.Ask(r.Backend, bob)
	forged, none := *op, *op
	forged.Handle, none.Txn = r.Waiting(b).Handle, "op_none"
	var words []string
	for _, of := range []*wire.Operation{op, &forged, &none} {
		_, err := b.Approve(t.Context(), of, rig.PIN, "")
		words = append(words, r.Refused(err, wire.OpNotHere).Error())
		_, err = b.Decline(t.Context(), of, true)
		words = append(words, r.Refused(err, wire.OpNotHere).Error())
	}
	// After its end it is no more bob's than before.
	r.Approve(a, "")
	_, err := b.Approve(t.Context(), op, rig.PIN, "")
	words = append(words, r.Refused(err, wire.OpNotHere).Error())
	for _, w := range words {
		if w != words[0] {
			t.Fatalf("told apart: %q", words)
		}
	}
	if d := r.Device(b); d.Failures != 0 || r.Reread(bob).FailCount != 0 {
		t.Fatal("a failure was counted")
	}
}

func TestD3_AnOperationForOnePhoneIsNotTheOthers(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, one := r.Person()
	two := r.Registered(u)
	r.Ask(r.Backend, u, "login_hint", "userId:"+u.ID+" deviceId:"+r.State(two).Device)
	op := r.Waiting(two)
	if ops, err := one.List(t.Context()); err != nil || len(ops) != 0 {
		t.Fatalf("the other phone is shown %d, %v", len(ops), err)
	}
	_, err := one.Approve(t.Context(), op, rig.PIN, "")
	r.Refused(err, wire.OpNotHere)
	r.Approve(two, "")
	r.Ask(r.Backend, u)
	handle := r.Waiting(one).Handle
	r.Ask(r.Backend, u, "login_hint", "userId:"+u.ID+" deviceId:"+r.State(two).Device)
	op = r.Waiting(two)
	op.Handle = handle
	_, err = one.Approve(t.Context(), op, rig.PIN, "")
	r.Refused(err, wire.OpNotHere)
}

func TestD4_APhoneInAnotherStateIsRefused(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	for state, want := range map[string]string{
		db.DeviceLocked: wire.DeviceBlocked, db.DeviceSuspended: wire.Fork, db.DeviceDeactivated: wire.DeviceRemoved,
	} {
		u, p := r.Person()
		id := r.Ask(r.Backend, u).Text("auth_req_id")
		op := r.Waiting(p)
		r.SetDevice(p, state)
		_, err := p.Approve(t.Context(), op, rig.PIN, "")
		r.Refused(err, want)
		_, err = p.List(t.Context())
		r.Refused(err, want)
		if _, decided := r.Decision(op.Txn); decided {
			t.Errorf("%s: decided", state)
		}
		if d := r.Device(p); d.Failures != 0 || d.State != state {
			t.Errorf("%s: became %s with %d failures", state, d.State, d.Failures)
		}
		r.Clock.Advance(180 * time.Second)
		is(t, state, r.Poll(r.Backend, id), nil, "400 expired_token")
	}
}

func TestD4_APhoneThatIsNotConfirmedYetIsRefused(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, active := r.Person()
	a := r.REST("POST", "/registrations", map[string]any{"userId": u.ID, "confirmation": "digits", "proofing": map[string]any{"reference": "case-1"}})
	p := r.Phone()
	if _, err := p.Register(t.Context(), a.Text("link")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Finish(t.Context(), rig.PIN); err != nil {
		t.Fatal(err)
	}
	r.Ask(r.Backend, u)
	op := r.Waiting(active)
	if got := told(r.Call(p, wire.OpAnswer, answer(t, r, p, op, rig.PIN, nil), nil)); got != wire.DevicePending {
		t.Errorf("answer: %s", got)
	}
	if got := told(r.Call(p, wire.OpList, []byte("{}"), func(c *wire.Claims) { c.Head = "" })); got != wire.DevicePending {
		t.Errorf("list: %s", got)
	}
	if _, decided := r.Decision(op.Txn); decided {
		t.Error("decided")
	}
}

// B9: a phone taken away between its approval and the token.
func TestB9_APhoneWithdrawnBetweenApprovalAndTokenGivesNone(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	for _, state := range []string{db.DeviceLocked, db.DeviceSuspended, db.DeviceDeactivated} {
		u, p := r.Person()
		id := r.Ask(r.Backend, u).Text("auth_req_id")
		r.Approve(p, "")
		r.Clock.Advance(time.Second)
		r.SetDevice(p, state)
		is(t, state, r.Poll(r.Backend, id), nil, "400 invalid_grant")
	}
}

func TestD9_OtherVersionsAndAlgorithmsAreRefused(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	_, p := r.Person()
	for _, v := range []int{0, 2, 99, -1} {
		reply := r.Call(p, wire.OpList, []byte("{}"), func(c *wire.Claims) { c.V, c.Head = v, "" })
		if told(reply) != wire.Upgrade || reply.Err.Min != 1 {
			t.Errorf("version %d: %+v", v, reply.Err)
		}
	}
	good := r.Seal(p, wire.OpList, []byte("{}"), func(c *wire.Claims) { c.Head = "" }).JWE
	_, rest, _ := strings.Cut(good, ".")
	head := func(change func(map[string]any)) string {
		raw, _ := wire.Decode(good[:len(good)-len(rest)-1])
		var h map[string]any
		if err := json.Unmarshal(raw, &h); err != nil {
			t.Fatal(err)
		}
		change(h)
		text, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		return wire.Encode(text) + "." + rest
	}
	for name, c := range map[string]struct {
		change func(map[string]any)
		want   string
	}{
		"J7 PBES2":         {func(h map[string]any) { h["alg"], h["p2c"] = "PBES2-HS256+A128KW", 1<<31 }, wire.OuterUnsupportedSuite},
		"RSA1_5":           {func(h map[string]any) { h["alg"] = "RSA1_5" }, wire.OuterUnsupportedSuite},
		"dir":              {func(h map[string]any) { h["alg"] = "dir" }, wire.OuterUnsupportedSuite},
		"none":             {func(h map[string]any) { h["alg"] = "none" }, wire.OuterUnsupportedSuite},
		"no alg":           {func(h map[string]any) { delete(h, "alg") }, wire.OuterUnsupportedSuite},
		"J16 CBC":          {func(h map[string]any) { h["enc"] = "A128CBC-HS256" }, wire.OuterUnsupportedSuite},
		"a weaker GCM":     {func(h map[string]any) { h["enc"] = "A128GCM" }, wire.OuterUnsupportedSuite},
		"J6 zip":           {func(h map[string]any) { h["zip"] = "DEF" }, wire.OuterMalformed},
		"J5 crit":          {func(h map[string]any) { h["crit"] = []string{"exp"} }, wire.OuterMalformed},
		"J4 jku":           {func(h map[string]any) { h["jku"] = "https://evil.example/jwks" }, wire.OuterMalformed},
		"J4 jwk":           {func(h map[string]any) { h["jwk"] = h["epk"] }, wire.OuterMalformed},
		"J4 x5u":           {func(h map[string]any) { h["x5u"] = "https://evil.example/c" }, wire.OuterMalformed},
		"another typ":      {func(h map[string]any) { h["typ"] = "mid-res+jwe" }, wire.OuterMalformed},
		"J3 kid: a path":   {func(h map[string]any) { h["kid"] = "../../etc/passwd" }, wire.OuterUnknownKey},
		"J3 kid: SQL":      {func(h map[string]any) { h["kid"] = "' OR 1=1 --" }, wire.OuterUnknownKey},
		"J3 kid: 1 kB":     {func(h map[string]any) { h["kid"] = strings.Repeat("a", 1000) }, wire.OuterMalformed},
		"J3 kid: a number": {func(h map[string]any) { h["kid"] = 1 }, wire.OuterMalformed},
	} {
		if a := r.RPC(head(c.change)); a.Text("code") != c.want || a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s, want %s", name, a, c.want)
		}
	}
}
