// Package sdk is a phone of mid/1 in Go: it registers, lists operations and
// answers them. What it must not lose is in a Store, what must not leave the
// phone in a Keystore; it stores neither PIN nor knowledge key nor a proof.
// docs/protocol.md says what it does and why.
package sdk

import (
	"context"
	"crypto"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"mobileid/sdk/wire"
)

// Keystore holds a registration's keys and uses them without giving them out. On
// a phone it is the hardware's; File keeps them in software ("swk").
type Keystore interface {
	// Create makes DSK (ES256) and DHK (HMAC-SHA-256); ref names the pair.
	Create() (ref string, err error)
	// Signer returns DSK. Its signatures are ASN.1.
	Signer(ref string) (crypto.Signer, error)
	// MAC is HMAC-SHA-256 under DHK; it serves nothing but the PIN wrap.
	MAC(ref string, data []byte) ([]byte, error)
	// Delete destroys the pair; no error if it is gone.
	Delete(ref string) error
}

// Attester is a Keystore whose maker speaks for its keys.
type Attester interface {
	// Attest returns what the maker says of DSK for wire.AttestationChallenge or,
	// of App Attest, wire.AppAttestHash; nil if it says nothing. Where a key is
	// attested only as it is made, DSK is made anew under ref. Nothing was signed
	// with it before.
	Attest(ref, ek, ticketOrLocator string) (*wire.Attestation, error)
}

// Risk finds out about the phone that it runs on: what RASP libraries find, and the
// country. Whatever it says is signed by the phone and is the phone's own word.
type Risk interface {
	// Measure looks now and says what it found, of wire.Findings. Platform, Model and At
	// may be left out. After an error nothing is sent.
	Measure(ctx context.Context) (wire.Risk, error)
}

// Store keeps the phone's state. Between Lock and unlock no other process may
// read or write it.
type Store interface {
	Lock() (unlock func(), err error)
	Load() (*State, error) // an empty State if there is none
	Save(*State) error     // durable when it returns
}

// Phone is one registration. Its fields are set before the first call.
type Phone struct {
	Store    Store
	Keys     Keystore
	Bio      Biometry // nil: the phone has none
	HTTP     *http.Client
	Now      func() time.Time
	Rand     io.Reader
	Platform string // "cli", "android", …
	Model    string // label in the user's device list
	// Risk looks at the phone before whatever the PIN or biometry proves: an approval,
	// another PIN, other keys, a biometric key, and the end of the registration. nil: nothing is said, which Apps that ask refuse.
	Risk Risk
	// Pause waits between two sends of the same bytes; nil means not to send
	// them again.
	Pause func(try int)
	// Stretch is the slow step from a PIN, where there is a better way to the same
	// bytes than wire.Stretch; nil: that.
	Stretch func(pin string, salt []byte) ([]byte, error)

	mu   sync.Mutex
	set  *wire.KeySet  // of the server, in memory only
	pin  string        // thumbprint that set was verified under
	skew time.Duration // server's clock minus ours
}

// Registration states, in State.Status.
const (
	StatusNone    = ""        // nothing yet
	StatusBegun   = "begun"   // reg.begin was answered: a PIN is to be chosen
	StatusPending = "pending" // reg.finish was answered: to be confirmed in the browser
	StatusActive  = "active"
	StatusRefused = "refused"
)

// State is all that a phone keeps. It holds nothing with which a PIN could be
// tried offline.
type State struct {
	Status  string      `json:"status"`
	Origin  string      `json:"origin"`
	Pin     string      `json:"pin"`    // thumbprint of the server's signing key
	KeyRef  string      `json:"key"`    // names DSK and DHK in the keystore
	Device  string      `json:"device"` // device id
	Head    string      `json:"head"`
	Hint    string      `json:"hint"`
	Policy  wire.Policy `json:"policy"`
	Typed   bool        `json:"typed"`          // registered by locator and code
	NP      wire.Secret `json:"np,omitempty"`   // until reg.finish is answered
	Digits  string      `json:"digits"`         // the 8 digits to compare
	Salt    wire.Bytes  `json:"salt,omitempty"` // of the PIN wrap
	Wrapped wire.Secret `json:"wrapped,omitempty"`
	Bio     string      `json:"bio,omitempty"`  // names DBK in Biometry; "": there is none
	Next    *Wrap       `json:"next,omitempty"` // of the PIN or the keys to be, until the server has said which hold
	Sent    *Unanswered `json:"sent,omitempty"`
}

// Wrap is a knowledge key hidden by a PIN, or Bio.
type Wrap struct {
	KeyRef  string      `json:"key,omitempty"` // of dev.rotate: names the new DSK and DHK
	Salt    wire.Bytes  `json:"salt,omitempty"`
	Wrapped wire.Secret `json:"wrapped,omitempty"`
	Bio     string      `json:"bio,omitempty"` // of bio.add, alone: names the new DBK
}

// Unanswered is a state-changing request without a reply. While there is one,
// nothing else is sent under its head but dev.sync naming it.
type Unanswered struct {
	Call  wire.Sent   `json:"call"`
	Txn   string      `json:"txn,omitempty"`   // op.answer: which operation
	Syncs []wire.Sent `json:"syncs,omitempty"` // asked since, oldest first
}

// Sealed errors worth telling apart; compare with errors.Is. Any sealed error is
// a *wire.Error.
var (
	ErrFork    error = &wire.Error{Code: wire.Fork}   // a copy of this phone is about: register anew
	ErrResync  error = &wire.Error{Code: wire.Resync} // the server lost its place, as after a restore
	ErrRemoved error = &wire.Error{Code: wire.DeviceRemoved}
)

var (
	// ErrNoReply means that nobody knows yet what became of the request: Resume.
	ErrNoReply = errors.New("no reply from the server")
	// ErrNotDone means that the server never saw the request and never will.
	ErrNotDone = errors.New("the server did not see the request; nothing was done")
	// ErrUnanswered means that an earlier request has to be settled first.
	ErrUnanswered = errors.New("an earlier request is unanswered")
	// ErrNotRegistered and ErrRegistered are about the order of calls.
	ErrNotRegistered = errors.New("this phone is not registered")
	ErrRegistered    = errors.New("this phone is registered already")
	// ErrCannotShow means that the phone cannot show all of an operation and
	// therefore does not approve it.
	ErrCannotShow = errors.New("the operation cannot be shown")
)
