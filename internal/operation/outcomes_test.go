package operation

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"mobileid/internal/attestation"
	"mobileid/internal/db"
	"mobileid/internal/risk"
)

func (h *house) row(id string) (out Outcome, err error) {
	err = h.DB.View(h.t.Context(), func(tx *db.Tx) (err error) {
		out, err = OutcomeOf(tx, id)
		return err
	})
	return out, err
}

// Whatever an outcome can say, what is kept of it is what its row says.
func TestAKeptOutcomeIsTheRows(t *testing.T) {
	h := newHouse(t)
	at := h.clock.Now().UTC()
	full := Outcome{OperationID: "op_1", Kind: KindSignature, State: Completed, MerchantID: "mer_1", ClientID: "cli_1", UserID: "usr_1", DeviceID: "dev_1",
		Reason: "why", At: at, Factors: []string{factorPossession}, AMR: []string{"pop"}, ACR: ACRApp, ViewHash: "v", DataHash: "d", Tpl: "t", Lang: "nb", ClientData: "c",
		SCA: &SCA{Pos: "hwk", Kno: "pin", Inh: "none", Epoch: 2, SameIP: true}, Attestation: &attestation.Result{Level: "hardware"},
		Risk: &risk.Result{Verdict: risk.Blocked, Findings: []string{"root"}, At: &at}, Scope: "openid", Expires: 7,
		Evidence: &EvidenceRef{ID: "e", Hash: "h"}, Data: []byte(`{"a":1}`)}
	v := reflect.ValueOf(full)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() && name != "ExpiresAt" { // of an open one
			t.Errorf("%s is not in the sample", name)
		}
	}
	for _, out := range []Outcome{full, {}, {At: at, Factors: []string{"a", "b\"<é\u2028\x01"}, SCA: &SCA{}, Reason: "\xff"}} {
		got, err := out.encode()
		want, err2 := json.Marshal(out)
		if string(got) != string(want) || err != nil || err2 != nil {
			t.Errorf("%s, %v; encoding/json %s, %v", got, err, want, err2)
		}
	}
	err := h.DB.Update(t.Context(), func(tx *db.Tx) error { return Record(tx, h.Audit, full, nil, "", nil) })
	if err != nil {
		t.Fatal(err)
	}
	h.settle(t.Context(), &Operation{ID: full.OperationID}, full, nil)
	want, err := h.row("op_1")
	if err != nil {
		t.Fatal(err)
	}
	if kept, ok := h.outcomes.find("op_1", h.clock.Now()); !ok || !reflect.DeepEqual(kept, want) {
		t.Errorf("kept %+v, the row says %+v", kept, want)
	}
}

func TestWhatEndsAnOperationIsKeptAsItsRowHasIt(t *testing.T) {
	h := newHouse(t)
	for m := range map[Move]bool{Cancel: true, Supersede: true, Expire: true} {
		op := h.must("cli_"+string(m), "usr_"+string(m))
		if m == Expire {
			h.clock.Advance(DefaultLife + time.Second)
		}
		if _, err := h.End(t.Context(), op.ID, m, "because"); err != nil {
			t.Fatal(err)
		}
		want, err := h.row(op.ID)
		kept, ok := h.outcomes.find(op.ID, h.clock.Now())
		if err != nil || !ok || len(want.Data)+len(kept.Data) != 0 {
			t.Fatalf("%s: kept %v, %v", m, ok, err)
		}
		kept.Data, want.Data = nil, nil
		if !reflect.DeepEqual(kept, want) {
			t.Errorf("%s: kept %+v, the row says %+v", m, kept, want)
		}
	}
}

// A decision whose transaction fails is not kept.
func TestWhatWasNotCommittedIsNotKept(t *testing.T) {
	h := newHouse(t)
	op := h.must("cli_1", "usr_1")
	broken := errors.New("broken")
	err := h.DB.Update(t.Context(), func(tx *db.Tx) error {
		_, err := h.decide(tx, op, nil, Cancel, "")
		return errors.Join(broken, err)
	})
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if _, ok := h.outcomes.find(op.ID, h.clock.Now()); ok {
		t.Error("kept")
	}
	if out, err := h.Status(t.Context(), op.ID); err != nil || out.State != Pending {
		t.Errorf("%s, %v", out.State, err)
	}
}

func TestKeptOutcomesAreBounded(t *testing.T) {
	kept := newOutcomes()
	now := time.Unix(1_800_000_000, 0)
	for i := range 5 * outcomesHalf {
		kept.keep(Outcome{OperationID: fmt.Sprint(i), At: now})
		if n := len(kept.young) + len(kept.old); n > 2*outcomesHalf {
			t.Fatalf("%d are kept", n)
		}
		if _, ok := kept.find(fmt.Sprint(i), now); !ok {
			t.Fatal("the newest is not found")
		}
	}
	last := fmt.Sprint(5*outcomesHalf - 1)
	if _, ok := kept.find(last, now.Add(outcomeLife)); ok {
		t.Error("told without SQL after a minute")
	}
	for _, big := range []Outcome{{OperationID: "a", At: now, Data: make([]byte, outcomeMost+1)}, {OperationID: "a", At: now, ClientData: string(make([]byte, outcomeMost+1))}} {
		kept.keep(big)
		if _, ok := kept.find("a", now); ok {
			t.Error("a large one is kept")
		}
	}
}
