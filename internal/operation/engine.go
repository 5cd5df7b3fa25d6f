package operation

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"mobileid/internal/attestation"
	"mobileid/internal/audit"
	"mobileid/internal/callback"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/keys"
	"mobileid/internal/kv"
	"mobileid/internal/outbox"
	"mobileid/sdk/wire"
)

const (
	// DefaultLife and MaxLife bound how long an operation may wait.
	DefaultLife = 180 * time.Second
	MaxLife     = 600 * time.Second
	// linger is how long kv remembers an operation past its time, so that
	// whoever asks can be told, and the decision written, that it expired.
	linger = 10 * time.Minute
	// clockSlack is how far a node may be ahead of a transaction in what it takes
	// for SQL's time: both are late, by different readings.
	clockSlack = 100 * time.Millisecond
	// reread is how often a waiter reads SQL without being woken.
	reread = 5 * time.Second
)

// Config is what an Engine needs.
type Config struct {
	DB     *db.DB
	KV     kv.KV
	Box    *keys.Box
	Audit  *audit.Writer
	Outbox *outbox.Worker
	Clock  clock.Clock
	// Attest verifies what makers say of biometric keys.
	Attest *attestation.Verifier
	Log    *slog.Logger
	Issuer string // as evidence names it
	// EvidenceKeys are those that evidence may be signed with.
	EvidenceKeys func(context.Context) ([]*keys.Key, error)
	// Stamp sends a query to a time-stamping authority (RFC 3161) and returns its
	// reply. nil: evidence goes without.
	Stamp func(ctx context.Context, query []byte) ([]byte, error)
	// Draining is closed when the node is about to stop: held requests are told
	// the state they are in. nil never is.
	Draining <-chan struct{}
	// Started and Decided are told of every operation that was started here and
	// every decision that this node made durable. They may be nil.
	Started func(kind string)
	Decided func(kind string, state State)
}

// Engine starts operations, takes devices' answers and tells outcomes.
type Engine struct {
	Config
	ops     kv.Bucket[Operation]
	pending kv.Bucket[prompts]
	nobody  []byte // key of Nobody
	claims  []byte // key of StartToken

	policies *policies
	outcomes *outcomes
	listed   *listed
}

// New makes an engine.
func New(c Config) *Engine {
	return &Engine{Config: c, ops: kv.NewBucket[Operation](c.KV, "o"), pending: kv.NewBucket[prompts](c.KV, "u"), nobody: c.Box.Derive("nobody 1"), claims: c.Box.Derive("start token 1"), policies: &policies{}, outcomes: newOutcomes(), listed: newListed()}
}

// Nobody is the user id under which operations for somebody who does not exist
// are counted: the same for the same hint, and telling nothing of it.
func (e *Engine) Nobody(merchantID, hint string) string {
	m := wire.MAC(e.nobody, []byte(merchantID), []byte(hint))
	return "none_" + wire.Encode(m[:16])
}

// Start puts op before its user's devices. The caller fills who, what and how
// long (ExpiresAt), and the ID of one that may have been started before: op then
// becomes what was started. Start gives it id and challenge, counts it against the
// user's caps (limit_reached, forbidden while the client cools down) and
// supersedes the client's older prompt to the same user.
func (e *Engine) Start(ctx context.Context, op *Operation) error {
	if op.ID == "" {
		op.ID = db.NewSerialID("op_")
	}
	op.Challenge = make([]byte, 32)
	rand.Read(op.Challenge)
	// It is there before it is counted: a newer request that finds it in the
	// user's record must be able to end it. Nobody can see it before.
	life := op.Expires().Sub(e.Clock.Now())
	counted, err := e.put(ctx, op, life+linger)
	again := errors.Is(err, kv.ErrExists)
	if again {
		*op, err = e.read(ctx, op.ID)
	}
	if err != nil {
		return fault.Wrap(fault.Unavailable, "the operation could not be started; try again", err)
	}
	var older []string
	if !counted {
		older, err = e.reserve(ctx, op, nil)
	}
	if fault.Is(err, fault.LimitReached) {
		if foreign := e.foreign(ctx, op.UserID); len(foreign) > 0 {
			older, err = e.reserve(ctx, op, foreign)
		}
	}
	if err != nil && again {
		return err // the record is not this call's to remove
	}
	if err != nil {
		if derr := e.ops.Delete(context.WithoutCancel(ctx), op.ID); derr != nil {
			e.Log.WarnContext(ctx, "an operation that was not started is left to expire", "operation", op.ID, "error", derr)
		}
		return err
	}
	for _, id := range older {
		if _, err := e.End(ctx, id, Supersede, "a newer request of the same client"); err != nil && !fault.Is(err, fault.NotFound) {
			// Whoever asked is told that it failed, so nobody may answer it.
			if _, cerr := e.End(context.WithoutCancel(ctx), op.ID, Cancel, "not started"); cerr != nil {
				e.Log.WarnContext(ctx, "a prompt could not be withdrawn", "operation", op.ID, "error", cerr)
			}
			return err
		}
	}
	if op.DeviceID != NoDevice {
		e.listed.keep(op)
	}
	if e.Started != nil {
		e.Started(op.Kind)
	}
	return nil
}

