// Package evidence is the proof of a consent signature: a JWT of type
// mobileid-consent+jwt that says who approved which bytes, when and with which
// factors. The device's own signed answer is inside, the server's signature is
// around it, and whoever has the published keys can check both, years later and
// without this program: docs/evidence.md is the format.
//
// The package does no input or output. What it makes is made in the transaction
// of the decision; what it verifies needs nothing but the text and a key set.
package evidence

import (
	"crypto/sha256"
	"encoding/json"

	"mobileid/sdk/wire"
)

// Typ is the JOSE type of evidence; nothing else of ours has it.
const Typ = "mobileid-consent+jwt"

// MaxSize bounds the compact form in bytes. The largest view and content, both
// written with escapes, stay below it.
const MaxSize = 384 << 10

// MaxApart is how far the phone's clock (iat of the answer) may be from the
// server's (iat of the evidence), in seconds.
const MaxApart = 900

// Claims is what evidence says. Hashes, keys and challenges are base64url
// without padding (RFC 7515 section 2); times are seconds since 1970.
type Claims struct {
	Iss      string `json:"iss"` // the server's issuer
	Aud      string `json:"aud"` // client_id of who asked
	Sub      string `json:"sub"` // the user, as this client knows them
	Iat      int64  `json:"iat"` // when it was decided, by the server's clock
	JTI      string `json:"jti"`
	Txn      string `json:"txn"` // operation id
	Merchant string `json:"merchant"`
	// User and Device are ids of the server's. A client with pairwise subjects
	// gets neither.
	User   string `json:"user,omitempty"`
	Device string `json:"device,omitempty"`
	Handle string `json:"handle"` // the device as this client knows it: iss of the answer
	// Content is what was to be signed, byte for byte as the merchant sent it;
	// HD is its SHA-256 (of no bytes where there is none).
	Content string `json:"content,omitempty"`
	// View is what the phone showed, byte for byte (a block list in JSON); HV is
	// its SHA-256. Tpl and Lang say which template rendered it, in which language.
	View string `json:"view"`
	HV   string `json:"hv"`
	HD   string `json:"hd"`
	Tpl  string `json:"tpl"`
	Lang string `json:"lang"`
	// AuthorizationDetails is Content as JSON, where it came by RFC 9396.
	AuthorizationDetails json.RawMessage `json:"authorization_details,omitempty"`
	SCA                  SCA             `json:"sca"`
	CNF                  CNF             `json:"cnf"`
	Enrolment            Enrolment       `json:"enrolment"`
	// Risk is what the device said of itself, byte for byte (JSON); its SHA-256 is hr
	// of the answer. "": it said nothing, or nothing was kept.
	Risk string `json:"risk,omitempty"`
	Ans  string `json:"ans"` // the device's signed answer, a JWS of type mid-ans+jwt
}

// SCA says how strong the authentication was; docs/protocol.md lists its values.
type SCA struct {
	Pos    string `json:"pos"`
	Kno    string `json:"kno"`
	Inh    string `json:"inh"`
	UV     string `json:"uv"`
	Dsp    string `json:"dsp"`
	Flow   string `json:"flow"`
	UI     string `json:"ui"`
	Enrol  string `json:"enrol"`
	Epoch  int64  `json:"epoch"`
	SameIP bool   `json:"same_ip"`
}

// CNF holds the device's public signing key (RFC 7800 section 3.2).
type CNF struct {
	JWK wire.JWK `json:"jwk"`
}

// Enrolment says how the device came to be this user's.
type Enrolment struct {
	Attestation string `json:"attestation"` // "none", or what attested the key
	Epoch       int64  `json:"epoch"`       // grows with each recovery of the user's access
	// Record is the audit record of the enrolment; nil for devices older than it.
	Record *Record `json:"record,omitempty"`
}

// Record names one record of the audit chain: whose line, and its number there.
type Record struct {
	Writer string `json:"writer"`
	Seq    int64  `json:"seq"`
}

// Hash is SHA-256 over the compact form, as audit records and pointers tell it.
func Hash(token string) string { return digest(token) }

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return wire.Encode(sum[:])
}
