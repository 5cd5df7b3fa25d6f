package wire

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
)

// Decisions.
const (
	Approve = "approve"
	Decline = "decline"
	Report  = "report"
)

// AnswerClaims is what the device signs about an operation. It may be shown to
// the merchant, so it holds only what that client may know.
type AnswerClaims struct {
	Iss  string `json:"iss"` // pairwise device handle
	Aud  string `json:"aud"` // client_id
	Txn  string `json:"txn"`
	Chal string `json:"chal"`
	Dec  string `json:"dec"`
	HV   string `json:"hv"`
	HD   string `json:"hd"`
	Tpl  string `json:"tpl"`
	Lang string `json:"lang"`
	Flow string `json:"flow"`
	UI   string `json:"ui"`
	CV   string `json:"cv,omitempty"`
	HR   string `json:"hr,omitempty"` // RiskHash of the statement beside it; "": there is none
	Iat  int64  `json:"iat"`
	JTI  string `json:"jti"`
}

func (c *AnswerClaims) members() []field {
	return []field{{"iss", &c.Iss}, {"aud", &c.Aud}, {"txn", &c.Txn}, {"chal", &c.Chal}, {"dec", &c.Dec}, {"hv", &c.HV}, {"hd", &c.HD},
		{"tpl", &c.Tpl}, {"lang", &c.Lang}, {"flow", &c.Flow}, {"ui", &c.UI}, {"cv", &c.CV}, {"hr", &c.HR}, {"iat", &c.Iat}, {"jti", &c.JTI}}
}

// ClaimsFor fills the claims from the operation as this device was shown it;
// the caller adds dec, cv, hr, iat and jti. The server compares with the same call
// over its own record of what it sent.
func ClaimsFor(op *Operation) AnswerClaims {
	hv, hd := sha256.Sum256(op.View), sha256.Sum256(op.Data)
	return AnswerClaims{
		Iss: op.Handle, Aud: op.ClientID, Txn: op.Txn, Chal: Encode(op.Chal),
		HV: Encode(hv[:]), HD: Encode(hd[:]), Tpl: op.Tpl, Lang: op.Lang, Flow: op.Flow, UI: op.UI,
	}
}

// SignAnswer makes ans, the compact JWS.
func SignAnswer(dsk crypto.Signer, c AnswerClaims) (string, error) {
	jwk, err := PublicJWK(dsk)
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	return signCompact(dsk, `{"alg":"ES256","typ":"`+TypAnswer+`","kid":"`+jwk.KeyID()+`"}`, payload)
}

// AnswerHash is SHA-256 over the ASCII compact form.
func AnswerHash(ans string) [32]byte { return sha256.Sum256([]byte(ans)) }

// VerifyAnswer checks header and signature of ans under the device's key and
// returns its claims. What the claims must say is the caller's to compare.
func VerifyAnswer(ans string, kid string, dsk *ecdsa.PublicKey) (AnswerClaims, error) {
	c, err := splitCompact([]byte(ans))
	if err != nil {
		return AnswerClaims{}, err
	}
	if !c.head.only("alg", "typ", "kid") || !c.head.is("alg", algES256) ||
		!c.head.is("typ", TypAnswer) || !c.head.is("kid", kid) || !c.verify(dsk) {
		return AnswerClaims{}, errSignature
	}
	var out AnswerClaims
	if err := Unmarshal(c.payload, &out); err != nil {
		return AnswerClaims{}, err
	}
	switch out.Dec {
	case Approve, Decline, Report:
		return out, nil
	}
	return AnswerClaims{}, errors.New("no decision")
}
