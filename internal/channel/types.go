// Package channel is the server's side of mid/1: it opens a request, finds the
// device, verifies it, lets a handler act, and seals the reply. Heads, resends
// and forks are decided here and nowhere else; what a call means is the
// handler's. docs/protocol.md is the specification.
package channel

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"time"

	"mobileid/internal/db"
	"mobileid/sdk/wire"
)

// Call is a request that has been opened and verified: this device sent these
// bytes to this server, now. Whether its head is good shows in the transaction.
type Call struct {
	Device   *db.Device       // as CallerOf read it before the transaction; nil for reg.begin
	Caller   *db.Caller       // the same, with what is known of its user
	DSK      wire.JWK         // the key that signed; json.Marshal gives its JWK
	Key      *ecdsa.PublicKey // the same, for verifying; shared, so only to be read
	KeyID    string           // its thumbprint
	Op       string
	Body     json.RawMessage
	Head     string
	JTI      string
	EK       string   // kid of the server key it was sealed to
	RH       [32]byte // SHA-256 of the request JWS
	JWE      [32]byte // SHA-256 of the request as it came
	IssuedAt time.Time
	RemoteIP string
}

// Decode reads the body by the strict rules of mid/1.
func (c *Call) Decode(into any) *wire.Error {
	if wire.Unmarshal(c.Body, into) != nil {
		return &wire.Error{Code: wire.Malformed}
	}
	return nil
}

// Plan is what a handler wants done.
type Plan struct {
	// Reply is the body of a call that changes no state.
	Reply any
	// Commit of a state-changing call runs inside the one transaction that also
	// moves the head and stores the sealed reply. dev is the locked row, without
	// what its last call came to (db.Tx.LockCaller); it only runs statements and
	// computes. A reply body or a *wire.Error commits, any
	// other error rolls everything back and the phone is told "unavailable".
	//
	// For reg.begin dev is new: DSK, DSKThumb and Chain are filled in, and Commit
	// fills the rest and inserts *dev. If it returns a *wire.Error it leaves
	// dev.ID empty; the reply then has no head.
	Commit func(tx *db.Tx, dev *db.Device) (body any, werr *wire.Error, err error)
	// After runs once, when Commit is durable, and not for a resend: wake-ups.
	After func(ctx context.Context)
}

// Handler carries out one call of mid/1.
type Handler struct {
	StateChanging bool
	// AllowedStates are the device states in which the call is taken. A block
	// whose time is over counts as ACTIVE.
	AllowedStates []string
	// ByName says that Prepare needs of the device only what never changes (its names,
	// App, user, salt), or proves anew in Commit what may have: Call.Device and Caller
	// may then be of an earlier call. The locked row is judged in any case.
	ByName bool
	// Prepare does what needs no transaction: kv reads and pure cryptography. A
	// *wire.Error of a state-changing call still moves the head, so Prepare must
	// judge only what the same bytes would meet again.
	Prepare func(ctx context.Context, c *Call) (Plan, *wire.Error, error)
}
