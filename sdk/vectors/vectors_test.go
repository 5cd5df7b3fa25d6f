package vectors

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"testing"

	"mobileid/sdk/wire"
)

// load reads a vector file the way any other language would.
func load[T any](t *testing.T, name string) T {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

type private struct {
	D wire.Bytes `json:"d"`
}

func (p private) ecdsa(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), p.D)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func same(t *testing.T, what string, got []byte, want wire.Bytes) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got %s, want %s", what, wire.Encode(got), wire.Encode(want))
	}
}

func TestTheFilesAreWhatTheCommandMakes(t *testing.T) {
	for name, want := range Files() {
		got, err := os.ReadFile(name)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is out of date (go run ./sdk/vectors/gen): %v", name, err)
		}
	}
}

func TestFormulas(t *testing.T) {
	v := load[struct {
		Fields struct {
			Parts  []string `json:"parts_hex"`
			Joined string   `json:"joined_hex"`
		} `json:"fields"`
		Thumbprint struct {
			DSK  wire.JWK   `json:"dsk"`
			DSKT wire.Bytes `json:"dsk_thumbprint"`
			SSK  wire.JWK   `json:"ssk"`
			SSKT wire.Bytes `json:"ssk_thumbprint"`
			URI  string     `json:"uri"`
		} `json:"thumbprint"`
		Registration struct {
			NP, FC, Secret wire.Bytes
			EK, JTI, Code  string
			BySecret       wire.Bytes `json:"tm_by_secret"`
			ByCode         wire.Bytes `json:"tm_by_code"`
			Ticket         string
			Att            wire.Bytes `json:"attestation_challenge"`
			AppAtt         wire.Bytes `json:"app_attest_hash"`
		} `json:"registration"`
		Commit struct {
			NP, NS         wire.Bytes
			Device, Digits string
		} `json:"commit"`
		PIN struct {
			PIN                   string
			Salt, DHK, Mask, HMAC wire.Bytes
			PBKDF2, KK, Wrapped   wire.Bytes
			Wrong                 string     `json:"wrong_pin"`
			KKByWrong             wire.Bytes `json:"kk_by_wrong_pin"`
		} `json:"pin"`
		Call struct {
			Op, Body, JTI, Head string
			KK, KPF             wire.Bytes
		}
		Knowledge struct {
			Ans           string
			Chal, KK, KPF wire.Bytes
		} `json:"knowledge"`
		SameDevice struct{ V, CV wire.Bytes } `json:"same_device"`
	}](t, "formulas.json")
	var parts [][]byte
	for _, p := range v.Fields.Parts {
		b, _ := hex.DecodeString(p)
		parts = append(parts, b)
	}
	if got := hex.EncodeToString(wire.Fields(parts...)); got != v.Fields.Joined {
		t.Errorf("fields: %s", got)
	}
	dt, st := v.Thumbprint.DSK.Thumbprint(), v.Thumbprint.SSK.Thumbprint()
	same(t, "DSK thumbprint", dt[:], v.Thumbprint.DSKT)
	same(t, "SSK thumbprint", st[:], v.Thumbprint.SSKT)
	if v.Thumbprint.DSK.ThumbprintURI() != v.Thumbprint.URI {
		t.Error("thumbprint URI")
	}
	r := v.Registration
	fc := wire.Commitment(r.NP)
	same(t, "fc", fc[:], r.FC)
	tm := wire.TicketMAC(r.Secret, r.EK, r.JTI, dt, fc)
	same(t, "tm by secret", tm[:], r.BySecret)
	tm = wire.TicketMAC([]byte(r.Code), r.EK, r.JTI, dt, fc)
	same(t, "tm by code", tm[:], r.ByCode)
	att, app := wire.AttestationChallenge(r.EK, r.Ticket), wire.AppAttestHash(r.EK, r.Ticket, dt)
	same(t, "attestation challenge", att[:], r.Att)
	same(t, "App Attest's hash", app[:], r.AppAtt)
	if got := wire.CommitDigits(v.Commit.NP, v.Commit.NS, dt, st, v.Commit.Device); got != v.Commit.Digits {
		t.Errorf("digits %s", got)
	}
	slow, err := wire.Stretch(v.PIN.PIN, v.PIN.Salt)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "PBKDF2", slow, v.PIN.PBKDF2)
	mask, err := wire.Mask(v.PIN.HMAC)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "mask", mask, v.PIN.Mask)
	kk, err := wire.Xor(v.PIN.Wrapped, mask)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "KK", kk, v.PIN.KK)
	if len(v.PIN.KKByWrong) != 32 || bytes.Equal(v.PIN.KKByWrong, v.PIN.KK) {
		t.Error("a wrong PIN")
	}
	body := wire.PINChange{KPF: wire.Secret(v.Call.KPF)}
	if err := wire.Unmarshal([]byte(v.Call.Body), &body); err != nil {
		t.Error(err)
	}
	unproven, err := body.Unproven()
	if err != nil || string(unproven) != v.Call.Body {
		t.Errorf("the body without its proof: %s, %v", unproven, err)
	}
	call := wire.CallProof(v.Call.KK, v.Call.Op, unproven, v.Call.JTI, v.Call.Head)
	same(t, "kpf of a call", call[:], v.Call.KPF)
	kpf := wire.AnswerProof(v.Knowledge.KK, wire.AnswerHash(v.Knowledge.Ans), v.Knowledge.Chal)
	same(t, "kpf", kpf[:], v.Knowledge.KPF)
	cv := wire.BrowserProof(v.SameDevice.V)
	same(t, "cv", cv[:], v.SameDevice.CV)
}

