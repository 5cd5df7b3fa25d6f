package wire

import "encoding/json"

// Operations of mid/1 that a phone may call.
const (
	OpRegBegin  = "reg.begin"
	OpRegFinish = "reg.finish"
	OpRegStatus = "reg.status"
	OpList      = "op.list"
	OpClaim     = "op.claim"
	OpAnswer    = "op.answer"
	OpPIN       = "pin.change"
	OpRotate    = "dev.rotate"
	OpPush      = "push.set"
	OpRemove    = "dev.remove"
	OpBioAdd    = "bio.add"
	OpBioRemove = "bio.remove"
	OpHistory   = "op.history"
	OpSync      = "dev.sync"
)

// RegBegin opens a registration. Either Ticket (from a link) or Locator (typed)
// is set, and TM is keyed by the link's secret or by the typed code.
type RegBegin struct {
	Ticket   string `json:"ticket,omitempty"`
	Locator  string `json:"locator,omitempty"`
	FC       Bytes  `json:"fc"`       // 32: SHA-256(np)
	TM       Bytes  `json:"tm"`       // 32: TicketMAC
	Platform string `json:"platform"` // "cli", "android", "ios", "web"
	Model    string `json:"model"`    // label for the user's device list
	// Att is what the phone's maker says of DSK; nil: nothing.
	Att *Attestation `json:"att,omitempty"`
}

// Formats of an Attestation.
const (
	AttAndroidKey = "android-key"     // X5C: the key's certificate and those above it
	AttAppAttest  = "apple-appattest" // Obj: the attestation object
)

// Attestation is a statement of the phone's maker.
type Attestation struct {
	Fmt string  `json:"fmt"`
	X5C []Bytes `json:"x5c,omitempty"` // DER, the key's first
	Obj Bytes   `json:"obj,omitempty"` // CBOR
}

// RegBeginReply makes the phone PENDING.
type RegBeginReply struct {
	Device string `json:"device"` // the device id: iss of every later request
	NS     Bytes  `json:"ns"`     // 16: the server's half of the commit
	Hint   string `json:"hint"`   // masked user
	Policy Policy `json:"policy"`
}

// Policy is what the App asks of a PIN and which factors it takes.
type Policy struct {
	PINMin  int      `json:"pin_min"`
	PINMax  int      `json:"pin_max"`
	PINType string   `json:"pin_type"` // "digits" or "any"
	Deny    []string `json:"deny"`     // PINs that the phone must refuse
	Methods []string `json:"methods"`  // FactorPIN, FactorBio
	Confirm string   `json:"confirm"`  // "digits": the user compares 8 digits; "none"
}

// RegFinish opens the commitment and hands over KK.
type RegFinish struct {
	NP Bytes  `json:"np"` // 16
	KK Secret `json:"kk"` // 32
	// Risk are the bytes of the phone's statement about itself (Risk); empty: none.
	Risk Bytes `json:"risk,omitempty"`
}

// States of a registration as the phone sees it.
const (
	RegPending = "pending"
	RegActive  = "active"
	RegRefused = "refused"
)

// RegState answers reg.finish and reg.status.
type RegState struct {
	State string `json:"state"`
}

// RegStatus asks for RegState.
type RegStatus struct{}

// List asks for the pending operations offered to this device.
type List struct{}

func (*List) members() []field { return nil }

// ListReply holds them, oldest first.
type ListReply struct {
	Ops []Operation `json:"ops"`
}

// Operation is a pending operation as one device was shown it. View and Data
// are the exact bytes that the answer's hashes cover.
type Operation struct {
	Txn       string    `json:"txn"`
	ClientID  string    `json:"client_id"`
	Client    string    `json:"client"` // name to show
	Handle    string    `json:"handle"` // this device, as that client knows it
	Kind      string    `json:"kind"`   // "authentication" or "signature"
	View      Bytes     `json:"view"`
	Data      Bytes     `json:"data"` // empty when there is none; hd is then SHA-256 of nothing
	Tpl       string    `json:"tpl"`  // template and version, "login/1"
	Lang      string    `json:"lang"`
	Flow      string    `json:"flow"` // "redirect", "ciba", "rest", "push", "app"; signed as it stands
	UI        string    `json:"ui"`   // UITyped …
	Chal      Bytes     `json:"chal"` // 32
	Need      []string  `json:"need"` // FactorPIN, FactorBio: one of them is to be proven; empty: possession is enough
	Initiator Initiator `json:"initiator"`
	Match     string    `json:"match"` // MatchNone or MatchTyped
	Left      int       `json:"left"`  // wrong PINs that remain
	Exp       int64     `json:"exp"`   // server's time, seconds since 1970
}

// Initiator is where the operation was started, for the user to judge.
type Initiator struct {
	IP      string `json:"ip,omitempty"`
	Browser string `json:"browser,omitempty"`
	Place   string `json:"place,omitempty"`
}

// How the operation reached the phone, and whether a code is to be typed.
const (
	UITyped = "typed" // addressed by name, or found in the list
	UIQR    = "qr"
	UILink  = "link"
	UIApp   = "app"

	MatchNone  = "none"
	MatchTyped = "typed"

	FactorPIN = "pin" // by kpf
	FactorBio = "bio" // by bsig

	// NeedRisk in need{…} is no factor: the phone's statement about itself is missing,
	// too old, or one that the App does not accept. Which is not told.
	NeedRisk = "risk"
)

