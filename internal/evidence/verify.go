package evidence

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"reflect"
	"strings"
	"time"

	"mobileid/sdk/wire"
)

// Refusal says why evidence does not verify: Part is the claim, or the part of the
// text, that is wrong.
type Refusal struct {
	Part string
	Why  string
}

// Error implements error.
func (r *Refusal) Error() string { return "evidence: " + r.Part + ": " + r.Why }

func refuse(part, format string, args ...any) error {
	return &Refusal{part, fmt.Sprintf(format, args...)}
}

// Expect narrows what Verify accepts; "" expects nothing.
type Expect struct {
	Issuer   string // iss
	Audience string // aud
	// DeviceKey is the RFC 7638 thumbprint of the key that the verifier has pinned
	// for this user and epoch. Without it evidence proves what the server asserts of
	// the device's key; with it not even the operator could have made the answer.
	DeviceKey string
}

// Statement is evidence that has been verified.
type Statement struct {
	Claims
	KeyID     string // of the evidence key
	DeviceKey string // RFC 7638 thumbprint of cnf.jwk
	Answer    wire.AnswerClaims
	Blocks    []wire.Block // of the view
	Said      *wire.Risk   // what the device said of itself; nil: Risk is empty
}

// At is when it was decided, by the server's clock.
func (s *Statement) At() time.Time { return time.Unix(s.Iat, 0).UTC() }

// Factors lists what the device proved, in words; possession comes first.
func (s *Statement) Factors() []string {
	out := []string{map[string]string{
		"swk": "possession (key in software)", "hwk": "possession (key in hardware by the word of an attested app)", "hwk-att": "possession (key in hardware, attested)",
	}[s.SCA.Pos]}
	if out[0] == "" {
		out[0] = "possession"
	}
	if s.SCA.Kno == "pin" {
		out = append(out, "knowledge (PIN)")
	}
	switch s.SCA.Inh {
	case "bio":
		out = append(out, "inherence (biometry)")
	case "bio-att":
		out = append(out, "inherence (biometry, attested key)")
	}
	if s.SCA.UV == "wa" {
		out = append(out, "user verification (WebAuthn)")
	}
	return out
}

// Verify checks evidence against the published keys: the server's signature by a
// key that was in use at iat, then the device's answer under cnf.jwk, then the
// hashes of view and content, then that wrapper and answer say the same. The
// error is a *Refusal.
func Verify(token string, set KeySet, expect Expect) (*Statement, error) {
	head, payload, err := open(token, set)
	if err != nil {
		return nil, err
	}
	s, err := read(payload)
	if err != nil {
		return nil, err
	}
	if key, _ := set.find(head); !key.signedAt(s.Iat) {
		return nil, refuse("iat", "the key %s was not in use then", head)
	}
	s.KeyID = head
	for _, e := range []struct{ part, want, got string }{
		{"iss", expect.Issuer, s.Iss}, {"aud", expect.Audience, s.Aud}, {"cnf", expect.DeviceKey, s.DeviceKey},
	} {
		if e.want != "" && e.want != e.got {
			return nil, refuse(e.part, "it is %s, not %s", e.got, e.want)
		}
	}
	return s, nil
}

// open takes the wrapper apart and checks its signature; it returns the kid.
func open(token string, set KeySet) (kid string, payload []byte, err error) {
	if len(token) > MaxSize {
		return "", nil, refuse("token", "it is longer than %d bytes", MaxSize)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", nil, refuse("token", "it is not a compact JWS")
	}
	raw, err := wire.Decode(parts[0])
	if err != nil {
		return "", nil, refuse("header", "it is not base64url")
	}
	var head map[string]string
	if err := strict(raw, &head); err != nil {
		return "", nil, refuse("header", "%v", err)
	}
	switch {
	case head["alg"] != "ES256":
		return "", nil, refuse("alg", "it is not ES256")
	case head["typ"] != Typ:
		return "", nil, refuse("typ", "it is not %s", Typ)
	case len(head) != 3 || head["kid"] == "":
		return "", nil, refuse("header", "it has other members than alg, kid and typ")
	}
	key, ok := set.find(head["kid"])
	if !ok {
		return "", nil, refuse("kid", "no key of the set has it")
	}
	sig, err := wire.Decode(parts[2])
	if err != nil || len(sig) != 64 || !verifies(key.key, parts[0]+"."+parts[1], sig) {
		return "", nil, refuse("signature", "it is not this key's")
	}
	if payload, err = wire.Decode(parts[1]); err != nil {
		return "", nil, refuse("token", "its payload is not base64url")
	}
	return head["kid"], payload, nil
}

// verifies checks r and s of 32 bytes each (RFC 7518 section 3.4).
func verifies(key *ecdsa.PublicKey, input string, sig []byte) bool {
	sum := sha256.Sum256([]byte(input))
	return ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
}

