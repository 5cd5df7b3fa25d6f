package attestation

import (
	"crypto/sha256"
	"testing"
	"time"

	"mobileid/internal/attestation/attesttest"
)

// Whatever the bytes, the parsers return; what they take says what was asked.
func FuzzDescription(f *testing.F) {
	m := attesttest.New(f, time.Unix(1_800_000_000, 0))
	k := attesttest.Sound([32]byte{1}, "com.example.bank", make([]byte, 32))
	f.Add(m.Description(k))
	k.AllApplications, k.NoRoot = true, true
	f.Add(m.Description(k))
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, der []byte) {
		d, err := parseDescription(der)
		if err == nil && enforced(&d.Hardware) == nil && (d.Hardware.root == nil || !d.Hardware.root.Locked) {
			t.Error("an unlocked phone passes")
		}
	})
}

func FuzzObject(f *testing.F) {
	m := attesttest.New(f, time.Unix(1_800_000_000, 0))
	good := m.Apple(attesttest.AppAttest{App: "TEAM.app"})
	f.Add(good)
	f.Add(good[:100])
	f.Add([]byte{0xbf, 0xff})
	self := &Verifier{Apple: m.Pool()}
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := parseObject(raw)
		if err != nil {
			return
		}
		parseAuthData(o.AuthData)
		want := Expect{Challenge: sha256.Sum256([]byte("never attested")), Now: m.From.AddDate(1, 0, 0), AppleApps: []string{"TEAM.app"}}
		if res := self.Verify(&Statement{Format: AppleAppAttest, Object: raw}, want); res.Level != Failed {
			t.Errorf("another challenge passes: %+v", res)
		}
	})
}