// read is the pending operation; kv.ErrNotFound, or kv.ErrRecord if its record has
// the form of another version of the server.
func (e *Engine) read(ctx context.Context, id string) (Operation, error) {
	op, err := e.ops.Get(ctx, id)
	op.ID = id
	return op, err
}

// absent reports that there is no operation for this node: none, or one of another
// version, before an upgrade or beside this node, which alone may still decide it.
func absent(err error) bool { return errors.Is(err, kv.ErrNotFound) || errors.Is(err, kv.ErrRecord) }

// lost is the outcome of an operation that is absent, or not_found.
func (e *Engine) lost(ctx context.Context, id string) (Outcome, error) {
	out, err := e.decided(ctx, id)
	if errors.Is(err, db.ErrNotFound) {
		err = fault.New(fault.NotFound, "nothing is known of this operation; please start again")
	}
	return out, err
}

// decided is the outcome; db.ErrNotFound while the operation is open.
func (e *Engine) decided(ctx context.Context, id string) (out Outcome, err error) {
	if out, ok := e.outcomes.find(id, e.Clock.Now()); ok {
		return out, nil
	}
	err = e.DB.View(ctx, func(tx *db.Tx) (err error) {
		out, err = OutcomeOf(tx, id)
		return err
	})
	return out, err
}

// Status returns where the operation is: its outcome, or the state PENDING. An
// operation whose time is over is decided as expired before that is told.
// not_found means that nothing is known of it: the user has to try again. One that
// only a node of another version can read is unavailable until that decides it, or
// until its record is over.
func (e *Engine) Status(ctx context.Context, id string) (Outcome, error) {
	out, err := e.decided(ctx, id)
	if !errors.Is(err, db.ErrNotFound) {
		return out, err
	}
	op, err := e.read(ctx, id)
	if errors.Is(err, kv.ErrNotFound) {
		return e.lost(ctx, id) // it may have been decided, and forgotten by kv, between the two reads
	}
	if err != nil {
		return Outcome{}, fault.Wrap(fault.Unavailable, "the operation cannot be read; try again", err)
	}
	if op.Expires().After(e.Clock.Now()) {
		out := op.open()
		if op.Initiation == FromApp {
			if out.DeviceID, err = e.claimedBy(ctx, id); err != nil {
				return Outcome{}, err
			}
			if out.DeviceID != "" {
				out.State = Claimed
			}
		}
		return out, nil
	}
	return e.end(ctx, &op, Expire, "")
}

// Wait is Status that is held until the operation is decided or until has
// passed, whichever is first.
func (e *Engine) Wait(ctx context.Context, id string, until time.Duration) (Outcome, error) {
	hint, stop := e.ops.Watch(id)
	defer stop()
	deadline := time.NewTimer(until)
	defer deadline.Stop()
	for {
		out, err := e.Status(ctx, id)
		if err != nil || out.State.Terminal() {
			return out, err
		}
		tick := time.NewTimer(reread)
		select {
		case <-hint:
		case <-tick.C:
		case <-deadline.C:
			tick.Stop()
			return e.Status(ctx, id)
		case <-e.Draining:
			tick.Stop()
			return out, nil
		case <-ctx.Done():
			tick.Stop()
			return out, ctx.Err()
		}
		tick.Stop()
	}
}

// Watch gives a hint whenever the operation may have changed.
func (e *Engine) Watch(id string) (<-chan struct{}, func()) { return e.ops.Watch(id) }

// End decides a pending operation from the outside: Cancel, Supersede or
// Expire. Ending what is decided changes nothing; the outcome that stands is
// returned either way.
func (e *Engine) End(ctx context.Context, id string, m Move, reason string) (Outcome, error) {
	op, err := e.known(ctx, id)
	if absent(err) {
		return e.lost(ctx, id)
	}
	if err != nil {
		return Outcome{}, fault.Wrap(fault.Unavailable, "the operation cannot be read; try again", err)
	}
	return e.end(ctx, &op, m, reason)
}

func (e *Engine) end(ctx context.Context, op *Operation, m Move, reason string) (out Outcome, err error) {
	err = e.DB.Update(ctx, func(tx *db.Tx) (err error) {
		move := m
		if !op.Expires().After(tx.Now()) {
			move = Expire
		} else if m == Expire && op.Expires().Sub(tx.Now()) > clockSlack {
			out = op.open()
			return nil
		}
		out, err = e.decide(tx, op, nil, move, reason)
		if errors.Is(err, db.ErrConflict) {
			out, err = OutcomeOf(tx, op.ID)
		}
		return err
	})
	if err != nil {
		return Outcome{}, fault.Wrap(fault.Unavailable, "the operation could not be ended; try again", err)
	}
	if out.State.Terminal() {
		e.settle(ctx, op, out, nil)
	}
	return out, nil
}