// read checks everything that the claims say of themselves, down to the device's
// signature.
func read(payload []byte) (*Statement, error) {
	s := &Statement{}
	if err := strict(payload, &s.Claims); err != nil {
		return nil, refuse("claims", "%v", err)
	}
	if err := s.complete(); err != nil {
		return nil, err
	}
	key, err := s.CNF.JWK.ECDSA()
	if err != nil {
		return nil, refuse("cnf", "it is not a P-256 key")
	}
	s.DeviceKey = s.CNF.JWK.KeyID()
	if s.Answer, err = wire.VerifyAnswer(s.Ans, s.DeviceKey, key); err != nil {
		return nil, refuse("ans", "it is not signed by cnf.jwk as an answer")
	}
	if got := digest(s.View); got != s.HV {
		return nil, refuse("hv", "the hash of the view is %s", got)
	}
	if got := digest(s.Content); got != s.HD {
		return nil, refuse("hd", "the hash of the content is %s", got)
	}
	if s.Blocks, err = wire.ParseView([]byte(s.View)); err != nil {
		return nil, refuse("view", "%v", err)
	}
	for _, check := range []func() error{s.agrees, s.stated, s.detailed} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// complete checks that what must be there is.
func (s *Statement) complete() error {
	if u, err := url.Parse(s.Iss); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" {
		return refuse("iss", "it is not an issuer's address")
	}
	for _, c := range []struct{ name, value string }{
		{"aud", s.Aud}, {"sub", s.Sub}, {"jti", s.JTI}, {"txn", s.Txn}, {"merchant", s.Merchant}, {"handle", s.Handle},
		{"view", s.View}, {"tpl", s.Tpl}, {"lang", s.Lang}, {"ans", s.Ans}, {"enrolment", s.Enrolment.Attestation},
		{"sca", s.SCA.Pos}, {"sca", s.SCA.Kno}, {"sca", s.SCA.Inh}, {"sca", s.SCA.UV}, {"sca", s.SCA.Dsp},
		{"sca", s.SCA.Flow}, {"sca", s.SCA.UI}, {"sca", s.SCA.Enrol},
	} {
		if c.value == "" {
			return refuse(c.name, "it is missing")
		}
	}
	if s.Iat <= 0 {
		return refuse("iat", "it is missing")
	}
	if (s.User == "") != (s.Device == "") {
		return refuse("user", "user and device are there both or not at all")
	}
	return nil
}

// agrees compares the server's wrapper with the device's answer.
func (s *Statement) agrees() error {
	a := s.Answer
	for _, c := range []struct{ name, ours, theirs string }{
		{"handle", s.Handle, a.Iss}, {"aud", s.Aud, a.Aud}, {"txn", s.Txn, a.Txn}, {"hv", s.HV, a.HV}, {"hd", s.HD, a.HD},
		{"tpl", s.Tpl, a.Tpl}, {"lang", s.Lang, a.Lang}, {"sca", s.SCA.Flow, a.Flow}, {"sca", s.SCA.UI, a.UI},
	} {
		if c.ours != c.theirs {
			return refuse(c.name, "the device's answer says %q, the evidence %q", c.theirs, c.ours)
		}
	}
	if a.Dec != wire.Approve {
		return refuse("ans", "the device said %s", a.Dec)
	}
	if _, err := wire.Decode32(a.Chal); err != nil {
		return refuse("ans", "its challenge is not 32 bytes")
	}
	if a.JTI == "" {
		return refuse("ans", "it has no jti")
	}
	if _, err := wire.Decode32(a.CV); (a.CV != "") != (a.UI == wire.UILink) || a.CV != "" && err != nil {
		return refuse("ans", "its cv does not go with ui %s", a.UI)
	}
	if apart := a.Iat - s.Iat; apart > MaxApart || apart < -MaxApart {
		return refuse("iat", "the device answered %d seconds apart from it", apart)
	}
	if s.SCA.Epoch != s.Enrolment.Epoch || s.SCA.Epoch < 1 {
		return refuse("enrolment", "its epoch is not that of sca")
	}
	return nil
}

// stated compares what the device said of itself with the hash in its answer, and
// reads it: findings and members that a later version adds are let be.
func (s *Statement) stated() error {
	if s.Risk == "" {
		return nil
	}
	if got := digest(s.Risk); got != s.Answer.HR {
		return refuse("risk", "its hash is %s, the device's answer says %q", got, s.Answer.HR)
	}
	said := &wire.Risk{}
	if err := wire.Unmarshal([]byte(s.Risk), said); err != nil || said.At <= 0 || said.Findings == nil {
		return refuse("risk", "it is not a statement of a device")
	}
	s.Said = said
	return nil
}

// detailed compares authorization_details, where they are, with the content.
func (s *Statement) detailed() error {
	if s.AuthorizationDetails == nil {
		return nil
	}
	var details, content any
	err := errors.Join(number(s.AuthorizationDetails, &details), number([]byte(s.Content), &content))
	if err != nil || !reflect.DeepEqual(details, content) {
		return refuse("authorization_details", "they are not the content")
	}
	return nil
}

// number decodes JSON with its numbers as they are written.
func number(data []byte, into any) error {
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.UseNumber()
	return dec.Decode(into)
}