type named struct {
	Name   string `json:"name"`
	Outer  string `json:"outer"`
	Sealed string `json:"sealed"`
	Expect string `json:"expect"`
	JWE    string `json:"jwe"`
	JWS    string `json:"jws"`
	Ans    string `json:"ans"`
	View   string `json:"view"`
	Text   string `json:"text"`
	RH     string `json:"rh"`
}

func TestRequests(t *testing.T) {
	v := load[struct {
		Server, Device string
		Now            int64
		TEK, DSK       private
		Good, Bad      []named
	}](t, "request.json")
	tek, err := ecdh.P256().NewPrivateKey(v.TEK.D)
	if err != nil {
		t.Fatal(err)
	}
	kid := wire.FromECDH(tek.PublicKey()).KeyID()
	pub := &v.DSK.ecdsa(t).PublicKey
	// The server's checks as far as they need no state.
	judge := func(jwe string) (outer, sealed string, r *wire.Request) {
		env, err := wire.ParseEnvelope([]byte(jwe))
		if err == nil && env.Kid != kid {
			err = &wire.Outer{Code: wire.OuterUnknownKey}
		}
		if err == nil {
			r, err = env.Open(tek)
		}
		var o *wire.Outer
		var e *wire.Error
		switch {
		case errors.As(err, &o):
			return o.Code, "", nil
		case errors.As(err, &e):
			return "", e.Code, r
		case r.Op != wire.OpRegBegin && r.Iss != v.Device, !r.Verify(pub):
			return "", wire.UnknownKey, r
		case r.Aud != v.Server, r.Op != wire.OpRegBegin && r.Op != wire.OpAnswer:
			return "", wire.Malformed, r
		}
		if _, err := wire.Decode32(r.Head); err != nil && r.Op == wire.OpAnswer {
			return "", wire.Malformed, r
		}
		if r.Iat > v.Now+wire.Ahead || r.Exp <= v.Now || r.Exp > r.Iat+wire.RequestLife {
			return "", wire.ClockOff, r
		}
		return "", "", r
	}
	for _, g := range v.Good {
		outer, sealed, r := judge(g.JWE)
		if outer != "" || sealed != "" || wire.Encode(r.RH[:]) != g.RH {
			t.Errorf("%s: %s%s", g.Name, outer, sealed)
		}
	}
	for _, b := range v.Bad {
		outer, sealed, r := judge(b.JWE)
		if outer != b.Outer || sealed != b.Sealed {
			t.Errorf("%s: got outer %q sealed %q, want %q %q", b.Name, outer, sealed, b.Outer, b.Sealed)
		}
		if sealed != "" && len(r.RK) != wire.KeySize {
			t.Errorf("%s: no key to seal the error under", b.Name)
		}
	}
}

