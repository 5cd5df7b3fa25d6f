package channel_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"mobileid/internal/channel"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/sdk/wire"
)

const issuer = "https://id.example"

// bench is a server on a real database with handlers that only count.
type bench struct {
	t       testing.TB
	clk     *clock.Manual
	db      *db.DB
	srv     *channel.Server
	ssk     *ecdsa.PrivateKey
	answers atomic.Int64 // op.answer calls that were committed
	woken   atomic.Int64
	forks   atomic.Int64
	kvDown  atomic.Bool // op.answer cannot be prepared
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, clk: clock.NewManual(time.Unix(1_800_000_000, 0))}
	var err error
	if b.db, err = db.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "t.db"), b.clk); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.db.Close() })
	if err := b.db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.ssk, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	b.srv = b.newServer()
	b.update(func(tx *db.Tx) error {
		return errors.Join(
			tx.InsertMerchant(db.Merchant{ID: "mer_1", Name: "M", CreatedAt: b.clk.Now()}),
			tx.InsertApp(db.App{ID: "app_1", MerchantID: "mer_1", Name: "A", Policy: json.RawMessage("{}"), CreatedAt: b.clk.Now()}),
			tx.InsertUser(db.User{ID: "usr_1", MerchantID: "mer_1", ExternalRef: "u", State: db.UserActive, CreatedAt: b.clk.Now()}))
	})
	return b
}

func (b *bench) update(fn func(tx *db.Tx) error) {
	b.t.Helper()
	if err := b.db.Update(context.Background(), fn); err != nil {
		b.t.Fatal(err)
	}
}

// newServer is also what is left after a restart: the same database, new keys.
func (b *bench) newServer() *channel.Server {
	s := &channel.Server{
		Issuer: issuer, DB: b.db, TEK: channel.NewRing(b.clk), Clock: b.clk, Rand: rand.Reader, HeadKey: make([]byte, 32),
		SSK:    func(context.Context) (crypto.Signer, error) { return b.ssk, nil },
		Log:    slog.New(slog.NewTextHandler(b.t.Output(), nil)),
		OnFork: func(*db.Tx, *db.Device) error { b.forks.Add(1); return nil },
	}
	active := []string{db.DeviceActive}
	s.Handle(wire.OpRegBegin, channel.Handler{StateChanging: true, Prepare: b.regBegin})
	s.Handle(wire.OpList, channel.Handler{AllowedStates: active, Prepare: func(context.Context, *channel.Call) (channel.Plan, *wire.Error, error) {
		return channel.Plan{Reply: wire.ListReply{Ops: []wire.Operation{}}}, nil, nil
	}})
	s.Handle(wire.OpAnswer, channel.Handler{StateChanging: true, ByName: true, AllowedStates: active, Prepare: b.answer})
	return s
}

func (b *bench) regBegin(_ context.Context, c *channel.Call) (channel.Plan, *wire.Error, error) {
	var body wire.RegBegin
	if werr := c.Decode(&body); werr != nil {
		return channel.Plan{}, werr, nil
	}
	return channel.Plan{Commit: func(tx *db.Tx, dev *db.Device) (any, *wire.Error, error) {
		if body.Ticket != "good" {
			b.answers.Add(1)
			return nil, wire.Failed(wire.ActivationFailed, 4, time.Time{}), nil
		}
		dev.ID, dev.MerchantID, dev.UserID, dev.AppID = db.NewID("dev_"), "mer_1", "usr_1", "app_1"
		dev.State, dev.Pos, dev.Enrol, dev.Epoch, dev.MaxFailures = db.DeviceActive, "swk", "qr", 1, 3
		dev.HandleSalt, dev.Commitment, dev.CreatedAt = []byte("salt"), make([]byte, 32), tx.Now()
		return wire.RegBeginReply{Device: dev.ID, NS: make([]byte, 16)}, nil, tx.InsertDevice(*dev)
	}}, nil, nil
}

func (b *bench) answer(_ context.Context, c *channel.Call) (channel.Plan, *wire.Error, error) {
	var body struct {
		N    int  `json:"n"`
		Fail bool `json:"fail"`
	}
	if werr := c.Decode(&body); werr != nil {
		return channel.Plan{}, werr, nil
	}
	if b.kvDown.Load() {
		return channel.Plan{}, nil, errors.New("kv is away")
	}
	return channel.Plan{
		Commit: func(tx *db.Tx, dev *db.Device) (any, *wire.Error, error) {
			n, err := tx.CountFailure(dev.ID)
			if err != nil {
				return nil, nil, err
			}
			b.answers.Add(1)
			if body.Fail {
				return nil, wire.Failed(wire.AuthFailed, int(3-n), time.Time{}), nil
			}
			return map[string]int{"n": body.N}, nil, nil
		},
		After: func(context.Context) { b.woken.Add(1) },
	}, nil, nil
}

