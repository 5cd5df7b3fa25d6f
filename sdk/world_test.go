package sdk_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mobileid/internal/channel"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/db/dbtest/schema"
	"mobileid/sdk"
	"mobileid/sdk/wire"
)

// world is a phone and a real channel.Server on a real database, with a wire
// between them that loses what it is told to.
type world struct {
	t      *testing.T
	clk    *clock.Manual
	db     *db.DB
	srv    *channel.Server
	http   *httptest.Server
	ssk    *ecdsa.PrivateKey
	file   *sdk.File
	phone  *sdk.Phone
	secret []byte

	mu       sync.Mutex
	kk       []byte // what reg.finish brought
	state    string // what reg.status says
	answers  int
	requests int
	lose     func(n int) string // of the nth rpc: "request", "reply", "lie" or ""
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clk: clock.NewManual(time.Unix(1_800_000_000, 0)), secret: []byte("0123456789abcdef"), state: wire.RegPending}
	var err error
	if w.db, err = db.Open(t.Context(), schema.SQLite(t), w.clk); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.db.Close() })
	err = w.db.Update(t.Context(), func(tx *db.Tx) error {
		return errors.Join(
			tx.InsertMerchant(db.Merchant{ID: "mer_1", CreatedAt: w.clk.Now()}),
			tx.InsertApp(db.App{ID: "app_1", MerchantID: "mer_1", Policy: json.RawMessage("{}"), CreatedAt: w.clk.Now()}),
			tx.InsertUser(db.User{ID: "usr_1", MerchantID: "mer_1", ExternalRef: "u", State: db.UserActive, CreatedAt: w.clk.Now()}))
	})
	if err != nil {
		t.Fatal(err)
	}
	w.ssk, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.http = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.http.Close)
	w.restart()
	w.file = &sdk.File{Path: filepath.Join(t.TempDir(), "phone.json")}
	w.phone = w.newPhone()
	return w
}

func (w *world) newPhone() *sdk.Phone {
	return &sdk.Phone{Store: w.file, Keys: w.file, HTTP: w.http.Client(), Now: w.clk.Now, Rand: rand.Reader,
		Platform: "cli", Model: "test", Pause: func(int) {}}
}

// restart forgets the server's key, as a new process does.
func (w *world) restart() {
	s := &channel.Server{Issuer: w.http.URL, DB: w.db, TEK: channel.NewRing(w.clk), Clock: w.clk, Rand: rand.Reader, HeadKey: make([]byte, 32),
		SSK: func(context.Context) (crypto.Signer, error) { return w.ssk, nil },
		Log: slog.New(slog.NewTextHandler(w.t.Output(), nil))}
	reg := []string{db.DevicePending, db.DeviceActive}
	s.Handle(wire.OpRegBegin, channel.Handler{StateChanging: true, Prepare: w.regBegin})
	s.Handle(wire.OpRegFinish, channel.Handler{StateChanging: true, AllowedStates: reg, Prepare: w.regFinish})
	s.Handle(wire.OpRegStatus, channel.Handler{StateChanging: true, AllowedStates: reg, Prepare: w.regStatus})
	s.Handle(wire.OpList, channel.Handler{AllowedStates: reg, Prepare: func(context.Context, *channel.Call) (channel.Plan, *wire.Error, error) {
		return channel.Plan{Reply: wire.ListReply{Ops: []wire.Operation{w.operation()}}}, nil, nil
	}})
	s.Handle(wire.OpAnswer, channel.Handler{StateChanging: true, AllowedStates: reg, Prepare: w.answer})
	w.mu.Lock()
	w.srv = s
	w.mu.Unlock()
}

func (w *world) operation() wire.Operation {
	view, err := wire.ViewBytes([]wire.Block{{T: wire.Heading, Text: "Log in"}, {T: wire.Row, Label: "Shop", Value: "Example"}})
	if err != nil {
		w.t.Fatal(err)
	}
	return wire.Operation{Txn: "op_1", ClientID: "cli_1", Handle: "h", View: view, Data: wire.Bytes{}, Tpl: "login/1", Lang: "en", Flow: "ciba",
		UI: wire.UITyped, Chal: bytes.Repeat([]byte{7}, 32), Need: []string{wire.FactorPIN}, Match: wire.MatchNone, Left: 3}
}

func (w *world) regBegin(_ context.Context, c *channel.Call) (channel.Plan, *wire.Error, error) {
	var body wire.RegBegin
	if werr := c.Decode(&body); werr != nil {
		return channel.Plan{}, werr, nil
	}
	key := w.secret
	if body.Locator == "ABC234" {
		key = []byte("123456")
	}
	tm := wire.TicketMAC(key, c.EK, c.JTI, c.DSK.Thumbprint(), [32]byte(body.FC))
	if !wire.Equal(tm[:], body.TM) {
		return channel.Plan{}, wire.Failed(wire.ActivationFailed, 4, time.Time{}), nil
	}
	return channel.Plan{Commit: func(tx *db.Tx, dev *db.Device) (any, *wire.Error, error) {
		dev.ID, dev.MerchantID, dev.UserID, dev.AppID = db.NewID("dev_"), "mer_1", "usr_1", "app_1"
		dev.State, dev.Pos, dev.Enrol, dev.Epoch, dev.MaxFailures = db.DevicePending, "swk", "qr", 1, 3
		dev.HandleSalt, dev.Commitment, dev.CreatedAt = []byte("salt"), body.FC, tx.Now()
		return wire.RegBeginReply{Device: dev.ID, NS: make([]byte, 16), Hint: "a***",
			Policy: wire.Policy{PINMin: 4, PINMax: 8, PINType: "digits", Deny: []string{"1234"}, Confirm: "none"}}, nil, tx.InsertDevice(*dev)
	}}, nil, nil
}

