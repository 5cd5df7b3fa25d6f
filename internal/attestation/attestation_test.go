package attestation_test

import (
	"bytes"
	"crypto/sha256"
	"testing"
	"time"

	"mobileid/internal/attestation"
	"mobileid/internal/attestation/attesttest"
)

var (
	now       = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	challenge = sha256.Sum256([]byte("this registration"))
	signer    = bytes.Repeat([]byte{7}, 32)
)

const (
	pkg   = "com.example.bank"
	appID = "TEAM123456.com.example.bank"
)

// tried is one statement and what it is compared with.
type tried struct {
	maker *attesttest.Maker
	v     attestation.Verifier
	want  attestation.Expect
	st    attestation.Statement
}

func newTried(t *testing.T) *tried {
	m := attesttest.New(t, now)
	return &tried{maker: m, v: attestation.Verifier{Android: m.Pool(), Apple: m.Pool()}, want: attestation.Expect{
		Key: &attesttest.Key(t).PublicKey, Challenge: challenge, Now: now, AndroidPackages: []string{pkg}, AndroidSigners: [][]byte{signer}, AppleApps: []string{appID}}}
}

// key has Android attest the expected key, as edit changes what is said of it.
func (x *tried) key(edit func(*attesttest.AndroidKey)) {
	k := attesttest.Sound(challenge, pkg, signer)
	if edit != nil {
		edit(&k)
	}
	x.st = attestation.Statement{Format: attestation.AndroidKey, Chain: x.maker.Android(x.want.Key, k)}
}

func (x *tried) app(edit func(*attesttest.AppAttest)) {
	a := attesttest.AppAttest{ClientDataHash: challenge, App: appID}
	if edit != nil {
		edit(&a)
	}
	x.st = attestation.Statement{Format: attestation.AppleAppAttest, Object: x.maker.Apple(a)}
}

