package channel_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/sdk/wire"
)

func TestD_EachSignedClaimIsChecked(t *testing.T) {
	b := newBench(t)
	p := b.register()
	now := b.clk.Now().Unix()
	cases := map[string]struct {
		change func(*wire.Claims)
		want   string
	}{
		"nothing changed":             {func(*wire.Claims) {}, "ok"},
		"another server":              {func(c *wire.Claims) { c.Aud = "https://other.example" }, wire.Malformed},
		"J14 trailing slash in aud":   {func(c *wire.Claims) { c.Aud += "/" }, wire.Malformed},
		"D3 another device":           {func(c *wire.Claims) { c.Iss = "dev_other" }, wire.UnknownKey},
		"no device":                   {func(c *wire.Claims) { c.Iss = "" }, wire.Malformed},
		"unknown call":                {func(c *wire.Claims) { c.Op = "op.steal" }, wire.Malformed},
		"D9 version 2":                {func(c *wire.Claims) { c.V = 2 }, wire.Upgrade},
		"short jti":                   {func(c *wire.Claims) { c.JTI = "x" }, wire.Malformed},
		"jti with a blank":            {func(c *wire.Claims) { c.JTI = strings.Repeat(" ", 22) }, wire.Malformed},
		"D19 clock 9 s ahead":         {func(c *wire.Claims) { c.Iat, c.Exp = now+9, now+69 }, "ok"},
		"D19 clock 11 s ahead":        {func(c *wire.Claims) { c.Iat, c.Exp = now+11, now+71 }, wire.ClockOff},
		"D19 clock an hour behind":    {func(c *wire.Claims) { c.Iat, c.Exp = now-3600, now-3540 }, wire.ClockOff},
		"life of 61 s":                {func(c *wire.Claims) { c.Exp = c.Iat + 61 }, wire.ClockOff},
		"exp before iat":              {func(c *wire.Claims) { c.Exp = c.Iat }, wire.ClockOff},
		"J13 negative times":          {func(c *wire.Claims) { c.Iat, c.Exp = -5, now+5 }, wire.ClockOff},
		"reg.begin in a kid envelope": {func(c *wire.Claims) { c.Op = wire.OpRegFinish }, wire.Malformed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			sent := p.seal(wire.OpList, wire.List{}, c.change)
			sent.Aud = issuer // replies name the server as it is
			r := p.mustSend(sent)
			wantCode(t, r, c.want)
			if c.want == wire.ClockOff && r.Err.Now != now {
				t.Fatalf("now %d", r.Err.Now)
			}
		})
	}
	wantCode(t, p.mustSend(p.seal(wire.OpAnswer, number{1}, func(c *wire.Claims) { c.Head = "" })), wire.Malformed)
	if b.answers.Load() != 0 {
		t.Fatal("a refused call was counted")
	}
}

func TestD3_D11_AStrangersKeyIsTheSameRefusalAsNoDevice(t *testing.T) {
	b := newBench(t)
	p := b.register()
	mallory := &phone{b: b, device: p.device, head: p.head}
	mallory.dsk, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	nobody := &phone{b: b, device: "dev_none", head: p.head, dsk: mallory.dsk}
	one, two := mallory.call(wire.OpAnswer, number{1}), nobody.call(wire.OpAnswer, number{1})
	wantCode(t, one, wire.UnknownKey)
	wantCode(t, two, wire.UnknownKey)
	if one.Head != "" || p.state() != db.DeviceActive || b.answers.Load() != 0 {
		t.Fatal("a stranger moved something")
	}
	wantCode(t, p.call(wire.OpAnswer, number{2}), "ok")
}

func TestD2_ARequestForAnotherServerKeyIsRefused(t *testing.T) {
	b := newBench(t)
	p := b.register()
	sent := p.seal(wire.OpList, wire.List{}, nil)
	b.clk.Advance(17 * time.Minute)
	if _, err := b.srv.RPC(t.Context(), []byte(sent.JWE), ""); !isOuter(err, wire.OuterUnknownKey) {
		t.Fatalf("sealed to a destroyed key: %v", err)
	}
}

func TestTheKeyIsAcceptedForAMinuteAfterItsSuccessorIsHandedOut(t *testing.T) {
	b := newBench(t)
	p := b.register()
	old := b.key()
	b.clk.Advance(15*time.Minute + 5*time.Second)
	if b.key().Kid == old.Kid {
		t.Fatal("the key did not change")
	}
	for _, c := range []struct {
		after time.Duration
		ok    bool
	}{{0, true}, {54 * time.Second, true}, {time.Second, false}} {
		b.clk.Advance(c.after)
		s := p.seal(wire.OpList, wire.List{}, nil)
		jwk, _ := wire.PublicJWK(p.dsk)
		now := b.clk.Now().Unix()
		s, err := wire.SealRequest(wire.Claims{V: 1, Iss: p.device, Aud: issuer, Op: wire.OpList, JTI: s.JTI, Iat: now, Exp: now + 60,
			RK: s.RK, Body: []byte("{}")}, p.dsk, old, rand.Reader)
		if err != nil {
			t.Fatal(err, jwk)
		}
		if _, err := p.send(s); (err == nil) != c.ok {
			t.Fatalf("after %v more: %v", c.after, err)
		}
	}
}

func BenchmarkOpenVerifyReply(b *testing.B) {
	x := newBench(b)
	p := x.register()
	sent := p.seal(wire.OpList, wire.List{}, nil)
	body := []byte(sent.JWE)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.srv.RPC(b.Context(), body, ""); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStateChangingCall(b *testing.B) {
	x := newBench(b)
	x.update(func(tx *db.Tx) error { return nil })
	p := x.register()
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		x.update(func(tx *db.Tx) error { return tx.ClearFailures(p.device) })
		sent := p.seal(wire.OpAnswer, number{1}, nil)
		b.StartTimer()
		out, err := x.srv.RPC(b.Context(), []byte(sent.JWE), "")
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		r, err := wire.OpenReply(sent, out)
		if err != nil || r.Head == "" {
			b.Fatal(err, r)
		}
		p.head = r.Head
		b.StartTimer()
	}
}
