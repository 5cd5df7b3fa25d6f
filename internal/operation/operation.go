// Package operation is the state machine of a device operation: start,
// challenge, answer, decision.
//
// What is pending lives in kv and may be lost (the person is asked to try
// again); what is decided is a row in SQL, and nothing else is ever told.
package operation

import (
	"slices"
	"strings"
	"time"

	"mobileid/internal/attestation"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/internal/risk"
)

// Kinds of operation.
const (
	KindRegistration   = "registration"
	KindAuthentication = "authentication"
	KindSignature      = "signature"
)

// Ways an operation begins: from a backend, which the phone is told of, or inside
// the merchant's own app, which alone can claim it.
const (
	FromBackend = "backend"
	FromApp     = "app"
)

// How many kinds of factor an answer must prove. Possession is always one.
const (
	OneFactor = "ONE_FACTOR"
	TwoFactor = "TWO_FACTOR" // the default
)

// NoDevice as an operation's device: no phone is offered it or may answer it. It
// stands in where nobody can be asked and the client may not know.
const NoDevice = "-"

// Flows by which an operation is asked for; signed by the device.
const (
	FlowRedirect = "redirect" // OIDC redirect: a browser waits
	FlowCIBA     = "ciba"     // backchannel, with a match code
	FlowPush     = "push"     // backchannel or REST of a trusted client, without one
	FlowREST     = "rest"     // REST, with a match code
	FlowApp      = "app"      // begun inside the merchant's app
)

// Initiator is where the request came from, as shown to the user.
type Initiator struct {
	IP      string `json:"ip,omitempty"`
	Browser string `json:"browser,omitempty"`
}

// Operation is a pending operation. Nothing of it changes after its start: the
// view is rendered once, in the user's language, and its bytes are what every
// device is shown, what the hash covers and what the answer signs.
type Operation struct {
	ID         string
	Kind       string
	Flow       string
	MerchantID string
	ClientID   string
	ClientName string
	UserID     string
	DeviceID   string // "": any ACTIVE device of the user; NoDevice: none
	Challenge  []byte // 32 random bytes
	View       []byte // canonical bytes of the block list
	Data       []byte // typed data, canonical bytes; empty: none
	Post       []byte // view that is shown after an approval; empty: none
	Tpl        string // template and version that rendered it
	Lang       string
	MinACR     string // what must be proven at least
	Match      string // code the user has to type; "": none
	Level      string // OneFactor, or "" for TwoFactor
	Methods    string // identity.Methods of which one must be proven, space-delimited; "": any
	Initiation string // FromApp, or "" for FromBackend
	AppID      string // "": phones of any App
	ClientData string // the client's own, told back as it is
	Initiator  Initiator
	Scope      string // of a backchannel request: what its client asked for, space-delimited
	StartedAt  int64  // Unix ms
	ExpiresAt  int64  // Unix ms
}

// Expires is when the operation can no longer be decided but as expired.
func (o *Operation) Expires() time.Time { return time.UnixMilli(o.ExpiresAt) }

func (o *Operation) started() time.Time { return time.UnixMilli(o.StartedAt) }

// addresses reports whether the operation is before dev: its user's, if it names a
// device or an App, that one, and not asked for before dev was last locked.
func (o *Operation) addresses(dev *db.Device) bool {
	return o.UserID == dev.UserID && (o.DeviceID == "" || o.DeviceID == dev.ID) && (o.AppID == "" || o.AppID == dev.AppID) && !dev.ValidAfter.After(o.started())
}

// backchannelUntil is ExpiresAt of a backchannel request, 0 of anything else.
func (o *Operation) backchannelUntil() int64 {
	if o.Flow == FlowCIBA || o.Flow == FlowPush || o.Flow == FlowApp {
		return o.ExpiresAt
	}
	return 0
}

// open is what is told of the operation while it is not decided.
func (o *Operation) open() Outcome {
	return Outcome{OperationID: o.ID, Kind: o.Kind, State: Pending, MerchantID: o.MerchantID, ClientID: o.ClientID, UserID: o.UserID,
		ClientData: o.ClientData, ViewHash: hashText(o.View), DataHash: dataHash(o.Data), Tpl: o.Tpl, Lang: o.Lang, Data: o.Data, ExpiresAt: o.Expires(),
		Scope: o.Scope, Expires: o.backchannelUntil()}
}

// need lists factors, one of which a device must prove besides that it is the device;
// none where that is enough. What the operation takes and the device cannot prove
// stands there only if it can prove nothing of it.
func (o *Operation) need(can []string) []string {
	if o.Level == OneFactor {
		return []string{}
	}
	var all, able []string
	for _, f := range factors() {
		if !o.takes(f.method) {
			continue
		}
		all = append(all, f.name)
		if slices.Contains(can, f.method) {
			able = append(able, f.name)
		}
	}
	if len(able) == 0 {
		return all
	}
	return able
}

