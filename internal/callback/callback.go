// Package callback tells merchants' backends what happened: signed webhooks by the
// rules of Standard Webhooks (standardwebhooks.com), written in the transaction of
// what happened and sent after its commit, at least once, until they are taken or
// their time is over.
package callback

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/keys"
)

// Types of events.
const (
	RegistrationFinished   = "registration.finished"
	AuthenticationFinished = "authentication.finished"
	SignatureFinished      = "signature.finished"
	DeviceState            = "device.state.change"
	DeviceAdded            = "device.added" // to a user who has others
	DeviceFactor           = "device.factor.change"
	UserState              = "user.state.change"
	Test                   = "test" // only ever by hand
)

// Types lists what an endpoint can ask for.
func Types() []string {
	return []string{RegistrationFinished, AuthenticationFinished, SignatureFinished, DeviceState, DeviceAdded, DeviceFactor, UserState}
}

// Life is how long an event is tried to be told.
const Life = 72 * time.Hour

// Config is what Callbacks needs.
type Config struct {
	DB    *db.DB
	Box   *keys.Box
	Audit *audit.Writer
	Clock clock.Clock
	Log   *slog.Logger
	// Post sends one request out and returns the answer's status. It neither follows
	// redirects nor waits for long.
	Post func(ctx context.Context, address string, header http.Header, body []byte) (status int, err error)
	// Inside reports whether plain http may be spoken with the host: it is in the
	// operator's own networks. nil: none is.
	Inside func(host string) bool
	// Tried is told how each attempt ended. It may be nil.
	Tried func(delivered bool)
}

// Callbacks keeps the endpoints and sends to them.
type Callbacks struct {
	Config
	work work
}

// New makes Callbacks; Run sends.
func New(c Config) *Callbacks { return &Callbacks{Config: c, work: newWork()} }

// Event is something that happened.
type Event struct {
	ID       string // "": a new one
	Merchant string // ""; nobody is told
	Type     string
	Data     json.RawMessage
}

// envelope is the body. Version grows with time: of two events about the same
// thing, the one with the greater is the newer.
type envelope struct {
	ID         string          `json:"id"`
	Type       string          `json:"type"`
	Timestamp  string          `json:"timestamp"`
	Version    int64           `json:"version"`
	MerchantID string          `json:"merchantId"`
	ExpiresAt  string          `json:"expiresAt"`
	Data       json.RawMessage `json:"data"`
}

// stamp is how times are written: UTC, milliseconds.
const stamp = "2006-01-02T15:04:05.000Z07:00"

// Emit has the merchant's endpoints that want it be told of e, should the
// transaction commit.
func Emit(tx *db.Tx, e Event) error {
	if e.Merchant == "" {
		return nil
	}
	if some, err := tx.MayTell(e.Merchant); err != nil || !some {
		return err
	}
	e, body, err := seal(tx, e)
	if err != nil {
		return err
	}
	return tx.TellWebhooks(e.Merchant, e.ID, e.Type, body, tx.Now().Add(Life))
}

// Happened keeps e for those who ask what happened, and has the merchant's endpoints
// be told of it under the same id, both in the transaction of what happened.
func Happened(tx *db.Tx, e db.Event) error {
	e.ID = db.NewID("evt_")
	data := map[string]string{}
	for name, id := range map[string]string{"userId": e.UserID, "deviceId": e.DeviceID, "operationId": e.OperationID} {
		if id != "" {
			data[name] = id
		}
	}
	maps.Copy(data, e.Data)
	body, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("callback: %w", err)
	}
	return errors.Join(tx.InsertEvent(e), Emit(tx, Event{ID: e.ID, Merchant: e.MerchantID, Type: e.Type, Data: body}))
}

// DeviceMoved is Happened of a device that goes from its state to another.
func DeviceMoved(tx *db.Tx, d *db.Device, to, reason string) error {
	data := map[string]string{"from": d.State, "to": to}
	if reason != "" {
		data["reason"] = reason
	}
	return Happened(tx, db.Event{MerchantID: d.MerchantID, Type: DeviceState, UserID: d.UserID, DeviceID: d.ID, Data: data})
}

// Changes of a device's factors.
const (
	FactorAdded    = "ADDED"
	FactorReplaced = "REPLACED"
	FactorRemoved  = "REMOVED"
)

// FactorMoved is Happened of a factor of the device: POSSESSION, KNOWLEDGE or
// INHERENCE. Whoever changed it was in possession of the phone; the person is to hear
// of it another way (RTS article 26, ASVS 6.3.7), and the merchant has one.
func FactorMoved(tx *db.Tx, d *db.Device, factor, change string) error {
	return Happened(tx, db.Event{MerchantID: d.MerchantID, Type: DeviceFactor, UserID: d.UserID, DeviceID: d.ID,
		Data: map[string]string{"factor": factor, "change": change}})
}

// seal writes the body, once.
func seal(tx *db.Tx, e Event) (Event, string, error) {
	if e.ID == "" {
		e.ID = db.NewID("evt_")
	}
	if len(e.Data) == 0 {
		return e, "", errors.New("callback: an event without data")
	}
	now := tx.Now().UTC()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(envelope{ID: e.ID, Type: e.Type, Timestamp: now.Format(stamp), Version: now.UnixMicro(), MerchantID: e.Merchant,
		ExpiresAt: now.Add(Life).Format(stamp), Data: e.Data})
	if err != nil {
		return e, "", fmt.Errorf("callback: %w", err)
	}
	return e, string(bytes.TrimSuffix(buf.Bytes(), []byte("\n"))), nil
}
