// Package operation is the state machine of a device operation: start,
// challenge, answer, decision.
//
// What is pending lives in kv and may be lost (the person is asked to try
// again); what is decided is a row in SQL, and nothing else is ever told.
package operation

import "time"

// Kinds of operation.
const (
	KindRegistration   = "registration"
	KindAuthentication = "authentication"
)

// NoDevice as an operation's device: no phone is offered it or may answer it. It
// stands in where nobody can be asked and the client may not know.
const NoDevice = "-"

// Flows by which an operation is asked for; signed by the device.
const (
	FlowRedirect = "redirect" // OIDC redirect: a browser waits
	FlowCIBA     = "ciba"     // backchannel, with a match code
	FlowPush     = "push"     // backchannel of a trusted client, without one
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
	ID         string    `json:"id"`
	Kind       string    `json:"kind"`
	Flow       string    `json:"flow"`
	MerchantID string    `json:"merchant"`
	ClientID   string    `json:"client"`
	ClientName string    `json:"name"`
	UserID     string    `json:"user"`
	DeviceID   string    `json:"device,omitempty"` // "": any ACTIVE device of the user; NoDevice: none
	Challenge  []byte    `json:"chal"`             // 32 random bytes
	View       []byte    `json:"view"`             // canonical bytes of the block list
	Tpl        string    `json:"tpl"`              // template and version that rendered it
	Lang       string    `json:"lang"`
	MinACR     string    `json:"acr"`             // what must be proven at least
	Match      string    `json:"match,omitempty"` // code the user has to type; "": none
	Initiator  Initiator `json:"init"`
	StartedAt  int64     `json:"at"`  // Unix ms
	ExpiresAt  int64     `json:"exp"` // Unix ms
}

// Expires is when the operation can no longer be decided but as expired.
func (o *Operation) Expires() time.Time { return time.UnixMilli(o.ExpiresAt) }

// pending is what can be said of it before it is decided.
func (o *Operation) pending() Outcome {
	return Outcome{OperationID: o.ID, Kind: o.Kind, State: Pending, MerchantID: o.MerchantID, ClientID: o.ClientID, UserID: o.UserID}
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
	AMR         []string  `json:"amr,omitempty"` // RFC 8176, only what was proven
	ACR         string    `json:"acr,omitempty"`
	ViewHash    string    `json:"viewHash,omitempty"`
	SCA         *SCA      `json:"sca,omitempty"`
}

// Approved reports whether the person said yes.
func (o Outcome) Approved() bool { return o.State == Completed }

// SCA says how strong the authentication was; a claim of ID tokens and evidence.
type SCA struct {
	Pos    string `json:"pos"` // swk | hwk | hwk-att
	Kno    string `json:"kno"` // pin | none
	Inh    string `json:"inh"` // none
	UV     string `json:"uv"`  // none
	Dsp    string `json:"dsp"` // app | browser
	Flow   string `json:"flow"`
	UI     string `json:"ui"`    // typed
	Enrol  string `json:"enrol"` // qr | code
	Epoch  int64  `json:"epoch"`
	SameIP bool   `json:"same_ip"`
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

// Served lists the values that a login can end with today: every answer proves a
// PIN, and no attestation is verified yet.
func Served() []string { return []string{ACRWeb, ACRApp} }

// Rank is the place of an acr in ACRs, or -1.
func Rank(acr string) int {
	for i, a := range ACRs() {
		if a == acr {
			return i
		}
	}
	return -1
}
