// Package attesttest is a maker of phones for tests: an authority of its own and
// statements under it, real in every byte but for who vouches.
package attesttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Maker is an authority with one intermediate certificate.
type Maker struct {
	T            testing.TB
	Root, Issuer *x509.Certificate
	From, Until  time.Time // validity of all certificates

	issuerKey *ecdsa.PrivateKey
}

// New makes an authority whose certificates are valid a year around now.
func New(t testing.TB, now time.Time) *Maker {
	t.Helper()
	m := &Maker{T: t, From: now.AddDate(-1, 0, 0), Until: now.AddDate(1, 0, 0)}
	rootKey := Key(t)
	m.issuerKey = Key(t)
	m.Root = m.certificate(1, "Test Root", &rootKey.PublicKey, nil, rootKey, true)
	m.Issuer = m.certificate(0xbeef, "Test Issuer", &m.issuerKey.PublicKey, m.Root, rootKey, true)
	return m
}

// Pool is whom a server trusts that trusts this maker.
func (m *Maker) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(m.Root)
	return p
}

// PEM is the root for a configuration file.
func (m *Maker) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.Root.Raw})
}

// Key makes a P-256 key.
func Key(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (m *Maker) certificate(serial int64, name string, pub *ecdsa.PublicKey, parent *x509.Certificate, by *ecdsa.PrivateKey, ca bool, ext ...pkix.Extension) *x509.Certificate {
	m.T.Helper()
	tpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: m.From, NotAfter: m.Until,
		BasicConstraintsValid: true, IsCA: ca, KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: ext}
	if ca {
		tpl.KeyUsage = x509.KeyUsageCertSign
	}
	if parent == nil {
		parent = tpl
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, parent, pub, by)
	if err != nil {
		m.T.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		m.T.Fatal(err)
	}
	return c
}

// AndroidKey is what Android says of a key. The zero value with a Challenge is
// of a key that any app made in the trusted environment of a sound phone, once
// filled by Sound.
type AndroidKey struct {
	Challenge       []byte
	Level           int // 0 software, 1 TEE, 2 StrongBox
	Purposes        []int
	Origin          int
	Locked          bool
	BootState       int
	NoRoot          bool // nothing about the boot
	AllApplications bool
	UserAuth        int  // who releases the key, bits; 0: nobody need
	AuthTimeout     bool // one release is good for a time
	Package         string
	Signer          []byte
	Serial          int64 // of the certificate
}

// Sound is a good key of the package.
func Sound(challenge [32]byte, pkg string, signer []byte) AndroidKey {
	return AndroidKey{Challenge: challenge[:], Level: 1, Purposes: []int{2}, Locked: true, Package: pkg, Signer: signer, Serial: 0x1eaf}
}

func (m *Maker) der(v any, params string) []byte {
	m.T.Helper()
	b, err := asn1.MarshalWithParams(v, params)
	if err != nil {
		m.T.Fatal(err)
	}
	return b
}

func (m *Maker) tagged(tag int, inner []byte) []byte {
	return m.der(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: inner}, "")
}

func sequence(parts ...[]byte) asn1.RawValue {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagSequence, IsCompound: true, Bytes: all}
}