func (o *Operation) takes(method string) bool {
	return o.Methods == "" || slices.Contains(strings.Fields(o.Methods), method)
}

// Outcome is what a decided operation says. It is stored in the decision row
// as it stands and never changes.
type Outcome struct {
	OperationID string    `json:"operationId"`
	Kind        string    `json:"kind"`
	State       State     `json:"state"`
	MerchantID  string    `json:"-"`
	ClientID    string    `json:"clientId,omitempty"`
	UserID      string    `json:"userId,omitempty"`
	DeviceID    string    `json:"deviceId,omitempty"`
	Reason      string    `json:"reason,omitempty"` // why it ended otherwise than approved
	At          time.Time `json:"at"`
	Factors     []string  `json:"factors,omitempty"` // POSSESSION, KNOWLEDGE, INHERENCE: only what was proven
	AMR         []string  `json:"amr,omitempty"`     // RFC 8176, likewise
	ACR         string    `json:"acr,omitempty"`
	ViewHash    string    `json:"viewHash,omitempty"` // b64 SHA-256 of what was shown
	DataHash    string    `json:"dataHash,omitempty"` // b64 SHA-256 of Data; "": there was none
	Tpl         string    `json:"tpl,omitempty"`
	Lang        string    `json:"lang,omitempty"`
	ClientData  string    `json:"clientData,omitempty"`
	SCA         *SCA      `json:"sca,omitempty"`
	// Attestation is what came of a registered phone's attestation; empty: none was
	// asked for. Of other kinds sca says what it means.
	Attestation *attestation.Result `json:"attestation,omitempty"`
	// Risk is what the phone that approved, or was refused for it, said of itself; nil:
	// its App does not ask.
	Risk *risk.Result `json:"risk,omitempty"`
	// Of a backchannel request, so that its client's poll needs nothing else: the
	// scope that was asked for, and until when (Unix ms).
	Scope   string `json:"scope,omitempty"`
	Expires int64  `json:"expires,omitempty"`
	// Evidence points to the proof of an approved signature.
	Evidence *EvidenceRef `json:"evidence,omitempty"`

	// Data are the bytes of the typed data as they were shown and signed.
	Data []byte `json:"-"`
	// ExpiresAt is set while the operation is open.
	ExpiresAt time.Time `json:"-"`
}

// ReasonRisk is why an operation ended whose phone is not accepted: Outcome.Risk
// has the check that failed.
const ReasonRisk = "risk_blocked"

// Approved reports whether the person said yes.
func (o Outcome) Approved() bool { return o.State == Completed }

// SCA says how strong the authentication was; a claim of ID tokens and evidence.
type SCA struct {
	Pos    string `json:"pos"` // swk | hwk | hwk-att
	Kno    string `json:"kno"` // pin | none
	Inh    string `json:"inh"` // bio | bio-att | none
	UV     string `json:"uv"`  // none
	Dsp    string `json:"dsp"` // app | browser
	Flow   string `json:"flow"`
	UI     string `json:"ui"`    // typed | app
	Enrol  string `json:"enrol"` // qr | code
	Epoch  int64  `json:"epoch"`
	SameIP bool   `json:"same_ip"`
}

// Texts are the members that are texts, in the order in which records keep them.
func (s *SCA) Texts() [8]*string {
	return [8]*string{&s.Pos, &s.Kno, &s.Inh, &s.UV, &s.Dsp, &s.Flow, &s.UI, &s.Enrol}
}

// ACR values, from proven facts only, weakest first.
const (
	ACRPossession = "urn:mobileid:acr:possession"
	ACRWeb        = "urn:mobileid:acr:web"
	ACRApp        = "urn:mobileid:acr:app"
	ACRAppHW      = "urn:mobileid:acr:app-hw"
)

// ACRs lists the values, weakest first.
func ACRs() []string { return []string{ACRPossession, ACRWeb, ACRApp, ACRAppHW} }

// Served lists the values that a login can end with: every one proves two factors.
// hardware is what HardwareReached says.
func Served(hardware bool) []string {
	if hardware {
		return []string{ACRWeb, ACRApp, ACRAppHW}
	}
	return []string{ACRWeb, ACRApp}
}

// HardwareReached reports whether a login can end with ACRAppHW: some native App has
// an ACTIVE device whose key is attested, or gets one, since it asks for attestation
// and makers are trusted (anchored) that attest keys in hardware.
func HardwareReached(tx *db.Tx, anchored bool) (reached bool, err error) {
	all, err := tx.AppsByHardware()
	for i := 0; i < len(all) && err == nil && !reached; i++ {
		var p identity.Policy
		if p, err = identity.PolicyOf(all[i].App); err == nil && p.Kind != "web" {
			reached = all[i].Attested || anchored && p.Attestation != identity.AttestationOff
		}
	}
	return reached, err
}

// Rank is the place of an acr in ACRs, or -1.
func Rank(acr string) int {
	for i, a := range ACRs() {
		if a == acr {
			return i
		}
	}
	return -1
}