func TestAGoodStatementProvesHardwareOrABuild(t *testing.T) {
	for name, c := range map[string]struct {
		make   func(*tried)
		keeper string
		level  attestation.Level
	}{
		"a key in the trusted environment": {func(x *tried) { x.key(nil) }, "tee", attestation.Hardware},
		"a key in a StrongBox":             {func(x *tried) { x.key(func(k *attesttest.AndroidKey) { k.Level = 2 }) }, "strongbox", attestation.Hardware},
		"a key that signs and verifies":    {func(x *tried) { x.key(func(k *attesttest.AndroidKey) { k.Purposes = []int{2, 3} }) }, "tee", attestation.Hardware},
		"a key of any app, where none is asked": {func(x *tried) {
			x.want.AndroidPackages, x.want.AndroidSigners = nil, nil
			x.key(func(k *attesttest.AndroidKey) { k.Package = "" })
		}, "tee", attestation.Hardware},
		"an app of Apple's App Attest": {func(x *tried) { x.app(nil) }, "secure-enclave", attestation.Build},
	} {
		x := newTried(t)
		c.make(x)
		if got := x.v.Verify(&x.st, x.want); got.Level != c.level || got.Keeper != c.keeper || got.Check != "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestWhatIsNotInHardwareIsCalledSoftware(t *testing.T) {
	x := newTried(t)
	x.key(func(k *attesttest.AndroidKey) { k.Level, k.NoRoot = 0, true })
	if got := x.v.Verify(&x.st, x.want); got.Level != attestation.Software || got.Keeper != "software" {
		t.Errorf("a key in software: %+v", got)
	}
	x.app(func(a *attesttest.AppAttest) { a.Development = true })
	if got := x.v.Verify(&x.st, x.want); got.Level != attestation.Software {
		t.Errorf("a build for developers: %+v", got)
	}
	if got := x.v.Verify(nil, x.want); got.Level != attestation.None {
		t.Errorf("nothing: %+v", got)
	}
}

// D16: missing, self-made, expired, revoked, and each thing else that a statement
// may say wrongly: the check that failed is named and nothing is proven.
func TestD16_EachCheckOfAKeyFailsByName(t *testing.T) {
	edit := func(e func(*attesttest.AndroidKey)) func(*tried) { return func(x *tried) { x.key(e) } }
	after := func(e func(*tried)) func(*tried) { return func(x *tried) { x.key(nil); e(x) } }
	for name, c := range map[string]struct {
		make func(*tried)
		want string
	}{
		"self-made":                     {after(func(x *tried) { x.v.Android = attesttest.New(t, now).Pool() }), attestation.CheckAnchor},
		"nobody is trusted":             {after(func(x *tried) { x.v.Android = nil }), attestation.CheckAnchor},
		"the issuer left out":           {after(func(x *tried) { x.st.Chain = x.st.Chain[:1] }), attestation.CheckAnchor},
		"an attested key plays maker":   {after(func(x *tried) { x.st.Chain = x.maker.Nested(x.want.Key, attesttest.Sound(challenge, pkg, signer)) }), attestation.CheckAnchor},
		"expired":                       {after(func(x *tried) { x.want.Now = now.AddDate(2, 0, 0) }), attestation.CheckValidity},
		"not yet valid":                 {after(func(x *tried) { x.want.Now = now.AddDate(-2, 0, 0) }), attestation.CheckValidity},
		"the key's certificate revoked": {after(func(x *tried) { x.v.Revoked = map[string]bool{"1eaf": true} }), attestation.CheckRevoked},
		"the issuer revoked":            {after(func(x *tried) { x.v.Revoked = map[string]bool{"beef": true} }), attestation.CheckRevoked},
		"the root revoked":              {after(func(x *tried) { x.v.Revoked = map[string]bool{"1": true} }), attestation.CheckRevoked},
		"another key":                   {after(func(x *tried) { x.want.Key = &attesttest.Key(t).PublicKey }), attestation.CheckKey},
		"another challenge":             {after(func(x *tried) { x.want.Challenge[0]++ }), attestation.CheckChallenge},
		"no certificate":                {after(func(x *tried) { x.st.Chain = nil }), attestation.CheckFormat},
		"too many certificates":         {after(func(x *tried) { x.st.Chain = make([][]byte, 9) }), attestation.CheckFormat},
		"a certificate of other bytes":  {after(func(x *tried) { x.st.Chain[0] = []byte("x") }), attestation.CheckFormat},
		"a certificate without it":      {after(func(x *tried) { x.st.Chain = x.st.Chain[1:] }), attestation.CheckKey},
		"an unknown format":             {after(func(x *tried) { x.st.Format = "packed" }), attestation.CheckFormat},
		"a key that decrypts":           {edit(func(k *attesttest.AndroidKey) { k.Purposes = []int{1, 2} }), attestation.CheckPurpose},
		"a key that does not sign":      {edit(func(k *attesttest.AndroidKey) { k.Purposes = []int{3} }), attestation.CheckPurpose},
		"a key for every app":           {edit(func(k *attesttest.AndroidKey) { k.AllApplications = true }), attestation.CheckPurpose},
		"a key brought from outside":    {edit(func(k *attesttest.AndroidKey) { k.Origin = 2 }), attestation.CheckOrigin},
		"an unlocked boot loader":       {edit(func(k *attesttest.AndroidKey) { k.Locked = false }), attestation.CheckBoot},
		"a system self-signed":          {edit(func(k *attesttest.AndroidKey) { k.BootState = 1 }), attestation.CheckBoot},
		"nothing of the boot":           {edit(func(k *attesttest.AndroidKey) { k.NoRoot = true }), attestation.CheckBoot},
		"another package":               {edit(func(k *attesttest.AndroidKey) { k.Package = "com.example.fake" }), attestation.CheckApp},
		"another signer":                {edit(func(k *attesttest.AndroidKey) { k.Signer = make([]byte, 32) }), attestation.CheckApp},
		"no package":                    {edit(func(k *attesttest.AndroidKey) { k.Package = "" }), attestation.CheckApp},
		"an unknown level":              {edit(func(k *attesttest.AndroidKey) { k.Level = 3 }), attestation.CheckFormat},
	} {
		x := newTried(t)
		c.make(x)
		if got := x.v.Verify(&x.st, x.want); got.Level != attestation.Failed || got.Check != c.want || got.Keeper != "" {
			t.Errorf("%s: %+v, want %s", name, got, c.want)
		}
	}
}

func TestD16_EachCheckOfAnAppFailsByName(t *testing.T) {
	edit := func(e func(*attesttest.AppAttest)) func(*tried) { return func(x *tried) { x.app(e) } }
	after := func(e func(*tried)) func(*tried) { return func(x *tried) { x.app(nil); e(x) } }
	for name, c := range map[string]struct {
		make func(*tried)
		want string
	}{
		"self-made":             {after(func(x *tried) { x.v.Apple = attesttest.New(t, now).Pool() }), attestation.CheckAnchor},
		"trusted for Android":   {after(func(x *tried) { x.v.Apple = nil }), attestation.CheckAnchor},
		"expired":               {after(func(x *tried) { x.want.Now = now.AddDate(2, 0, 0) }), attestation.CheckValidity},
		"revoked":               {after(func(x *tried) { x.v.Revoked = map[string]bool{"a441e": true} }), attestation.CheckRevoked},
		"another challenge":     {after(func(x *tried) { x.want.Challenge[0]++ }), attestation.CheckChallenge},
		"another app":           {edit(func(a *attesttest.AppAttest) { a.App = "TEAM123456.com.example.fake" }), attestation.CheckApp},
		"no app is expected":    {after(func(x *tried) { x.want.AppleApps = nil }), attestation.CheckApp},
		"used before":           {edit(func(a *attesttest.AppAttest) { a.Counter = 1 }), attestation.CheckCounter},
		"another credential":    {edit(func(a *attesttest.AppAttest) { a.Credential = make([]byte, 32) }), attestation.CheckCredential},
		"bytes behind":          {after(func(x *tried) { x.st.Object = append(x.st.Object, 0) }), attestation.CheckFormat},
		"cut short":             {after(func(x *tried) { x.st.Object = x.st.Object[:50] }), attestation.CheckFormat},
		"nothing":               {after(func(x *tried) { x.st.Object = nil }), attestation.CheckFormat},
		"Android's certificate": {after(func(x *tried) { x.key(nil); x.st.Format = attestation.AppleAppAttest }), attestation.CheckFormat},
	} {
		x := newTried(t)
		c.make(x)
		if got := x.v.Verify(&x.st, x.want); got.Level != attestation.Failed || got.Check != c.want {
			t.Errorf("%s: %+v, want %s", name, got, c.want)
		}
	}
}

func TestTheListOfTheRevokedIsReadAsItIsPublished(t *testing.T) {
	got, err := attestation.ParseRevoked([]byte(`{"entries":{"0BEEF":{"status":"REVOKED","reason":"KEY_COMPROMISE"},"c35747a084470c3135aeefe2b8d40cd6":{"status":"SUSPENDED"}}}`))
	if err != nil || len(got) != 2 || !got["beef"] || !got["c35747a084470c3135aeefe2b8d40cd6"] {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{``, `{}`, `[]`, `{"entries":{"xyz":{}}}`} {
		if _, err := attestation.ParseRevoked([]byte(bad)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}
