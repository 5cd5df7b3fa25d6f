package operation

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/channel"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/db/dbtest/schema"
	"mobileid/internal/fault"
	"mobileid/internal/keys"
	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"
	"mobileid/internal/outbox"
	"mobileid/sdk/wire"
)

// house is an engine on real stores with a clock that the test moves.
type house struct {
	*Engine
	t     *testing.T
	clock *clock.Manual
}

func newHouse(t *testing.T) *house {
	t.Helper()
	clk := clock.NewManual(time.Unix(1_800_000_000, 0))
	d, err := db.Open(t.Context(), schema.SQLite(t), clk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	box, err := keys.NewBox(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	return &house{t: t, clock: clk, Engine: New(Config{DB: d, KV: kvtest.SQLite(t, clk), Box: box, Audit: audit.NewWriter(),
		Outbox: outbox.New(d, log), Clock: clk, Log: log})}
}

func (h *house) ask(client, user string) (*Operation, error) {
	op := &Operation{Kind: KindAuthentication, Flow: FlowPush, MerchantID: "mer_1", ClientID: client, UserID: user, View: []byte("[]"),
		StartedAt: h.clock.Now().UnixMilli(), ExpiresAt: h.clock.Now().Add(DefaultLife).UnixMilli()}
	return op, h.Start(h.t.Context(), op)
}

func (h *house) must(client, user string) *Operation {
	h.t.Helper()
	op, err := h.ask(client, user)
	if err != nil {
		h.t.Fatal(err)
	}
	return op
}

func (h *house) offers(user string) (ids []string) {
	h.t.Helper()
	ops, err := h.offered(h.t.Context(), &db.Device{ID: "dev_1", UserID: user})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, op := range ops {
		ids = append(ids, op.ID)
	}
	return ids
}

func (h *house) state(id string) State {
	h.t.Helper()
	out, err := h.Status(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return out.State
}

func TestThreePromptsAUserAndOneAClient(t *testing.T) {
	h := newHouse(t)
	a, b, c := h.must("a", "usr_1"), h.must("b", "usr_1"), h.must("c", "usr_1")
	if _, err := h.ask("d", "usr_1"); !fault.Is(err, fault.LimitReached) {
		t.Fatalf("the fourth client: %v", err)
	}
	h.must("d", "usr_2") // caps are a user's own
	again := h.must("b", "usr_1")
	if got := h.state(b.ID); got != Superseded {
		t.Fatalf("the older prompt of the same client is %s", got)
	}
	if got := h.offers("usr_1"); !slices.Equal(got, []string{a.ID, c.ID, again.ID}) {
		t.Fatalf("offered: %v", got)
	}
	if _, err := h.End(t.Context(), a.ID, Cancel, ""); err != nil {
		t.Fatal(err)
	}
	d := h.must("d", "usr_1")
	h.clock.Advance(DefaultLife)
	if got := h.offers("usr_1"); len(got) != 0 {
		t.Fatalf("offered after their time: %v", got)
	}
	h.must("e", "usr_1") // what is over takes no place, though nobody has asked for it yet
	if got := h.state(d.ID); got != Expired {
		t.Fatalf("the older one is %s", got)
	}
}

func TestAStartThatIsRefusedLeavesNothing(t *testing.T) {
	h := newHouse(t)
	for _, c := range []string{"a", "b", "c"} {
		h.must(c, "usr_1")
	}
	op, err := h.ask("d", "usr_1")
	if !fault.Is(err, fault.LimitReached) {
		t.Fatal(err)
	}
	if _, err := h.ops.Get(t.Context(), op.ID); !errors.Is(err, kv.ErrNotFound) {
		t.Fatalf("its record: %v", err)
	}
	if _, err := h.Status(t.Context(), op.ID); !fault.Is(err, fault.NotFound) {
		t.Fatalf("its status: %v", err)
	}
}

func TestDeclinesAndReportsCoolTheirClientDown(t *testing.T) {
	for move, cool := range map[Move]time.Duration{Decline: coolDecline, Report: coolReport} {
		h := newHouse(t)
		op := h.must("a", "usr_1")
		if _, err := h.End(t.Context(), op.ID, move, ""); err != nil {
			t.Fatal(err)
		}
		h.clock.Advance(cool - time.Millisecond)
		_, err := h.ask("a", "usr_1")
		e, ok := errors.AsType[*fault.Error](err)
		if !ok || e.Kind != fault.Forbidden || e.RetryAfter != time.Millisecond {
			t.Fatalf("%s: %v", move, err)
		}
		h.must("b", "usr_1") // others may ask
		h.must("a", "usr_2") // and the client others
		h.clock.Advance(time.Millisecond)
		h.must("a", "usr_1")
	}
}

func TestNeitherCancelNorExpiryCoolsDown(t *testing.T) {
	h := newHouse(t)
	for _, move := range []Move{Cancel, Expire, Supersede, Lock, Approve} {
		op := h.must("a", "usr_1")
		if _, err := h.End(t.Context(), op.ID, move, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := h.ask("a", "usr_1"); err != nil {
			t.Fatalf("after %s: %v", move, err)
		}
	}
}

func TestEndingWhatIsDecidedTellsWhatStands(t *testing.T) {
	h := newHouse(t)
	op := h.must("a", "usr_1")
	for i, move := range []Move{Decline, Cancel, Approve, Expire} {
		out, err := h.End(t.Context(), op.ID, move, "")
		if err != nil || out.State != Declined {
			t.Fatalf("end %d: %s, %v", i, out.State, err)
		}
	}
	late := h.must("b", "usr_1")
	h.clock.Advance(DefaultLife)
	if out, err := h.End(t.Context(), late.ID, Approve, ""); err != nil || out.State != Expired {
		t.Fatalf("approved at its end: %s, %v", out.State, err)
	}
}

func TestADecisionIsDeliveredToKVAgainWithoutHarm(t *testing.T) {
	h := newHouse(t)
	op := h.must("a", "usr_1")
	if _, err := h.End(t.Context(), op.ID, Decline, ""); err != nil {
		t.Fatal(err)
	}
	var item db.OutboxItem
	h.clock.Advance(settleAfter)
	err := h.DB.Update(t.Context(), func(tx *db.Tx) error {
		items, err := tx.Lease(db.OutboxKinds{}, 10, time.Minute)
		if err == nil && len(items) != 1 {
			err = fmt.Errorf("%d items", len(items))
		}
		if err == nil {
			item = items[0]
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(coolDecline)
	next := h.must("a", "usr_1")
	for range 2 {
		if err := h.DeliverDecided(t.Context(), item); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.offers("usr_1"); !slices.Equal(got, []string{next.ID}) {
		t.Fatalf("offered: %v", got)
	}
	if _, err := h.ask("a", "usr_1"); err != nil {
		t.Fatalf("an old decline cools down again: %v", err)
	}
}

func TestNobodyIsTheSameForTheSameHintOnly(t *testing.T) {
	h := newHouse(t)
	one := h.Nobody("mer_1", "bob")
	if one != h.Nobody("mer_1", "bob") || one == h.Nobody("mer_1", "Bob") || one == h.Nobody("mer_2", "bob") || one == h.Nobody("mer_1b", "ob") {
		t.Fatal("told apart by the wrong things")
	}
	op := &Operation{Kind: KindAuthentication, ClientID: "a", UserID: "usr_1", DeviceID: NoDevice, View: []byte("[]"),
		ExpiresAt: h.clock.Now().Add(time.Minute).UnixMilli()}
	if err := h.Start(t.Context(), op); err != nil {
		t.Fatal(err)
	}
	if got := h.offers("usr_1"); len(got) != 0 {
		t.Fatalf("an operation for no phone is offered: %v", got)
	}
}

// X8: a node whose clock is ahead cannot end an operation early.
func TestAnOperationEndsByTheDatabasesClockOnly(t *testing.T) {
	h := newHouse(t)
	op := h.must("a", "usr_1")
	other := h.Config
	other.Clock = clock.NewManual(h.clock.Now().Add(time.Hour))
	ahead := New(other)
	for _, tell := range []func() (Outcome, error){
		func() (Outcome, error) { return ahead.Status(t.Context(), op.ID) },
		func() (Outcome, error) { return ahead.End(t.Context(), op.ID, Expire, "") },
	} {
		if out, err := tell(); err != nil || out.State != Pending {
			t.Fatalf("told %s, %v, an hour early", out.State, err)
		}
	}
	if got := h.state(op.ID); got != Pending {
		t.Fatalf("it is %s", got)
	}
	h.clock.Advance(DefaultLife)
	if out, err := ahead.Status(t.Context(), op.ID); err != nil || out.State != Expired {
		t.Fatalf("at its end: %s, %v", out.State, err)
	}
}

// other leaves what a node of another version of the server asks: a record of its form,
// counted for the user.
func (h *house) other(client, user string) string {
	h.t.Helper()
	op := h.node().must(client, user)
	raw, err := op.MarshalBinary()
	if err != nil {
		h.t.Fatal(err)
	}
	raw[0] = 3
	key := "o/{" + op.ID + "}"
	if err := errors.Join(h.KV.Delete(h.t.Context(), key), h.KV.Create(h.t.Context(), key, raw, DefaultLife)); err != nil {
		h.t.Fatal(err)
	}
	return op.ID
}

func TestWhatAnotherVersionAsksStandsInNobodysWay(t *testing.T) {
	h := newHouse(t)
	old := h.other("a", "usr_1")
	b := h.must("b", "usr_1")
	if got := h.offers("usr_1"); !slices.Equal(got, []string{b.ID}) {
		t.Fatalf("offered beside it: %v", got)
	}
	if _, err := h.End(t.Context(), old, Cancel, ""); !fault.Is(err, fault.NotFound) {
		t.Fatalf("ending it: %v", err)
	}
	a := h.must("a", "usr_1") // the same client asks anew
	if got := h.offers("usr_1"); !slices.Equal(got, []string{b.ID, a.ID}) {
		t.Fatalf("offered: %v", got)
	}
	if err := h.Withdraw(t.Context(), Withdrawal{UserID: "usr_1"}, "locked"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"a", "b", "c"} {
		h.other(c, "usr_2")
	}
	d := h.must("d", "usr_2") // three wait, and take no place here
	if got := h.offers("usr_2"); !slices.Equal(got, []string{d.ID}) {
		t.Fatalf("offered: %v", got)
	}
}

func TestWhatAnotherVersionDecidesIsToldHere(t *testing.T) {
	h := newHouse(t)
	id := h.other("a", "usr_1")
	if _, err := h.Status(t.Context(), id); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("while it may still be decided: %v", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := wire.FromECDSA(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	ans, err := wire.SignAnswer(key, wire.AnswerClaims{Txn: id, Dec: wire.Approve})
	if err != nil {
		t.Fatal(err)
	}
	for op, body := range map[string]any{wire.OpAnswer: wire.Answer{Ans: ans}, wire.OpClaim: wire.Claim{Txn: id, App: make([]byte, 32)}} {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		_, werr, err := h.Handlers()[op].Prepare(t.Context(), &channel.Call{Device: &db.Device{ID: "dev_1", UserID: "usr_1"}, Key: &key.PublicKey, KeyID: jwk.KeyID(), Body: raw})
		if werr == nil || werr.Code != wire.OpNotHere || err != nil {
			t.Fatalf("%s of it: %v, %v", op, werr, err)
		}
	}
	err = h.DB.Update(t.Context(), func(tx *db.Tx) error {
		return Record(tx, h.Audit, Outcome{OperationID: id, Kind: KindAuthentication, State: Completed, MerchantID: "mer_1", ClientID: "a", UserID: "usr_1", At: tx.Now()}, nil, "", nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := h.state(id); got != Completed {
		t.Fatalf("it is %s", got)
	}
	if out, err := h.End(t.Context(), id, Cancel, ""); err != nil || out.State != Completed {
		t.Fatalf("ended as %s, %v", out.State, err)
	}
}
