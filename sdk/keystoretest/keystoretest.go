// Package keystoretest is the contract of sdk.Keystore and sdk.Biometry as tests
// that an implementation runs, and a Biometry in memory for tests of apps.
package keystoretest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"testing"

	"mobileid/sdk"
	"mobileid/sdk/wire"
)

// Keystore tests what open returns: each call opens the same keystore anew, as
// after a restart of the app.
func Keystore(t *testing.T, open func() sdk.Keystore) {
	t.Run("DSK signs SHA-256 by ES256", func(t *testing.T) {
		ref := created(t, open())
		signs(t, signer(t, open(), ref))
	})
	t.Run("a key pair is the same after a restart", func(t *testing.T) {
		ref := created(t, open())
		a, b := signer(t, open(), ref), signer(t, open(), ref)
		if !a.Public().(*ecdsa.PublicKey).Equal(b.Public()) || !bytes.Equal(mac(t, open(), ref, "x"), mac(t, open(), ref, "x")) {
			t.Error("another pair")
		}
	})
	t.Run("two pairs have nothing in common", func(t *testing.T) {
		one, two := created(t, open()), created(t, open())
		if one == two || signer(t, open(), one).Public().(*ecdsa.PublicKey).Equal(signer(t, open(), two).Public()) {
			t.Error("the same DSK")
		}
		if bytes.Equal(mac(t, open(), one, "x"), mac(t, open(), two, "x")) {
			t.Error("the same DHK")
		}
	})
	t.Run("DHK is a MAC of 32 bytes over all of the data", func(t *testing.T) {
		ref := created(t, open())
		seen := map[string]bool{}
		for _, data := range []string{"", "x", "y", "xy", string(make([]byte, 32)), string(make([]byte, 33))} {
			m := mac(t, open(), ref, data)
			if len(m) != sha256.Size || seen[string(m)] {
				t.Errorf("%q: %x", data, m)
			}
			seen[string(m)] = true
		}
	})
	t.Run("D24 no private half is given out", func(t *testing.T) { hides(t, signer(t, open(), created(t, open()))) })
	t.Run("a deleted pair is gone, and only it", func(t *testing.T) {
		one, two := created(t, open()), created(t, open())
		for range 2 { // no error if it is gone
			if err := open().Delete(one); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := open().Signer(one); err == nil {
			t.Error("DSK is there")
		}
		if _, err := open().MAC(one, nil); err == nil {
			t.Error("DHK is there")
		}
		signs(t, signer(t, open(), two))
	})
	t.Run("a name of nothing is an error", func(t *testing.T) {
		if _, err := open().Signer("nothing"); err == nil {
			t.Error("a DSK")
		}
		if _, err := open().MAC("nothing", nil); err == nil {
			t.Error("a DHK")
		}
	})
}

// Sensor is the finger of a test, on a device by hand.
type Sensor interface {
	Enrol()               // another finger is enrolled
	Present(present bool) // whether a finger that is enrolled will be shown when asked
}

// Biometry tests what open returns, like Keystore.
func Biometry(t *testing.T, open func() sdk.Biometry, s Sensor) {
	fresh := func(t *testing.T) string {
		t.Helper()
		s.Present(true)
		ref, err := open().Create()
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}
	digest := sha256.Sum256([]byte("x"))
	t.Run("DBK signs SHA-256 by ES256 for who is enrolled", func(t *testing.T) {
		ref := fresh(t)
		pub, err := open().Public(ref)
		if err != nil || pub.Curve != elliptic.P256() {
			t.Fatal(err)
		}
		sig, err := open().Sign(ref, "Test", digest[:])
		if err != nil || !ecdsa.VerifyASN1(pub, digest[:], sig) {
			t.Fatal(err)
		}
	})
	t.Run("nobody's finger signs nothing, and harms nothing", func(t *testing.T) {
		ref := fresh(t)
		s.Present(false)
		if sig, err := open().Sign(ref, "Test", digest[:]); !errors.Is(err, sdk.ErrCancelled) || sig != nil {
			t.Fatalf("%x, %v", sig, err)
		}
		s.Present(true)
		if _, err := open().Sign(ref, "Test", digest[:]); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("another finger enrolled destroys the key", func(t *testing.T) {
		ref := fresh(t)
		s.Enrol()
		if _, err := open().Sign(ref, "Test", digest[:]); !errors.Is(err, sdk.ErrInvalidated) {
			t.Error(err)
		}
		if _, err := open().Public(ref); !errors.Is(err, sdk.ErrInvalidated) {
			t.Error(err)
		}
		if _, err := open().Sign(fresh(t), "Test", digest[:]); err != nil {
			t.Errorf("a key that was made since: %v", err)
		}
	})
	t.Run("a deleted key is gone", func(t *testing.T) {
		one, two := fresh(t), fresh(t)
		for range 2 {
			if err := open().Delete(one); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := open().Sign(one, "Test", digest[:]); !errors.Is(err, sdk.ErrInvalidated) {
			t.Error(err)
		}
		if _, err := open().Sign(two, "Test", digest[:]); err != nil {
			t.Error(err)
		}
	})
}

func created(t *testing.T, k sdk.Keystore) string {
	t.Helper()
	ref, err := k.Create()
	if err != nil || ref == "" {
		t.Fatal(ref, err)
	}
	return ref
}

func signer(t *testing.T, k sdk.Keystore, ref string) crypto.Signer {
	t.Helper()
	s, err := k.Signer(ref)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mac(t *testing.T, k sdk.Keystore, ref, data string) []byte {
	t.Helper()
	m, err := k.MAC(ref, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func signs(t *testing.T, s crypto.Signer) {
	t.Helper()
	if _, err := wire.PublicJWK(s); err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("x"))
	sig, err := s.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil || !ecdsa.VerifyASN1(s.Public().(*ecdsa.PublicKey), digest[:], sig) {
		t.Fatal(err)
	}
}

// hides fails if the private half can be had from the signer by what Go's own keys
// offer.
func hides(t *testing.T, s crypto.Signer) {
	t.Helper()
	if _, ok := s.(*ecdsa.PrivateKey); ok {
		t.Error("it is the private key")
	}
	if _, ok := s.(interface{ Bytes() ([]byte, error) }); ok {
		t.Error("it gives its bytes")
	}
}
