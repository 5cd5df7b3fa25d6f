package evidence

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mobileid/sdk/wire"
)

type vectors struct {
	JWKS json.RawMessage
	Good []struct {
		Name, Token, Hash string
		DeviceKey         string `json:"device_key"`
		Claims            struct {
			Sub, User, Txn string
		}
		Answer struct{ JTI string }
	}
	Bad []struct{ Name, Part, Token string }
}

func load(t testing.TB) (v vectors, set KeySet) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "sdk", "vectors", "evidence.json"))
	if err == nil {
		err = json.Unmarshal(raw, &v)
	}
	if err == nil {
		set, err = ParseKeys(v.JWKS)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v, set
}

func TestGoodEvidenceVerifies(t *testing.T) {
	v, set := load(t)
	for _, g := range v.Good {
		s, err := Verify(g.Token, set, Expect{Issuer: "https://id.example", Audience: "cli_1", DeviceKey: g.DeviceKey})
		if err != nil {
			t.Errorf("%s: %v", g.Name, err)
			continue
		}
		if s.Sub != g.Claims.Sub || s.User != g.Claims.User || s.Txn != g.Claims.Txn || s.Answer.JTI != g.Answer.JTI || s.DeviceKey != g.DeviceKey || Hash(g.Token) != g.Hash {
			t.Errorf("%s: %+v", g.Name, s)
		}
		if len(s.Blocks) != 3 || s.Blocks[0].Text != "Sign the lease" {
			t.Errorf("%s: the view is %+v", g.Name, s.Blocks)
		}
	}
	if len(v.Good) < 4 {
		t.Errorf("%d good vectors", len(v.Good))
	}
}

func TestEachFieldFlippedIsRefusedAndNamed(t *testing.T) {
	v, set := load(t)
	for _, b := range v.Bad {
		_, err := Verify(b.Token, set, Expect{})
		if r, ok := errors.AsType[*Refusal](err); !ok || r.Part != b.Part {
			t.Errorf("%s: %v, want a refusal of %s", b.Name, err, b.Part)
		}
	}
	if len(v.Bad) < 80 {
		t.Errorf("%d bad vectors", len(v.Bad))
	}
}

func TestWhatTheVerifierExpectsIsHeld(t *testing.T) {
	v, set := load(t)
	for part, expect := range map[string]Expect{
		"iss": {Issuer: "https://id.example/"}, "aud": {Audience: "cli_2"}, "cnf": {DeviceKey: v.Good[0].Hash},
	} {
		_, err := Verify(v.Good[0].Token, set, expect)
		if r, ok := errors.AsType[*Refusal](err); !ok || r.Part != part {
			t.Errorf("another %s: %v", part, err)
		}
	}
}

func TestAKeySetThatIsNotWhatWePublishIsRefused(t *testing.T) {
	v, _ := load(t)
	good := string(v.JWKS)
	for name, text := range map[string]string{
		"no keys":            `{"keys":[]}`,
		"not JSON":           `keys`,
		"keys twice":         `{"keys":[],` + good[1:],
		"a key twice":        strings.Replace(good, `"keys": [`, `"keys": [`+firstKey(t, v.JWKS)+`,`, 1),
		"a private key":      strings.Replace(good, `"use": "sig"`, `"use": "sig", "d": "AAAA"`, 1),
		"another curve":      strings.Replace(good, "P-256", "P-384", 1),
		"another algorithm":  strings.Replace(good, "ES256", "RS256", 1),
		"no nbf":             strings.Replace(good, `"nbf"`, `"nbx"`, 1),
		"exp before nbf":     strings.Replace(good, `"exp": `, `"exp": 1, "exq": `, 1),
		"a point off curve":  strings.Replace(good, `"x": "`, `"x": "AAAA`, 1),
		"bytes behind":       good + "{}",
		"a name in capitals": strings.Replace(good, `"kid"`, `"KID"`, 1),
	} {
		if text == good {
			t.Fatalf("%s: nothing was changed in %.200s", name, good)
		}
		if _, err := ParseKeys([]byte(text)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func firstKey(t *testing.T, set []byte) string {
	var v struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(set, &v); err != nil {
		t.Fatal(err)
	}
	return string(v.Keys[0])
}

// signer is an evidence key that fills the form of RFC 7518 section 3.4.
type signer struct {
	kid string
	key *ecdsa.PrivateKey
}

func (s signer) Sign(typ string, payload []byte) (string, error) {
	input := wire.Encode([]byte(`{"alg":"ES256","kid":"`+s.kid+`","typ":"`+typ+`"}`)) + "." + wire.Encode(payload)
	sum := sha256.Sum256([]byte(input))
	r, q, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	sig := make([]byte, 64)
	if err == nil {
		r.FillBytes(sig[:32])
		q.FillBytes(sig[32:])
	}
	return input + "." + wire.Encode(sig), err
}

func TestWhatIsMadeVerifiesAndWhatWouldNotIsNotMade(t *testing.T) {
	v, _ := load(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	published, err := Publish([]Published{{KID: "k", Key: &key.PublicKey, NotBefore: 1}})
	if err != nil {
		t.Fatal(err)
	}
	set, err := ParseKeys(published)
	if err != nil {
		t.Fatal(err)
	}
	_, payload, _ := strings.Cut(v.Good[0].Token, ".")
	raw, err := wire.Decode(payload[:strings.IndexByte(payload, '.')])
	if err != nil {
		t.Fatal(err)
	}
	var c Claims
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	token, err := Make(signer{"k", key}, c)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := Verify(token, set, Expect{}); err != nil || s.View != c.View || s.Content != c.Content || s.KeyID != "k" {
		t.Errorf("%v", err)
	}
	for name, change := range map[string]func(c *Claims){
		"of another user's answer": func(c *Claims) { c.Handle = "x" },
		"of another view":          func(c *Claims) { c.View = `[{"t":"p","text":"x"}]` },
		"without a merchant":       func(c *Claims) { c.Merchant = "" },
		"of half a person":         func(c *Claims) { c.User = "" },
		"of an old answer":         func(c *Claims) { c.Iat += MaxApart + 1 },
		"of other details":         func(c *Claims) { c.AuthorizationDetails = json.RawMessage(`[]`) },
		"of details twice":         func(c *Claims) { c.AuthorizationDetails = json.RawMessage(`[{"a":1,"a":1}]`) },
	} {
		changed := c
		change(&changed)
		if token, err := Make(signer{"k", key}, changed); err == nil {
			t.Errorf("evidence %s is made: %.40s", name, token)
		}
	}
}

func FuzzVerifyNeverTakesWhatWasChanged(f *testing.F) {
	v, set := load(f)
	for _, g := range v.Good {
		f.Add(g.Token)
	}
	for _, b := range v.Bad {
		f.Add(b.Token)
	}
	signed := func(token string) string { return token[:max(0, strings.LastIndexByte(token, '.'))] }
	known := map[string]bool{} // by what was signed: ECDSA has two signatures for each
	for _, g := range v.Good {
		known[signed(g.Token)] = true
	}
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := Verify(token, set, Expect{}); err == nil && !known[signed(token)] {
			t.Errorf("taken: %s", token)
		}
	})
}