func (w *world) regFinish(_ context.Context, c *channel.Call) (channel.Plan, *wire.Error, error) {
	var body wire.RegFinish
	if werr := c.Decode(&body); werr != nil {
		return channel.Plan{}, werr, nil
	}
	return channel.Plan{Commit: func(tx *db.Tx, dev *db.Device) (any, *wire.Error, error) {
		if fc := wire.Commitment(body.NP); !bytes.Equal(fc[:], dev.Commitment) {
			return nil, &wire.Error{Code: wire.Malformed}, nil
		}
		w.kk = body.KK
		return wire.RegState{State: wire.RegPending}, nil, nil
	}}, nil, nil
}

func (w *world) regStatus(context.Context, *channel.Call) (channel.Plan, *wire.Error, error) {
	return channel.Plan{Commit: func(*db.Tx, *db.Device) (any, *wire.Error, error) {
		return wire.RegState{State: w.state}, nil, nil
	}}, nil, nil
}

func (w *world) answer(_ context.Context, c *channel.Call) (channel.Plan, *wire.Error, error) {
	var body wire.Answer
	if werr := c.Decode(&body); werr != nil {
		return channel.Plan{}, werr, nil
	}
	pub, _ := c.DSK.ECDSA()
	claims, err := wire.VerifyAnswer(body.Ans, c.KeyID, pub)
	if err != nil {
		return channel.Plan{}, &wire.Error{Code: wire.Malformed}, nil
	}
	op := w.operation()
	want := wire.ClaimsFor(&op)
	want.Dec, want.Iat, want.JTI = claims.Dec, claims.Iat, claims.JTI
	if claims != want {
		return channel.Plan{}, wire.Gone("EXPIRED", ""), nil
	}
	return channel.Plan{Commit: func(*db.Tx, *db.Device) (any, *wire.Error, error) {
		w.answers++
		if claims.Dec == wire.Approve {
			kpf := wire.AnswerProof(w.kk, wire.AnswerHash(body.Ans), op.Chal)
			if !wire.Equal(kpf[:], body.KPF) {
				return nil, wire.Failed(wire.AuthFailed, 2, time.Time{}), nil
			}
			return wire.AnswerReply{Txn: claims.Txn, State: "COMPLETED"}, nil, nil
		}
		if body.KPF != nil {
			return nil, &wire.Error{Code: wire.Malformed}, nil
		}
		return wire.AnswerReply{Txn: claims.Txn, State: map[string]string{wire.Decline: "DECLINED", wire.Report: "REPORTED"}[claims.Dec]}, nil, nil
	}}, nil, nil
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	srv := w.srv
	w.mu.Unlock()
	if r.URL.Path == "/mid/v1/keys" {
		out, err := srv.Keys(r.Context(), r.URL.Query().Get("c"))
		if err != nil {
			rw.WriteHeader(500)
		}
		io.WriteString(rw, out)
		return
	}
	w.mu.Lock()
	w.requests++
	fate := ""
	if w.lose != nil {
		fate = w.lose(w.requests)
	}
	w.mu.Unlock()
	if fate == "request" {
		rw.WriteHeader(502)
		return
	}
	body, _ := io.ReadAll(r.Body)
	out, err := srv.RPC(r.Context(), body, "")
	switch fate {
	case "lie":
		err = &wire.Outer{Code: wire.OuterUnknownKey}
	case "upgrade":
		err = &wire.Outer{Code: wire.OuterUpgrade}
	}
	if o, ok := errors.AsType[*wire.Outer](err); ok {
		rw.Header().Set("Content-Type", "application/problem+json")
		rw.WriteHeader(o.Problem().Status)
		json.NewEncoder(rw).Encode(o.Problem())
		return
	}
	if err != nil || fate == "reply" {
		rw.WriteHeader(502)
		return
	}
	rw.Write(out)
}

// next sets the fate of the coming rpc calls.
func (w *world) next(fates ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	from := w.requests
	w.lose = func(n int) string {
		if i := n - from - 1; i < len(fates) {
			return fates[i]
		}
		return ""
	}
}

func (w *world) link() string {
	jwk, _ := wire.PublicJWK(w.ssk)
	return wire.Ticket{Origin: w.http.URL, ID: "t", Secret: w.secret, Pin: jwk.KeyID()}.Link()
}

// active registers the phone with PIN 2580.
func (w *world) active() *wire.Operation {
	w.t.Helper()
	w.must(w.phone.Register(w.t.Context(), w.link()))
	w.must(w.phone.Finish(w.t.Context(), "2580"))
	w.state = wire.RegActive
	if reg := w.must(w.phone.Status(w.t.Context())); reg.State != wire.RegActive {
		w.t.Fatalf("%+v", reg)
	}
	ops, err := w.phone.List(w.t.Context())
	if err != nil || len(ops) != 1 {
		w.t.Fatal(ops, err)
	}
	return &ops[0]
}

func (w *world) must(reg *sdk.Registration, err error) *sdk.Registration {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	return reg
}