// Claim is the body of op.claim: it binds an operation that is not addressed by
// name to this phone. App is the secret of the start token that the merchant's app
// got from its backend.
type Claim struct {
	Txn string `json:"txn"`
	App Secret `json:"app"` // 32
}

// ClaimReply holds the operation, now this phone's to answer.
type ClaimReply struct {
	Op Operation `json:"op"`
}

// Answer is the body of op.answer. A decline or report carries ans alone, and nothing
// else of it is looked at.
type Answer struct {
	Ans   string `json:"ans"`             // compact JWS, AnswerClaims
	KPF   Secret `json:"kpf,omitempty"`   // 32
	BSig  Secret `json:"bsig,omitempty"`  // 64: SignBio
	Match string `json:"match,omitempty"` // as typed
	// Risk are the bytes of the phone's statement about itself (Risk), whose hash ans
	// covers as hr; empty: none.
	Risk Bytes `json:"risk,omitempty"`
}

func (a *Answer) members() []field {
	return []field{{"ans", &a.Ans}, {"kpf", &a.KPF}, {"bsig", &a.BSig}, {"match", &a.Match}, {"risk", &a.Risk}}
}

// AnswerReply says how the operation ended: COMPLETED, DECLINED, REPORTED. Post
// is a view to show after an approval; empty if there is none.
type AnswerReply struct {
	Txn   string `json:"txn"`
	State string `json:"state"`
	Post  Bytes  `json:"post,omitempty"`
}

// PINChange is the body of pin.change: a new knowledge key, proven by the old one.
type PINChange struct {
	KK   Secret `json:"kk"`             // 32
	Risk Bytes  `json:"risk,omitempty"` // the phone's statement about itself (Risk); empty: none
	KPF  Secret `json:"kpf,omitempty"`  // 32: CallProof over the body without it
}

// Unproven are the bytes of the body that its proof covers: without kpf.
func (c PINChange) Unproven() ([]byte, error) {
	c.KPF = nil
	return json.Marshal(c)
}

// Rotation is the body of dev.rotate: a new signing key, which signs too, and with
// it a new knowledge key, proven by the old one.
type Rotation struct {
	New  string `json:"new"`            // compact JWS, NewKeyClaims
	KK   Secret `json:"kk"`             // 32
	Risk Bytes  `json:"risk,omitempty"` // the phone's statement about itself (Risk); empty: none
	KPF  Secret `json:"kpf,omitempty"`  // 32: CallProof over the body without it
}

// Unproven are the bytes of the body that its proof covers: without kpf.
func (r Rotation) Unproven() ([]byte, error) {
	r.KPF = nil
	return json.Marshal(r)
}

// BioAdd is the body of bio.add: a biometric key, which signs too, in place of the
// one before, if any; authorised by the PIN.
type BioAdd struct {
	New  string       `json:"new"`            // compact JWS, BioKeyClaims
	Att  *Attestation `json:"att,omitempty"`  // what the phone's maker says of the key; nil: nothing
	Risk Bytes        `json:"risk,omitempty"` // the phone's statement about itself (Risk); empty: none
	KPF  Secret       `json:"kpf,omitempty"`  // 32: CallProof over the body without it
}

// Unproven are the bytes of the body that its proof covers: without kpf.
func (b BioAdd) Unproven() ([]byte, error) {
	b.KPF = nil
	return json.Marshal(b)
}

// BioRemove gives the biometric key up.
type BioRemove struct{}

// PushSet is the body of push.set: where the phone is woken by Web Push (RFC 8030),
// and what for the pushes are encrypted (RFC 8291). Empty, it has no address.
type PushSet struct {
	Endpoint string `json:"endpoint,omitempty"`
	P256DH   Bytes  `json:"p256dh,omitempty"` // 65: uncompressed point
	Auth     Secret `json:"auth,omitempty"`   // 16
}

// PushReply says under which key (RFC 8292) the server sends.
type PushReply struct {
	VAPID Bytes `json:"vapid"` // 65: uncompressed point
}

// Push is what a push holds: what waits, which is told by op.list alone.
type Push struct {
	Txn string `json:"txn"`
	Tag string `json:"tag,omitempty"` // the merchant's own
}

// Changed is the reply to pin.change, dev.rotate, bio.add and bio.remove: it is done.
type Changed struct{}

// Remove gives the registration up.
type Remove struct{}

// History asks what was decided.
type History struct{}

// HistoryReply holds the last operations of the user that are decided, newest
// first, 20 at most.
type HistoryReply struct {
	Ops []Past `json:"ops"`
}

// Past is an operation that is decided.
type Past struct {
	Txn      string `json:"txn"`
	ClientID string `json:"client_id,omitempty"` // who asked; absent: nobody
	Client   string `json:"client,omitempty"`    // name to show
	Kind     string `json:"kind"`
	State    string `json:"state"`
	At       int64  `json:"at"`           // seconds since 1970
	By       string `json:"by,omitempty"` // "this" or "other" device; absent: none
}

// Try names a request that was sent: its jti and SHA-256 of its JWS.
type Try struct {
	JTI string `json:"jti"`
	RH  string `json:"rh"`
}

// Sync asks what became of a request whose reply was lost. Syncs are earlier
// dev.sync requests under the same head that got no reply either: naming them
// proves that it is the same phone asking again, and not a copy.
type Sync struct {
	Try
	Syncs []Try `json:"syncs,omitempty"`
}
