package attestation

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/binary"

	"github.com/fxamacker/cbor/v2"
)

var appleNonce = asn1.ObjectIdentifier{1, 2, 840, 113635, 100, 8, 2}

// AAGUIDs of App Attest's two environments.
const (
	appleProduction  = "appattest\x00\x00\x00\x00\x00\x00\x00"
	appleDevelopment = "appattestdevelop"
)

// object is an App Attest attestation object.
type object struct {
	Fmt  string `cbor:"fmt"`
	Stmt struct {
		X5C     [][]byte `cbor:"x5c"`
		Receipt []byte   `cbor:"receipt"` // for risk metrics at Apple's; not used
	} `cbor:"attStmt"`
	AuthData []byte `cbor:"authData"`
}

// parseObject reads the object: definite lengths, no tags, no member twice and
// none that is not known.
func parseObject(raw []byte) (*object, error) {
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, MaxNestedLevels: 4, MaxArrayElements: 16, MaxMapPairs: 16,
	}.DecMode()
	if err != nil {
		return nil, err
	}
	var o object
	if err := mode.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	return &o, nil
}

// authData is the part of the authenticator data that App Attest fills.
type authData struct {
	rpIDHash     []byte
	counter      uint32
	aaguid       string
	credentialID []byte
}

func parseAuthData(b []byte) (a authData, ok bool) {
	const fixed, attested = 55, 0x40
	if len(b) < fixed || b[32]&attested == 0 {
		return a, false
	}
	n := int(binary.BigEndian.Uint16(b[53:fixed]))
	if len(b) < fixed+n {
		return a, false
	}
	a = authData{rpIDHash: b[:32], counter: binary.BigEndian.Uint32(b[33:37]), aaguid: string(b[37:53]), credentialID: b[fixed : fixed+n]}
	return a, cbor.Wellformed(b[fixed+n:]) == nil // the key, once more
}

// apple verifies an App Attest object ("Validating apps that connect to your
// server", developer.apple.com). It attests the build of the app on a phone of
// Apple's; that build vouches for the key that Challenge covers, which nobody else
// does: whoever hooks the running app has it vouch for a key in software. So the
// level is Build. The development environment attests no build that people have.
func (v *Verifier) apple(st *Statement, want Expect) (Result, error) {
	o, err := parseObject(st.Object)
	if err != nil || o.Fmt != AppleAppAttest {
		return Result{}, failed(CheckFormat, "not an attestation object of App Attest")
	}
	a, ok := parseAuthData(o.AuthData)
	if !ok {
		return Result{}, failed(CheckFormat, "the authenticator data cannot be read")
	}
	certs, err := v.chain(o.Stmt.X5C, v.Apple, want.Now)
	if err != nil {
		return Result{}, err
	}
	der, err := extension(certs, appleNonce)
	if err != nil {
		return Result{}, err
	}
	var ext struct {
		Nonce []byte `asn1:"tag:1,explicit"`
	}
	if exactly(der, &ext, "") != nil {
		return Result{}, failed(CheckFormat, "the nonce cannot be read")
	}
	nonce := sha256.Sum256(append(bytes.Clone(o.AuthData), want.Challenge[:]...))
	if !bytes.Equal(ext.Nonce, nonce[:]) {
		return Result{}, failed(CheckChallenge, "attested for another challenge or key")
	}
	key, ok := certs[0].PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return Result{}, failed(CheckCredential, "not an elliptic key")
	}
	point, err := key.Bytes()
	if err != nil {
		return Result{}, failed(CheckCredential, "not an elliptic key")
	}
	if id := sha256.Sum256(point); !bytes.Equal(id[:], a.credentialID) {
		return Result{}, failed(CheckCredential, "the credential id is not the hash of the attested key")
	}
	if a.counter != 0 {
		return Result{}, failed(CheckCounter, "the attested key was used %d times", a.counter)
	}
	app := ""
	for _, id := range want.AppleApps {
		if h := sha256.Sum256([]byte(id)); bytes.Equal(h[:], a.rpIDHash) {
			app = id
		}
	}
	if app == "" {
		return Result{}, failed(CheckApp, "another app than %s", listed(want.AppleApps))
	}
	switch a.aaguid {
	case appleProduction:
		return Result{Level: Build, Keeper: "secure-enclave", App: app}, nil
	case appleDevelopment:
		return Result{Level: Software, Keeper: "secure-enclave", App: app, Detail: "the development environment"}, nil
	}
	return Result{}, failed(CheckApp, "an unknown environment")
}
