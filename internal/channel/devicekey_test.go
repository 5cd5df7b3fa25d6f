package channel

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"testing"

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

func TestAKeptDeviceKeyIsTheOneThatTheRowHas(t *testing.T) {
	var keys deviceKeys
	one, two := keyText(t), keyText(t)
	for range 2 {
		for _, text := range []string{one, two} {
			key, err := keys.parse(text)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := json.Marshal(key.jwk); string(got) != text {
				t.Errorf("the key of %s is %s", text, got)
			}
			if of, err := wire.FromECDSA(key.pub); err != nil || of != key.jwk {
				t.Errorf("the two forms of a key differ: %v", err)
			}
		}
	}
}

func TestATextThatIsNoKeyIsNeverKept(t *testing.T) {
	var keys deviceKeys
	off := `{"crv":"P-256","kty":"EC","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`
	for _, text := range []string{"", "{}", off} {
		for range 2 {
			if _, err := keys.parse(text); err == nil {
				t.Errorf("%q was taken for a key", text)
			}
		}
	}
	if len(keys.by) != 0 {
		t.Errorf("%d entries are kept", len(keys.by))
	}
}

func TestKeptDeviceKeysAreBounded(t *testing.T) {
	keys := deviceKeys{by: map[string]deviceKey{}}
	for i := range mostKeys {
		keys.by[string(rune(i))] = deviceKey{}
	}
	if _, err := keys.parse(keyText(t)); err != nil {
		t.Fatal(err)
	}
	if len(keys.by) > mostKeys {
		t.Errorf("%d keys are kept, at most %d may be", len(keys.by), mostKeys)
	}
}

func BenchmarkDeviceKey(b *testing.B) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	jwk, err := wire.PublicJWK(private)
	if err != nil {
		b.Fatal(err)
	}
	text, _ := json.Marshal(jwk)
	var kept deviceKeys
	b.Run("kept", func(b *testing.B) {
		for b.Loop() {
			if _, err := kept.parse(string(text)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parsed", func(b *testing.B) {
		for b.Loop() {
			if _, err := new(deviceKeys).parse(string(text)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
