package keys

import (
	"crypto/ecdsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db"

	"github.com/go-jose/go-jose/v4"
)

func TestABoxOpensWhatItSealedForTheSamePurpose(t *testing.T) {
	box, err := NewBox([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewBox([]byte(strings.Repeat("l", 32)))
	if err != nil {
		t.Fatal(err)
	}
	sealed := box.Seal("kk dev_1", []byte("secret"))
	if plain, err := box.Open("kk dev_1", sealed); err != nil || string(plain) != "secret" {
		t.Fatalf("%q, %v", plain, err)
	}
	if again := box.Seal("kk dev_1", []byte("secret")); slices.Equal(sealed, again) {
		t.Error("sealed twice, the same bytes")
	}
	changed := slices.Clone(sealed)
	changed[len(changed)/2] ^= 1
	for name, open := range map[string]func() ([]byte, error){
		"another purpose":    func() ([]byte, error) { return box.Open("kk dev_2", sealed) },
		"another master key": func() ([]byte, error) { return other.Open("kk dev_1", sealed) },
		"a changed bit":      func() ([]byte, error) { return box.Open("kk dev_1", changed) },
		"cut short":          func() ([]byte, error) { return box.Open("kk dev_1", sealed[:5]) },
		"nothing":            func() ([]byte, error) { return box.Open("kk dev_1", nil) },
	} {
		if plain, err := open(); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %q, %v", name, plain, err)
		}
	}
	a, again, b := string(box.Derive("a")), string(box.Derive("a")), string(box.Derive("b"))
	if a == b || a != again || len(a) != 32 {
		t.Error("Derive")
	}
	if s := fmt.Sprintf("%v %s %+v", box, box, box); strings.Contains(s, "kkk") || !strings.Contains(s, "[REDACTED]") {
		t.Errorf("printed as %s", s)
	}
}

func TestTheMasterKeyFileIsMadeOnceForItsOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "master.key")
	if _, err := LoadBox(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("loaded before it is made: %v", err)
	}
	first, err := CreateBox(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CreateBox(path); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("made over what is there: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	second, err := LoadBox(path)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := second.Open("x", first.Seal("x", []byte("y"))); err != nil || string(plain) != "y" {
		t.Fatal("the second start has another key")
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadBox(path); err == nil || !strings.Contains(err.Error(), "0600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	for name, text := range map[string]string{"empty": "", "short": "AAAA", "not base64url": strings.Repeat("!", 43), "a JWK": `{"k":"x"}`} {
		bad := filepath.Join(t.TempDir(), "master.key")
		if err := os.WriteFile(bad, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadBox(bad); err == nil || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func ring(t *testing.T) (*Ring, *clock.Manual, *db.DB, *Box) {
	t.Helper()
	clk := clock.NewManual(time.Unix(1_800_000_000, 0))
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "t.db"), clk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	box, err := NewBox(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	r := NewRing(d, box, clk)
	if err := r.Ensure(t.Context(), OIDC, Server); err != nil {
		t.Fatal(err)
	}
	return r, clk, d, box
}

func kids(t *testing.T, r *Ring) (all []string, current string) {
	t.Helper()
	ks, err := r.All(t.Context(), OIDC)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range ks {
		all = append(all, k.KID)
	}
	k, err := r.Current(t.Context(), OIDC)
	if err != nil {
		t.Fatal(err)
	}
	return all, k.KID
}

func TestANewKeyIsPublishedBeforeItSignsAndTheOldOneAfter(t *testing.T) {
	r, clk, d, box := ring(t)
	other := NewRing(d, box, clk) // another node
	_, first := kids(t, r)
	kids(t, other)
	second, err := r.Rotate(t.Context(), OIDC, Lead, func(*db.Tx, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		after   time.Duration
		all     []string
		current string
	}{
		{2 * time.Second, []string{first, second}, first},
		{Lead - 2*time.Second - time.Millisecond, []string{first, second}, first},
		{time.Millisecond, []string{first, second}, second},
		{Overlap - 3*time.Second, []string{first, second}, second},
		{3 * time.Second, []string{second}, second},
		{1000 * time.Hour, []string{second}, second},
	}
	for i, s := range steps {
		clk.Advance(s.after)
		for name, node := range map[string]*Ring{"this": r, "the other": other} {
			if all, current := kids(t, node); !slices.Equal(all, s.all) || current != s.current {
				t.Fatalf("step %d, %s node: %v signs %s; want %v, %s", i, name, all, current, s.all, s.current)
			}
		}
	}
}

func TestPurposesAreSeparateAndEnsureMakesNoSecondKey(t *testing.T) {
	r, clk, d, box := ring(t)
	a, err := r.Current(t.Context(), OIDC)
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.Current(t.Context(), Server)
	if err != nil || a.KID == b.KID {
		t.Fatal("one key for two purposes", err)
	}
	again := NewRing(d, box, clk)
	if err := again.Ensure(t.Context(), OIDC, Server); err != nil {
		t.Fatal(err)
	}
	if k, err := again.Current(t.Context(), OIDC); err != nil || k.KID != a.KID {
		t.Fatalf("after a restart another key signs, %v", err)
	}
	stranger, err := NewBox([]byte(strings.Repeat("x", 32)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewRing(d, stranger, clk).Current(t.Context(), OIDC); err == nil {
		t.Fatal("opened under another master key")
	}
	if _, err := r.Current(t.Context(), "none"); err == nil {
		t.Fatal("a key for no purpose")
	}
}

func TestASignatureIsOneOfJOSE(t *testing.T) {
	r, _, _, _ := ring(t)
	k, err := r.Current(t.Context(), OIDC)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 { // r and s shorter than 32 bytes are padded
		text, err := k.Sign("JWT", []byte(`{"sub":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		jws, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		if payload, err := jws.Verify(k.Public); err != nil || string(payload) != `{"sub":"x"}` {
			t.Fatal(err)
		}
		if h := jws.Signatures[0].Protected; h.KeyID != k.KID || h.ExtraHeaders["typ"] != "JWT" {
			t.Fatalf("%+v", h)
		}
	}
	if raw, err := base64.RawURLEncoding.DecodeString(k.KID); err != nil || len(raw) != 32 {
		t.Errorf("kid %s", k.KID)
	}
	if _, private := k.Public.Key.(*ecdsa.PrivateKey); private || !k.Public.IsPublic() {
		t.Error("the public half is private")
	}
	if s := fmt.Sprintf("%v %s", k, k); s != "key "+k.KID+" key "+k.KID {
		t.Errorf("printed as %s", s)
	}
}

func TestTheFirstKeyOfAnAlgorithmIsKnownToEveryNodeAtOnce(t *testing.T) {
	clk := clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "id.db"), clk)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	box, err := NewBox([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	one, two := NewRing(d, box, clk), NewRing(d, box, clk)
	for _, purpose := range []string{OIDCPS256, OIDCRS256} {
		if all, err := one.All(t.Context(), purpose); err != nil || len(all) != 0 {
			t.Fatalf("%d keys, %v", len(all), err)
		}
		if _, err := one.Current(t.Context(), purpose); !errors.Is(err, ErrNone) {
			t.Fatal(err)
		}
		if err := two.Ensure(t.Context(), purpose); err != nil {
			t.Fatal(err)
		}
		if err := one.Ensure(t.Context(), purpose); err != nil {
			t.Fatal(err)
		}
		k, err := one.Current(t.Context(), purpose)
		if err != nil {
			t.Fatal(err)
		}
		if all, err := two.All(t.Context(), purpose); err != nil || len(all) != 1 || all[0].KID != k.KID || purpose != ForAlg(string(k.Alg)) {
			t.Errorf("%v, %v", all, err)
		}
	}
	if ForAlg("HS256") != "" {
		t.Error("a key for HS256")
	}
}

func TestEveryNodePublishesAKeyBeforeAnySignsWithIt(t *testing.T) {
	clk := clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "id.db"), clk)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	box, err := NewBox([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	one, two := NewRing(d, box, clk), NewRing(d, box, clk)
	if err := one.Ensure(t.Context(), OIDC); err != nil {
		t.Fatal(err)
	}
	clk.Advance(time.Minute)
	for _, r := range []*Ring{one, two} {
		if _, err := r.All(t.Context(), OIDC); err != nil {
			t.Fatal(err)
		}
	}
	kid, err := one.Rotate(t.Context(), OIDC, Soon, func(*db.Tx, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	signs := func(r *Ring) bool {
		k, err := r.Current(t.Context(), OIDC)
		if err != nil {
			t.Fatal(err)
		}
		return k.KID == kid
	}
	for !signs(one) && !signs(two) {
		clk.Advance(100 * time.Millisecond)
	}
	for name, r := range map[string]*Ring{"the node that rotated": one, "another": two} {
		if all, err := r.All(t.Context(), OIDC); err != nil || withID(all, kid) == nil {
			t.Errorf("%s does not publish the key that signs: %v", name, err)
		}
	}
	// Whatever the lead: who is shown a signature looks the key up.
	kid, err = one.Rotate(t.Context(), OIDC, 0, func(*db.Tx, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if k, err := two.Find(t.Context(), OIDC, kid); err != nil || k == nil || k.KID != kid {
		t.Errorf("another node does not find it: %v, %v", k, err)
	}
	kid, err = one.Rotate(t.Context(), OIDC, 0, func(*db.Tx, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			asked := kid
			if i%2 == 1 {
				asked = fmt.Sprint("none ", i)
			}
			if k, err := two.Find(t.Context(), OIDC, asked); err != nil || (k != nil) != (asked == kid) {
				t.Errorf("%s among many who ask: %v, %v", asked, k, err)
			}
		})
	}
	all.Wait()
	for _, none := range []string{"", "x", strings.Repeat("k", 1<<20)} {
		if k, err := two.Find(t.Context(), OIDC, none); k != nil || err != nil {
			t.Errorf("%.10q: %v, %v", none, k, err)
		}
	}
}
