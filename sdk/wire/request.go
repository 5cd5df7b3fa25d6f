package wire

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Claims is the payload of a request JWS.
type Claims struct {
	V    int             `json:"v"`
	Iss  string          `json:"iss"` // device id; reg.begin: thumbprint URI
	Aud  string          `json:"aud"` // the server's origin
	Op   string          `json:"op"`
	JTI  string          `json:"jti"`
	Iat  int64           `json:"iat"`
	Exp  int64           `json:"exp"`
	EK   string          `json:"ek"` // kid of the JWE again, now under the signature
	RK   Secret          `json:"rk"`
	Head string          `json:"head,omitempty"`
	Body json.RawMessage `json:"body"`
}

func (c *Claims) members() []field {
	return []field{{"v", &c.V}, {"iss", &c.Iss}, {"aud", &c.Aud}, {"op", &c.Op}, {"jti", &c.JTI}, {"iat", &c.Iat}, {"exp", &c.Exp},
		{"ek", &c.EK}, {"rk", &c.RK}, {"head", &c.Head}, {"body", &c.Body}}
}

// Sent is a request ready to go and what the phone must keep until its reply
// is in. It is stored before the first byte leaves.
type Sent struct {
	JWE string `json:"jwe"`
	RK  Secret `json:"rk"`
	Kid string `json:"kid"` // the server's key it is sealed to
	Op  string `json:"op"`
	Aud string `json:"aud"` // iss of the reply
	Iss string `json:"iss"` // aud of the reply
	Try
}

// SealRequest signs c with the device's key and seals it to tek. EK is filled
// in. The inner JWS is not returned: nothing but the sealed form is kept.
func SealRequest(c Claims, dsk crypto.Signer, tek SealKey, random io.Reader) (*Sent, error) {
	jwk, err := PublicJWK(dsk)
	if err != nil {
		return nil, err
	}
	c.EK = tek.Kid
	payload, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	head := `{"alg":"ES256","typ":"` + TypRequest + `","kid":"` + jwk.KeyID() + `"}`
	if c.Op == OpRegBegin {
		head = `{"alg":"ES256","typ":"` + TypRequest + `","jwk":` + string(jwk.appendJSON(nil)) + `}`
	}
	jws, err := signCompact(dsk, head, payload)
	if err != nil {
		return nil, err
	}
	eph, err := newECDH(random)
	if err != nil {
		return nil, err
	}
	to, err := tek.JWK.ECDH()
	if err != nil {
		return nil, err
	}
	cek, err := deriveECDH(eph, to)
	if err != nil {
		return nil, err
	}
	kid, err := json.Marshal(tek.Kid)
	if err != nil {
		return nil, err
	}
	outer := append([]byte(`{"alg":"ECDH-ES","enc":"A256GCM","typ":"mid+jwe","cty":"JWT","kid":`), kid...)
	outer = append(outer, `,"epk":`...)
	outer = append(FromECDH(eph.PublicKey()).appendJSON(outer), '}')
	jwe, err := seal(cek, outer, []byte(jws), random)
	if err != nil {
		return nil, err
	}
	rh := sha256.Sum256([]byte(jws))
	return &Sent{JWE: string(jwe), RK: c.RK, Kid: tek.Kid, Op: c.Op, Aud: c.Aud, Iss: c.Iss, Try: Try{c.JTI, Encode(rh[:])}}, nil
}

// Envelope is a request of which only the outside has been read.
type Envelope struct {
	Kid  string   // names the server's key
	Hash [32]byte // SHA-256 of the JWE: the same bytes get the same reply
	epk  *ecdh.PublicKey
	size int
	parts
}

