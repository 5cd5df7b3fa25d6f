package operation

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/sdk/wire"
)

// node is another node on the same stores: it has met nothing yet.
func (h *house) node() *house { return &house{New(h.Config), h.t, h.clock} }

// claimed is what an answer to op says of it.
func claimed(op *Operation) *wire.AnswerClaims {
	return &wire.AnswerClaims{Txn: op.ID, Chal: wire.Encode(op.Challenge)}
}

// decline lists and declines op; meanwhile happens between the two.
func (h *house) decline(op *Operation, meanwhile func()) {
	h.t.Helper()
	h.offers(op.UserID)
	_, asked, err := h.answered(h.t.Context(), claimed(op), op.UserID)
	if err != nil {
		h.t.Fatal(err)
	}
	meanwhile()
	var out Outcome
	err = h.DB.Update(h.t.Context(), func(tx *db.Tx) (err error) {
		out, err = h.decide(tx, op, nil, Decline, "")
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.settle(h.t.Context(), op, out, asked)
}

// What was listed is answered as it was, without kv; a node that has not listed it
// asks kv.
func TestWhatWasListedIsAnsweredWithoutReadingItAgain(t *testing.T) {
	h := newHouse(t)
	other := h.node()
	op := h.must("a", "usr_1")
	if got := h.offers("usr_1"); !slices.Equal(got, []string{op.ID}) {
		t.Fatalf("offered: %v", got)
	}
	if err := h.ops.Delete(t.Context(), op.ID); err != nil {
		t.Fatal(err)
	}
	got, asked, err := h.answered(t.Context(), claimed(op), "usr_1")
	if err != nil || got.ID != op.ID || string(got.Challenge) != string(op.Challenge) || asked.Err != nil {
		t.Errorf("here: %+v, %v", got, err)
	}
	if _, _, err := other.answered(t.Context(), claimed(op), "usr_1"); !absent(err) {
		t.Errorf("at a node that has not listed it: %v", err)
	}
	h.clock.Advance(listedLife)
	if _, _, err := h.answered(t.Context(), claimed(op), "usr_1"); !absent(err) {
		t.Errorf("long after the list: %v", err)
	}
	if _, err := other.End(t.Context(), op.ID, Cancel, ""); !fault.Is(err, fault.NotFound) {
		t.Errorf("ended where nothing is known of it: %v", err)
	}
	if out, err := h.End(t.Context(), op.ID, Cancel, ""); err != nil || out.State != Cancelled {
		t.Errorf("ended where it is known: %+v, %v", out, err)
	}
	h.clock.Advance(DefaultLife)
	if _, _, err := h.answered(t.Context(), claimed(op), "usr_1"); !absent(err) {
		t.Errorf("once its time is over: %v", err)
	}
}

// A list tells what other nodes have started, superseded and decided.
func TestAListIsTheUsersRecordWhoeverKeptWhat(t *testing.T) {
	h := newHouse(t)
	other := h.node()
	first := h.must("a", "usr_1")
	there := other.must("b", "usr_1")
	for _, at := range []*house{h, other} {
		if got := at.offers("usr_1"); !slices.Equal(got, []string{first.ID, there.ID}) {
			t.Fatalf("offered: %v", got)
		}
	}
	second := other.must("a", "usr_1")
	if _, err := other.End(t.Context(), there.ID, Cancel, ""); err != nil {
		t.Fatal(err)
	}
	if got := h.offers("usr_1"); !slices.Equal(got, []string{second.ID}) {
		t.Errorf("offered: %v", got)
	}
}

// What was read of the user's record when it was listed may be out of date when the
// decision is made: what came meanwhile stays.
func TestWhatCameSinceTheListStays(t *testing.T) {
	h := newHouse(t)
	a := h.must("a", "usr_1")
	var b *Operation
	h.decline(a, func() { b = h.node().must("b", "usr_1") })
	if got := h.offers("usr_1"); !slices.Equal(got, []string{b.ID}) {
		t.Errorf("offered: %v", got)
	}
	if _, err := h.ask("a", "usr_1"); !fault.Is(err, fault.Forbidden) {
		t.Errorf("asked again at once by who was declined: %v", err)
	}
	if _, ok := h.listed.op(a.ID, h.clock.Now()); ok {
		t.Error("what was decided is kept")
	}
}

func TestWhatIsKeptForAnswersIsBounded(t *testing.T) {
	kept := newListed()
	now := time.Unix(1_800_000_000, 0)
	for i := range 5 * listedHalf {
		id := fmt.Sprint(i)
		kept.keep(&Operation{ID: id, ExpiresAt: now.UnixMilli() + 1})
		if n := len(kept.ops.young) + len(kept.ops.old); n > 2*listedHalf {
			t.Fatalf("%d are kept", n)
		}
		if _, ok := kept.op(id, now); !ok {
			t.Fatal("the newest is not found")
		}
	}
	kept.keep(&Operation{ID: "large", View: make([]byte, listedMost+1), ExpiresAt: now.UnixMilli() + 1})
	if _, ok := kept.op("large", now); ok {
		t.Error("a large one is kept")
	}
}

// A client that was declined waits, also where kv has lost the user's record.
func TestADeclineCoolsDownThoughTheUsersRecordIsLost(t *testing.T) {
	h := newHouse(t)
	a := h.must("a", "usr_1")
	h.decline(a, func() {
		if err := h.pending.Delete(t.Context(), promptsKey("usr_1")); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := h.ask("a", "usr_1"); !fault.Is(err, fault.Forbidden) {
		t.Errorf("asked at once: %v", err)
	}
}

// An operation that a client starts anew by the same key, as kv had lost it, is listed
// as it is now, also by a node that knew the first.
func TestWhatIsStartedAnewIsListedAnew(t *testing.T) {
	h := newHouse(t)
	first := h.must("a", "usr_1")
	if err := errors.Join(h.ops.Delete(t.Context(), first.ID), h.pending.Delete(t.Context(), promptsKey("usr_1"))); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(time.Second)
	again := *first
	again.StartedAt, again.ExpiresAt = h.clock.Now().UnixMilli(), h.clock.Now().Add(DefaultLife).UnixMilli()
	if err := h.node().Start(t.Context(), &again); err != nil {
		t.Fatal(err)
	}
	ops, err := h.offered(t.Context(), &db.Device{ID: "dev_1", UserID: "usr_1"})
	if err != nil || len(ops) != 1 || string(ops[0].Challenge) != string(again.Challenge) {
		t.Errorf("%+v, %v", ops, err)
	}
}

// It is answered as it is now where it was listed as it was, too.
func TestWhatIsStartedAnewIsAnsweredAnew(t *testing.T) {
	h := newHouse(t)
	first := h.must("a", "usr_1")
	h.offers("usr_1")
	if err := errors.Join(h.ops.Delete(t.Context(), first.ID), h.pending.Delete(t.Context(), promptsKey("usr_1"))); err != nil {
		t.Fatal(err)
	}
	again := *first
	if err := h.node().Start(t.Context(), &again); err != nil {
		t.Fatal(err)
	}
	got, asked, err := h.answered(t.Context(), claimed(&again), "usr_1")
	if err != nil || string(got.Challenge) != string(again.Challenge) || asked.Err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}
