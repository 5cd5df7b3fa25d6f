package mobile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"fmt"
	"io"
	"strings"

	"mobileid/sdk"
	"mobileid/sdk/wire"
)

// Keystore is the platform's: it keeps the keys of a registration and never gives a
// private half out. sdk/keystoretest is its contract.
type Keystore interface {
	// Create makes a P-256 signing key and an HMAC-SHA-256 key; the name stands for both.
	Create() (string, error)
	// PublicKey is the signing key's public half: 65 bytes, 04, x, y (X9.63).
	PublicKey(name string) ([]byte, error)
	// Sign signs a SHA-256 by ECDSA; the signature is ASN.1.
	Sign(name string, digest []byte) ([]byte, error)
	// MAC is HMAC-SHA-256, 32 bytes.
	MAC(name string, data []byte) ([]byte, error)
	// Delete destroys both; no error if they are gone.
	Delete(name string) error
	// Attest is what the maker says of the signing key: by Android for
	// AttestationChallenge, for which the key is made anew under its name, by App Attest
	// for AppAttestHash of the key. NewNoAttestation, or nil, if it says nothing.
	Attest(name, ek, ticket string) (*Attestation, error)
}

// Biometry is the platform's: it keeps a P-256 key that who is enrolled now releases,
// for each use anew, and that is destroyed when the enrolment changes. It says so by
// an error whose text contains Invalidated or Cancelled.
type Biometry interface {
	Create() (string, error)
	// PublicKey asks nobody. Invalidated if the key is gone.
	PublicKey(name string) ([]byte, error)
	// Sign asks the user with the text.
	Sign(name, text string, digest []byte) ([]byte, error)
	Delete(name string) error
	// Attest is what the maker says of the key, for BioAttestationChallenge or
	// BioAppAttestHash. NewNoAttestation, or nil, if it says nothing.
	Attest(name, ek, jti string) (*Attestation, error)
}

// Words in the text of an error of Biometry.
const (
	Invalidated = "mobileid.invalidated"
	Cancelled   = "mobileid.cancelled"
)

// Attestation is a statement of the phone's maker.
type Attestation struct{ att wire.Attestation }

// NewNoAttestation is none: in Swift nil would be an error.
func NewNoAttestation() *Attestation { return &Attestation{} }

// NewAndroidAttestation is of a key in Android's keystore; its certificates follow.
func NewAndroidAttestation() *Attestation {
	return &Attestation{wire.Attestation{Fmt: wire.AttAndroidKey}}
}

// AddCertificate adds a certificate in DER, the key's first.
func (a *Attestation) AddCertificate(der []byte) {
	a.att.X5C = append(a.att.X5C, append(wire.Bytes(nil), der...))
}

// NewAppleAttestation is of App Attest: the attestation object.
func NewAppleAttestation(object []byte) *Attestation {
	return &Attestation{wire.Attestation{Fmt: wire.AttAppAttest, Obj: append(wire.Bytes(nil), object...)}}
}

// AttestationChallenge is what Android attests the signing key for.
func AttestationChallenge(ek, ticket string) []byte {
	h := wire.AttestationChallenge(ek, ticket)
	return h[:]
}

// AppAttestHash is clientDataHash of App Attest for the signing key.
func AppAttestHash(ek, ticket string, publicKey []byte) ([]byte, error) {
	t, err := thumbprint(publicKey)
	h := wire.AppAttestHash(ek, ticket, t)
	return h[:], err
}

// BioAttestationChallenge is what Android attests the biometric key for.
func BioAttestationChallenge(ek, jti string) []byte {
	h := wire.BioAttestationChallenge(ek, jti)
	return h[:]
}

// BioAppAttestHash is clientDataHash of App Attest for the biometric key.
func BioAppAttestHash(ek, jti string, publicKey []byte) ([]byte, error) {
	t, err := thumbprint(publicKey)
	h := wire.BioAppAttestHash(ek, jti, t)
	return h[:], err
}

func parse(point []byte) (*ecdsa.PublicKey, error) {
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, fmt.Errorf("mobile: public key: %w", err)
	}
	return pub, nil
}

func thumbprint(point []byte) ([32]byte, error) {
	pub, err := parse(point)
	if err != nil {
		return [32]byte{}, err
	}
	jwk, err := wire.FromECDSA(pub)
	return jwk.Thumbprint(), err
}

// keystore is a Keystore as the SDK takes it.
type keystore struct{ Keystore }

func (k keystore) Signer(name string) (crypto.Signer, error) {
	point, err := k.PublicKey(name)
	if err != nil {
		return nil, err
	}
	pub, err := parse(point)
	return signer{pub, func(digest []byte) ([]byte, error) { return k.Sign(name, digest) }}, err
}

func (k keystore) Attest(name, ek, ticket string) (*wire.Attestation, error) {
	return statement(k.Keystore.Attest(name, ek, ticket))
}

func statement(a *Attestation, err error) (*wire.Attestation, error) {
	if a == nil || a.att.Fmt == "" || err != nil {
		return nil, err
	}
	return &a.att, nil
}

type signer struct {
	pub  *ecdsa.PublicKey
	sign func(digest []byte) ([]byte, error)
}

func (s signer) Public() crypto.PublicKey { return s.pub }

func (s signer) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	return s.sign(digest)
}

// biometry is a Biometry as the SDK takes it. An error of the platform's language has
// lost its kind on the way, and keeps its text.
type biometry struct{ Biometry }

func told(err error) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), Invalidated):
		return fmt.Errorf("%w: %w", sdk.ErrInvalidated, err)
	case strings.Contains(err.Error(), Cancelled):
		return fmt.Errorf("%w: %w", sdk.ErrCancelled, err)
	}
	return err
}

func (b biometry) Public(name string) (*ecdsa.PublicKey, error) {
	point, err := b.PublicKey(name)
	if err != nil {
		return nil, told(err)
	}
	return parse(point)
}

func (b biometry) Sign(name, text string, digest []byte) ([]byte, error) {
	sig, err := b.Biometry.Sign(name, text, digest)
	return sig, told(err)
}

func (b biometry) AttestBio(name, ek, jti string) (*wire.Attestation, error) {
	att, err := statement(b.Attest(name, ek, jti))
	return att, told(err)
}
