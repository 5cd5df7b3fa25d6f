package attestation

import (
	"encoding/asn1"
	"errors"
)

// Values of a KeyDescription (source.android.com, "Key and ID attestation").
const (
	levelSoftware  = 0
	levelTEE       = 1
	levelStrongBox = 2

	purposeSign     = 2
	purposeVerify   = 3
	originGenerated = 0
	bootVerified    = 0
	authBiometric   = 2 // of HardwareAuthenticatorType, by itself
)

// Tags of an AuthorizationList.
const (
	tagPurpose         = 1
	tagNoAuth          = 503
	tagUserAuth        = 504
	tagAuthTimeout     = 505
	tagAllApplications = 600
	tagOrigin          = 702
	tagRootOfTrust     = 704
	tagApplicationID   = 709
)

var errDescription = errors.New("not a KeyDescription")

// description is a KeyDescription as it stands in the certificate.
type description struct {
	Version, Level              int
	KeymasterVersion, Keymaster int
	Challenge, UniqueID         []byte
	Software, Hardware          authorizations
}

// authorizations are the members of an AuthorizationList that matter here.
type authorizations struct {
	purposes        []int
	allApplications bool
	noAuth          bool // the key is free to use
	userAuth        int  // who releases it, bits
	authTimeout     bool // one release is good for a time
	origin          int  // -1: not said
	root            *rootOfTrust
	application     *application
}

type rootOfTrust struct {
	Key    []byte
	Locked bool
	State  asn1.Enumerated
	Hash   []byte `asn1:"optional"` // absent before version 3
}

// application is an AttestationApplicationId: who made the key.
type application struct {
	packages []string
	signers  [][]byte
}

// exactly decodes DER with nothing behind it.
func exactly(der []byte, into any, params string) error {
	rest, err := asn1.UnmarshalWithParams(der, into, params)
	if err != nil || len(rest) > 0 {
		return errDescription
	}
	return nil
}

// parseDescription reads the extension 1.3.6.1.4.1.11129.2.1.17.
func parseDescription(der []byte) (*description, error) {
	var raw struct {
		Version            int
		Level              asn1.Enumerated
		KeymasterVersion   int
		Keymaster          asn1.Enumerated
		Challenge, Unique  []byte
		Software, Hardware asn1.RawValue
	}
	if err := exactly(der, &raw, ""); err != nil {
		return nil, err
	}
	d := &description{Version: raw.Version, Level: int(raw.Level), KeymasterVersion: raw.KeymasterVersion, Keymaster: int(raw.Keymaster),
		Challenge: raw.Challenge, UniqueID: raw.Unique}
	var err1, err2 error
	d.Software, err1 = parseAuthorizations(raw.Software)
	d.Hardware, err2 = parseAuthorizations(raw.Hardware)
	return d, errors.Join(err1, err2)
}

func parseAuthorizations(list asn1.RawValue) (a authorizations, err error) {
	a.origin = -1
	if list.Class != asn1.ClassUniversal || list.Tag != asn1.TagSequence || !list.IsCompound {
		return a, errDescription
	}
	seen := map[int]bool{}
	for rest := list.Bytes; len(rest) > 0; {
		var m asn1.RawValue
		if rest, err = asn1.Unmarshal(rest, &m); err != nil {
			return a, errDescription
		}
		if m.Class != asn1.ClassContextSpecific || !m.IsCompound || seen[m.Tag] {
			return a, errDescription
		}
		seen[m.Tag] = true
		switch m.Tag {
		case tagPurpose:
			err = exactly(m.Bytes, &a.purposes, "set")
		case tagNoAuth:
			a.noAuth = true
		case tagUserAuth:
			err = exactly(m.Bytes, &a.userAuth, "")
		case tagAuthTimeout:
			a.authTimeout = true
		case tagAllApplications:
			a.allApplications = true
		case tagOrigin:
			err = exactly(m.Bytes, &a.origin, "")
		case tagRootOfTrust:
			a.root = &rootOfTrust{}
			err = exactly(m.Bytes, a.root, "")
		case tagApplicationID:
			var text []byte
			if err = exactly(m.Bytes, &text, ""); err == nil {
				a.application, err = parseApplication(text)
			}
		}
		if err != nil {
			return a, err
		}
	}
	return a, nil
}

func parseApplication(der []byte) (*application, error) {
	var raw struct {
		Packages []struct {
			Name    []byte
			Version int64
		} `asn1:"set"`
		Signers [][]byte `asn1:"set"`
	}
	if err := exactly(der, &raw, ""); err != nil {
		return nil, err
	}
	a := &application{signers: raw.Signers}
	for _, p := range raw.Packages {
		a.packages = append(a.packages, string(p.Name))
	}
	return a, nil
}