// ParseEnvelope checks everything that can be checked without a key. The error
// is an *Outer and depends on the clear header alone. The envelope refers to body,
// which must stay as it is.
func ParseEnvelope(body []byte) (*Envelope, error) {
	if len(body) > MaxRegistration {
		return nil, &Outer{OuterMalformed, errors.New("too long")}
	}
	p, err := splitSealed(body)
	if err != nil {
		return nil, &Outer{OuterMalformed, err}
	}
	h, err := parseHeader(p.head)
	if err != nil {
		return nil, &Outer{OuterMalformed, err}
	}
	if !h.is("alg", algECDH) || !h.is("enc", encGCM) {
		return nil, &Outer{OuterUnsupportedSuite, nil}
	}
	kid := h.text("kid")
	if !h.only("alg", "enc", "typ", "cty", "kid", "epk") || !h.is("typ", typSealed) ||
		!h.is("cty", "JWT") || kid == "" || len(kid) > 64 {
		return nil, &Outer{OuterMalformed, errors.New("header members")}
	}
	epk, err := parseJWK(h.raw("epk"))
	if err != nil {
		return nil, &Outer{OuterMalformed, fmt.Errorf("epk: %w", err)}
	}
	pub, err := epk.ECDH()
	if err != nil {
		return nil, &Outer{OuterMalformed, err}
	}
	return &Envelope{Kid: kid, Hash: sha256.Sum256(body), epk: pub, size: len(body), parts: p}, nil
}

// Request is an opened request. Until Verify has said yes, nobody is known to
// have signed it.
type Request struct {
	Claims
	KeyID string   // kid of the JWS, or the thumbprint of its jwk
	JWK   *JWK     // set for reg.begin only
	RH    [32]byte // SHA-256 of the JWS
	jws   compact
}

// Open decrypts, in place and so once, with the key that e.Kid names. An *Outer means that no reply
// key is known; it is the same for all causes. An *Error comes together with a
// Request whose RK can seal it.
func (e *Envelope) Open(tek *ecdh.PrivateKey) (*Request, error) {
	cek, err := deriveECDH(tek, e.epk)
	if err != nil {
		return nil, &Outer{OuterMalformed, err}
	}
	plain, err := e.parts.open(cek)
	if err != nil {
		return nil, &Outer{OuterMalformed, err}
	}
	r := &Request{RH: sha256.Sum256(plain)}
	if r.jws, err = splitCompact(plain); err != nil {
		return nil, &Outer{OuterMalformed, err}
	}
	if err := Unmarshal(r.jws.payload, &r.Claims); err != nil {
		return nil, &Outer{OuterMalformed, err}
	}
	if len(r.RK) != KeySize {
		return nil, &Outer{OuterMalformed, errors.New("no reply key")}
	}
	if r.V != Version {
		return r, &Error{Code: Upgrade, Min: Version}
	}
	if !r.wellFormed(e) {
		return r, &Error{Code: Malformed}
	}
	return r, nil
}

// wellFormed checks type, algorithm, key and the members that every request
// has. aud, times and head need the server's own knowledge.
func (r *Request) wellFormed(e *Envelope) bool {
	h := &r.jws.head
	if !h.is("alg", algES256) || !h.is("typ", TypRequest) {
		return false
	}
	if r.Op == OpRegBegin {
		var k JWK
		if !h.only("alg", "typ", "jwk") || k.UnmarshalJSON(h.raw("jwk")) != nil {
			return false
		}
		r.JWK, r.KeyID = &k, k.KeyID()
		if r.Iss != k.ThumbprintURI() || r.Head != "" {
			return false
		}
	} else {
		r.KeyID = h.text("kid")
		if !h.only("alg", "typ", "kid") || len(r.KeyID) != 43 {
			return false
		}
	}
	if !strings.HasPrefix(r.Op, "reg.") && r.Op != OpBioAdd && e.size > MaxMessage {
		return false
	}
	return r.EK == e.Kid && r.Iss != "" && ValidRandom(r.JTI) && len(r.Body) > 0 && r.Body[0] == '{'
}

// Verify reports whether pub made this request.
func (r *Request) Verify(pub *ecdsa.PublicKey) bool { return r.jws.verify(pub) }