// phone is a device of which the test holds every part.
type phone struct {
	b            *bench
	dsk          *ecdsa.PrivateKey
	device, head string
}

// register makes an ACTIVE device.
func (b *bench) register() *phone {
	b.t.Helper()
	p := &phone{b: b}
	p.dsk, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	sent := p.seal(wire.OpRegBegin, wire.RegBegin{Ticket: "good"}, nil)
	r := p.mustSend(sent)
	var body wire.RegBeginReply
	if r.Err != nil || wire.Unmarshal(r.Body, &body) != nil {
		b.t.Fatalf("reg.begin: %+v", r.Result)
	}
	p.device, p.head = body.Device, r.Head
	return p
}

func (b *bench) key() wire.SealKey {
	b.t.Helper()
	c := wire.Encode(make([]byte, 16))
	jws, err := b.srv.Keys(b.t.Context(), c)
	if err != nil {
		b.t.Fatal(err)
	}
	jwk, _ := wire.PublicJWK(b.ssk)
	ks, _, err := wire.OpenKeySet(jws, issuer, jwk.KeyID(), c)
	if err != nil {
		b.t.Fatal(err)
	}
	k, _ := ks.Pick()
	return k
}

// seal makes a request; change may alter the claims before they are signed.
func (p *phone) seal(op string, body any, change func(*wire.Claims)) *wire.Sent {
	p.b.t.Helper()
	raw, _ := json.Marshal(body)
	rk, jti := make([]byte, 32), make([]byte, 16)
	rand.Read(rk)
	rand.Read(jti)
	now := p.b.clk.Now().Unix()
	c := wire.Claims{V: 1, Iss: p.device, Aud: issuer, Op: op, JTI: wire.Encode(jti), Iat: now, Exp: now + 60, RK: rk, Body: raw}
	switch op {
	case wire.OpRegBegin:
		jwk, _ := wire.PublicJWK(p.dsk)
		c.Iss = jwk.ThumbprintURI()
	case wire.OpList:
	default:
		c.Head = p.head
	}
	if change != nil {
		change(&c)
	}
	sent, err := wire.SealRequest(c, p.dsk, p.b.key(), rand.Reader)
	if err != nil {
		p.b.t.Fatal(err)
	}
	return sent
}

func (p *phone) send(sent *wire.Sent) (*wire.Reply, error) {
	out, err := p.b.srv.RPC(context.Background(), []byte(sent.JWE), "192.0.2.1")
	if err != nil {
		return nil, err
	}
	return wire.OpenReply(sent, out)
}

func (p *phone) mustSend(sent *wire.Sent) *wire.Reply {
	p.b.t.Helper()
	r, err := p.send(sent)
	if err != nil {
		p.b.t.Fatal(err)
	}
	return r
}

func (p *phone) call(op string, body any) *wire.Reply {
	p.b.t.Helper()
	r := p.mustSend(p.seal(op, body, nil))
	if r.Head != "" {
		p.head = r.Head
	}
	return r
}

// resent sends the bytes, and returns the reply and what sends them again and wants
// the very same.
func (b *bench) resent(sent *wire.Sent) (first []byte, same func(when string)) {
	b.t.Helper()
	send := func(when string) []byte {
		b.t.Helper()
		reply, err := b.srv.RPC(context.Background(), []byte(sent.JWE), "")
		if err != nil {
			b.t.Fatalf("%s: %v", when, err)
		}
		return reply
	}
	first = send("first")
	return first, func(when string) {
		b.t.Helper()
		if string(send(when)) != string(first) {
			b.t.Fatalf("%s: another reply", when)
		}
	}
}

func code(r *wire.Reply) string {
	if r.Err == nil {
		return wire.StatusOK
	}
	return r.Err.Code
}

func wantCode(t testing.TB, r *wire.Reply, want string) {
	t.Helper()
	if got := code(r); got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
}

func (p *phone) state() string {
	p.b.t.Helper()
	var dev db.Device
	err := p.b.db.View(context.Background(), func(tx *db.Tx) (err error) { dev, err = tx.Device(p.device); return err })
	if err != nil {
		p.b.t.Fatal(err)
	}
	return dev.State
}

func sync1(sent *wire.Sent, syncs ...*wire.Sent) wire.Sync {
	s := wire.Sync{Try: sent.Try}
	for _, x := range syncs {
		s.Syncs = append(s.Syncs, x.Try)
	}
	return s
}

func isOuter(err error, code string) bool {
	o, ok := errors.AsType[*wire.Outer](err)
	return ok && o.Code == code
}