// decide writes the decision row with its audit record and outbox item. What
// the device proved is filled in when there is one; db.ErrConflict means that
// the operation was decided already.
func (e *Engine) decide(tx *db.Tx, op *Operation, p *proof, m Move, reason string) (Outcome, error) {
	state, ok := Next(Pending, m)
	if !ok || !state.Terminal() {
		return Outcome{}, fmt.Errorf("operation: %s is no decision", m)
	}
	out := Outcome{
		OperationID: op.ID, Kind: op.Kind, State: state, MerchantID: op.MerchantID, ClientID: op.ClientID, UserID: op.UserID,
		Reason: reason, At: tx.Now().UTC().Truncate(time.Millisecond), ViewHash: hashText(op.View), DataHash: dataHash(op.Data),
		Tpl: op.Tpl, Lang: op.Lang, ClientData: op.ClientData, Data: op.Data,
		Scope: op.Scope, Expires: op.backchannelUntil(),
	}
	if p != nil {
		out.DeviceID, out.Risk = p.device.ID, p.risk
		if state == Completed {
			p.describe(op, &out)
		}
	}
	details := map[string]string{"view": out.ViewHash}
	proof := ""
	if state == Completed && op.Kind == KindSignature {
		var err error
		if proof, err = e.prove(tx, op, p, &out); err != nil {
			return Outcome{}, err
		}
		details["evidence"] = out.Evidence.Hash
	}
	if out.DataHash != "" {
		details["data"] = out.DataHash
	}
	answer := ""
	if p != nil {
		details["answer"], answer = p.answerHash, p.answer
	}
	if err := Record(tx, e.Audit, out, op.View, answer, details); err != nil {
		return Outcome{}, err
	}
	if proof != "" {
		if err := e.keep(tx, op, proof); err != nil {
			return Outcome{}, err
		}
	}
	if e.Decided != nil {
		tx.OnCommit(func() { e.Decided(out.Kind, out.State) })
	}
	return out, tx.Enqueue(db.OutboxItem{ID: op.ID, Kind: OutboxDecided, Subject: op.UserID}, settleAfter)
}

// Record inserts the decision that out tells, and its audit record, into the
// transaction: the moment the operation is decided. db.ErrConflict means that
// it was decided before. view is what the device was shown and answer what it
// signed, kept with the decision.
func Record(tx *db.Tx, w *audit.Writer, out Outcome, view []byte, answer string, details map[string]string) error {
	body, err := out.encode()
	if err != nil {
		return err
	}
	err = tx.Decide(db.Decision{
		OperationID: out.OperationID, Kind: out.Kind, State: string(out.State), MerchantID: out.MerchantID, UserID: out.UserID,
		DeviceID: out.DeviceID, ClientID: out.ClientID, ViewHash: out.ViewHash, Outcome: body,
		View: view, Data: out.Data, Answer: answer,
	})
	if err != nil {
		return err
	}
	if details == nil {
		details = map[string]string{}
	}
	details["state"] = string(out.State)
	if out.Reason != "" {
		details["reason"] = out.Reason
	}
	writer, seq, err := w.AppendAt(tx, audit.Record{Act: "operation.decided", Merchant: out.MerchantID, User: out.UserID,
		Device: out.DeviceID, Client: out.ClientID, Operation: out.OperationID, Details: details})
	if err == nil && out.Kind == KindRegistration && out.Approved() {
		err = tx.InsertEnrolment(out.DeviceID, writer, seq)
	}
	if err != nil {
		return err
	}
	return callback.Emit(tx, callback.Event{Merchant: out.MerchantID, Type: out.Kind + ".finished", Data: body})
}

// OutcomeOf reads the decision row; db.ErrNotFound while the operation is open.
func OutcomeOf(tx *db.Tx, id string) (Outcome, error) {
	d, err := tx.OutcomeOf(id)
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{MerchantID: d.MerchantID, Data: d.Data}
	if err := json.Unmarshal(d.Outcome, &out); err != nil {
		return Outcome{}, fmt.Errorf("operation: outcome of %s: %w", id, err)
	}
	return out, nil
}

func (e *Engine) recordBlock(tx *db.Tx, op *Operation, p *proof) error {
	err := callback.DeviceMoved(tx, p.device, db.DeviceBlocked, "too many failed attempts")
	if err != nil {
		return err
	}
	return e.Audit.Append(tx, audit.Record{Act: "device.blocked", Merchant: op.MerchantID, User: op.UserID,
		Device: p.device.ID, Client: op.ClientID, Operation: op.ID})
}