// Description is k as the extension of a certificate.
func (m *Maker) Description(k AndroidKey) []byte {
	m.T.Helper()
	type pkg struct {
		Name    []byte
		Version int64
	}
	var software []byte
	if k.Package != "" {
		id := m.der(struct {
			Packages []pkg    `asn1:"set"`
			Signers  [][]byte `asn1:"set"`
		}{[]pkg{{[]byte(k.Package), 7}}, [][]byte{k.Signer}}, "")
		software = m.tagged(709, m.der(id, ""))
	}
	hardware := [][]byte{m.tagged(1, m.der(k.Purposes, "set")), m.tagged(2, m.der(3, "")), m.tagged(3, m.der(256, ""))}
	if k.UserAuth == 0 {
		hardware = append(hardware, m.tagged(503, asn1.NullBytes))
	} else {
		hardware = append(hardware, m.tagged(504, m.der(k.UserAuth, "")))
	}
	if k.AuthTimeout {
		hardware = append(hardware, m.tagged(505, m.der(300, "")))
	}
	if k.AllApplications {
		hardware = append(hardware, m.tagged(600, asn1.NullBytes))
	}
	hardware = append(hardware, m.tagged(702, m.der(k.Origin, "")))
	if !k.NoRoot {
		hardware = append(hardware, m.tagged(704, m.der(struct {
			Key    []byte
			Locked bool
			State  asn1.Enumerated
			Hash   []byte
		}{make([]byte, 32), k.Locked, asn1.Enumerated(k.BootState), make([]byte, 32)}, "")))
	}
	return m.der(struct {
		Version            int
		Level              asn1.Enumerated
		KeymasterVersion   int
		Keymaster          asn1.Enumerated
		Challenge, Unique  []byte
		Software, Hardware asn1.RawValue
	}{300, asn1.Enumerated(k.Level), 300, asn1.Enumerated(k.Level), k.Challenge, []byte{}, sequence(software), sequence(hardware...)}, "")
}

// Android attests pub: the certificates, the key's first.
func (m *Maker) Android(pub *ecdsa.PublicKey, k AndroidKey) [][]byte {
	m.T.Helper()
	leaf := m.certificate(k.Serial, "Android Keystore Key", pub, m.Issuer, m.issuerKey, false,
		pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 17}, Value: m.Description(k)})
	return [][]byte{leaf.Raw, m.Issuer.Raw}
}

// AppAttest is what Apple says of an app.
type AppAttest struct {
	ClientDataHash [32]byte
	App            string // App ID
	Development    bool
	Counter        uint32
	Credential     []byte // nil: the key's hash
}

// Apple makes an attestation object.
func (m *Maker) Apple(a AppAttest) []byte {
	m.T.Helper()
	key := Key(m.T)
	point, err := key.PublicKey.Bytes()
	if err != nil {
		m.T.Fatal(err)
	}
	id := sha256.Sum256(point)
	if a.Credential == nil {
		a.Credential = id[:]
	}
	rp := sha256.Sum256([]byte(a.App))
	aaguid := "appattest\x00\x00\x00\x00\x00\x00\x00"
	if a.Development {
		aaguid = "appattestdevelop"
	}
	data := append(rp[:], 0x40)
	data = binary.BigEndian.AppendUint32(data, a.Counter)
	data = append(data, aaguid...)
	data = binary.BigEndian.AppendUint16(data, uint16(len(a.Credential)))
	data = append(data, a.Credential...)
	data = append(data, m.cbor(map[int]any{1: 2, 3: -7, -1: 1, -2: point[1:33], -3: point[33:]})...)
	nonce := sha256.Sum256(append(append([]byte(nil), data...), a.ClientDataHash[:]...))
	leaf := m.certificate(0xa441e, "App Attest", &key.PublicKey, m.Issuer, m.issuerKey, false,
		pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 840, 113635, 100, 8, 2}, Value: m.der(sequence(m.tagged(1, m.der(nonce[:], ""))), "")})
	return m.cbor(map[string]any{"fmt": "apple-appattest", "authData": data,
		"attStmt": map[string]any{"x5c": [][]byte{leaf.Raw, m.Issuer.Raw}, "receipt": []byte("receipt")}})
}

func (m *Maker) cbor(v any) []byte {
	b, err := cbor.Marshal(v)
	if err != nil {
		m.T.Fatal(err)
	}
	return b
}

// Nested attests pub by a certificate that is itself of an attested key: the key
// of an app that plays maker.
func (m *Maker) Nested(pub *ecdsa.PublicKey, k AndroidKey) [][]byte {
	m.T.Helper()
	app := Key(m.T)
	ext := func(k AndroidKey) pkix.Extension {
		return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 17}, Value: m.Description(k)}
	}
	mid := m.certificate(0xabc, "Android Keystore Key", &app.PublicKey, m.Issuer, m.issuerKey, true, ext(k))
	leaf := m.certificate(0xabd, "Android Keystore Key", pub, mid, app, false, ext(k))
	return [][]byte{leaf.Raw, mid.Raw, m.Issuer.Raw}
}