func TestReplies(t *testing.T) {
	v := load[struct {
		RK             wire.Secret
		Server, Device string
		JTI, RH        string
		Good, Bad      []named
	}](t, "reply.json")
	sent := &wire.Sent{RK: v.RK, Aud: v.Server, Iss: v.Device, Try: wire.Try{JTI: v.JTI, RH: v.RH}}
	for i, g := range v.Good {
		if _, err := wire.OpenReply(sent, []byte(g.JWE)); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	for _, b := range v.Bad {
		if _, err := wire.OpenReply(sent, []byte(b.JWE)); err == nil {
			t.Errorf("%s: accepted", b.Name)
		}
	}
}

func TestKeySets(t *testing.T) {
	v := load[struct {
		Iss, Pin, C, Good string
		Bad               []named
	}](t, "keyset.json")
	if _, _, err := wire.OpenKeySet(v.Good, v.Iss, v.Pin, v.C); err != nil {
		t.Error(err)
	}
	for _, b := range v.Bad {
		if _, _, err := wire.OpenKeySet(b.JWS, v.Iss, v.Pin, v.C); err == nil {
			t.Errorf("%s: accepted", b.Name)
		}
	}
}

func TestD2_AnAnswerCountsForItsOwnOperationOnly(t *testing.T) {
	v := load[struct {
		DSK            private
		Kid, Ans       string
		Operation      wire.Operation
		KK, KPF        wire.Bytes
		OtherChallenge wire.Bytes `json:"kpf_of_another_challenge"`
		NoPrefix       wire.Bytes `json:"kpf_without_its_prefix"`
		Bad            []named
		InApp          string `json:"ans_in_app"`
		Risk           wire.Bytes
		Risky          string `json:"ans_with_risk"`
	}](t, "answer.json")
	pub := &v.DSK.ecdsa(t).PublicKey
	judgeWith := func(ans string, risk []byte) string {
		got, err := wire.VerifyAnswer(ans, v.Kid, pub)
		if err != nil {
			return "refused"
		}
		want := wire.ClaimsFor(&v.Operation)
		want.Dec, want.Iat, want.JTI, want.HR = got.Dec, got.Iat, got.JTI, wire.RiskHash(risk)
		if got != want {
			return "differs"
		}
		return ""
	}
	judge := func(ans string) string { return judgeWith(ans, nil) }
	if got := judge(v.Ans); got != "" {
		t.Error(got)
	}
	// D23: a statement that was taken out, put in or changed.
	other := append(bytes.Clone(v.Risk[:len(v.Risk)-1]), ' ', '}')
	if a, b, c, d := judgeWith(v.Risky, v.Risk), judge(v.Risky), judgeWith(v.Ans, v.Risk), judgeWith(v.Risky, other); a != "" || b != "differs" || c != "differs" || d != "differs" {
		t.Errorf("with a statement %q, stripped %q, added %q, forged %q", a, b, c, d)
	}
	if got := judge(v.InApp); got != "differs" {
		t.Errorf("an answer by claim, for an operation that is listed: %q", got)
	}
	byClaim := v.Operation
	byClaim.Flow, byClaim.UI = "app", wire.UIApp
	v.Operation, byClaim = byClaim, v.Operation
	if got := judge(v.InApp); got != "" {
		t.Errorf("an answer by claim: %q", got)
	}
	v.Operation = byClaim
	for _, b := range v.Bad {
		if got := judge(b.Ans); got != b.Expect {
			t.Errorf("%s: %q", b.Name, got)
		}
	}
	kpf := wire.AnswerProof(v.KK, wire.AnswerHash(v.Ans), v.Operation.Chal)
	same(t, "kpf", kpf[:], v.KPF)
	if wire.Equal(kpf[:], v.OtherChallenge) || wire.Equal(kpf[:], v.NoPrefix) {
		t.Error("a proof for something else is equal")
	}
}

func TestRiskStatements(t *testing.T) {
	v := load[struct {
		Good []struct {
			Statement, HR string
			Claims        wire.Risk
		}
		Bad []struct{ Name, Statement string }
	}](t, "risk.json")
	for _, g := range v.Good {
		got, err := wire.ParseRisk([]byte(g.Statement))
		if err != nil || !reflect.DeepEqual(*got, g.Claims) || wire.RiskHash([]byte(g.Statement)) != g.HR {
			t.Errorf("%s: %+v, %v", g.Statement, got, err)
			continue
		}
		if again, err := got.Bytes(); err != nil || string(again) != g.Statement {
			t.Errorf("made again: %s, %v", again, err)
		}
	}
	for _, b := range v.Bad {
		if got, err := wire.ParseRisk([]byte(b.Statement)); err == nil {
			t.Errorf("%s: accepted as %+v", b.Name, got)
		}
	}
}

func TestViews(t *testing.T) {
	v := load[struct{ Good, Bad []named }](t, "view.json")
	for _, g := range v.Good {
		blocks, err := wire.ParseView([]byte(g.View))
		if err != nil || wire.ViewText(blocks) != g.Text {
			t.Errorf("%s: %q, %v", g.View, wire.ViewText(blocks), err)
		}
		if again, err := wire.ViewBytes(blocks); err != nil || string(again) != g.View {
			t.Errorf("made again: %s, %v", again, err)
		}
	}
	for _, b := range v.Bad {
		if blocks, err := wire.ParseView([]byte(b.View)); err == nil {
			t.Errorf("%s: accepted as %+v", b.Name, blocks)
		}
	}
}

func TestLinks(t *testing.T) {
	v := load[struct {
		Good struct {
			Link, Origin, Ticket, Pin string
			Secret                    wire.Bytes
		}
		Bad         []string
		Locators    []struct{ Typed, Locator string }
		BadLocators []string `json:"bad_locators"`
		StartTokens []struct {
			Token, Txn string
			App        wire.Bytes
		} `json:"start_tokens"`
		BadStartTokens []string `json:"bad_start_tokens"`
	}](t, "link.json")
	got, err := wire.ParseLink(v.Good.Link)
	if err != nil || got.Origin != v.Good.Origin || got.ID != v.Good.Ticket || got.Pin != v.Good.Pin || got.Link() != v.Good.Link {
		t.Errorf("%+v %v", got, err)
	}
	same(t, "secret", got.Secret, v.Good.Secret)
	for _, l := range v.Bad {
		if _, err := wire.ParseLink(l); err == nil {
			t.Errorf("%s: accepted", l)
		}
	}
	for _, l := range v.Locators {
		if got, err := wire.Locator(l.Typed); err != nil || got != l.Locator {
			t.Errorf("%s: %s %v", l.Typed, got, err)
		}
	}
	for _, s := range v.StartTokens {
		got, err := wire.ParseStartToken(s.Token)
		if err != nil || got.Txn != s.Txn || wire.StartToken(s.Txn, s.App) != s.Token {
			t.Errorf("%s: %s %v", s.Token, got.Txn, err)
		}
		same(t, "start token", got.App, s.App)
	}
	for _, s := range v.BadStartTokens {
		if got, err := wire.ParseStartToken(s); err == nil {
			t.Errorf("%s: %s", s, got.Txn)
		}
	}
	for _, l := range v.BadLocators {
		if got, err := wire.Locator(l); err == nil {
			t.Errorf("%s: %s", l, got)
		}
	}
}
