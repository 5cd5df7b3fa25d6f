package channel

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"testing"

	"mobileid/internal/db"
	"mobileid/sdk/wire"
)

func keyText(t *testing.T) string {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := wire.PublicJWK(private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(jwk)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func callerWith(text string) db.Caller {
	return db.Caller{Device: db.Device{ID: "dev_1", State: db.DeviceActive, DSKThumb: "thumb", DSK: text, Chain: db.Chain{LastReply: []byte("x")}}}
}

func TestAKeptKeyIsTheOneThatTheRowHas(t *testing.T) {
	var kept callers
	one, two := keyText(t), keyText(t)
	for range 2 {
		for _, text := range []string{one, two, two} {
			c, err := kept.keep(callerWith(text))
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := json.Marshal(c.jwk); string(got) != text {
				t.Errorf("the key of %s is %s", text, got)
			}
			if of, err := wire.FromECDSA(c.pub); err != nil || of != c.jwk {
				t.Errorf("the two forms of a key differ: %v", err)
			}
			if kept.find("thumb") != c || c.dev.Chain.LastReply != nil {
				t.Error("not kept, or with its chain")
			}
		}
	}
}

func TestATextThatIsNoKeyIsNeverKept(t *testing.T) {
	var kept callers
	off := `{"crv":"P-256","kty":"EC","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`
	for _, text := range []string{"", "{}", off} {
		for range 2 {
			if _, err := kept.keep(callerWith(text)); err == nil {
				t.Errorf("%q was taken for a key", text)
			}
		}
	}
	if len(kept.by) != 0 {
		t.Errorf("%d entries are kept", len(kept.by))
	}
}

func TestOnlyAnActiveDeviceIsKept(t *testing.T) {
	var kept callers
	c := callerWith(keyText(t))
	for _, state := range []string{db.DeviceActive, db.DeviceBlocked} {
		c.State = state
		if _, err := kept.keep(c); err != nil {
			t.Fatal(err)
		}
		if have := kept.find("thumb") != nil; have != (state == db.DeviceActive) {
			t.Errorf("%s: kept %v", state, have)
		}
	}
}

func TestKeptCallersAreBounded(t *testing.T) {
	kept := callers{by: map[string]*caller{}}
	for i := range mostCallers {
		kept.by[string(rune(i))] = &caller{}
	}
	if _, err := kept.keep(callerWith(keyText(t))); err != nil {
		t.Fatal(err)
	}
	if len(kept.by) > mostCallers {
		t.Errorf("%d are kept, at most %d may be", len(kept.by), mostCallers)
	}
}
