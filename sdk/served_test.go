package sdk_test

import (
	"errors"
	"os"
	"testing"

	"mobileid/internal/db"
	"mobileid/sdk"
)

// serves lets the server serve these versions.
func (w *world) serves(versions ...int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.srv.Versions = versions
}

func (w *world) chain() (c db.Chain) {
	w.t.Helper()
	st, err := w.file.Load()
	if err != nil {
		w.t.Fatal(err)
	}
	err = w.db.View(w.t.Context(), func(tx *db.Tx) error {
		d, err := tx.Device(st.Device)
		c = d.Chain
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func TestD9_APhoneOutsideTheServedVersionsIsRefusedAndNothingChanges(t *testing.T) {
	refused := func(t *testing.T, err error, lowest int) {
		t.Helper()
		e, ok := errors.AsType[*sdk.UpgradeError](err)
		if !ok || e.Min != lowest {
			t.Fatalf("%v", err)
		}
	}
	t.Run("it learns from the key set, and sends nothing", func(t *testing.T) {
		w := newWorld(t)
		op := w.active()
		before, chain, sent := w.kept(), w.chain(), w.requests
		w.serves(2, 3)
		w.phone = w.newPhone()
		_, err := w.phone.Approve(t.Context(), op, "2580", "")
		refused(t, err, 2)
		_, err = w.phone.List(t.Context())
		refused(t, err, 2)
		refused(t, w.phone.ChangePIN(t.Context(), "2580", "1357"), 2)
		if w.requests != sent || w.kept() != before || w.chain().Seq != chain.Seq {
			t.Fatal("something was sent or kept")
		}
		w.serves(1, 2)
		if r, err := w.phone.Approve(t.Context(), op, "2580", ""); err != nil || r.State != "COMPLETED" {
			t.Fatal(r, err)
		}
	})
	t.Run("a key set of before does not help it", func(t *testing.T) {
		w := newWorld(t)
		op := w.active()
		chain := w.chain()
		w.serves(2)
		_, err := w.phone.Approve(t.Context(), op, "2580", "")
		refused(t, err, 2)
		if now := w.chain(); now.Seq != chain.Seq || w.answers != 0 {
			t.Fatal("the server carried it out")
		}
		_, err = w.newPhone().Resume(t.Context()) // what it sent is still to be settled
		refused(t, err, 2)
		w.serves(1)
		if r, err := w.phone.Approve(t.Context(), op, "2580", ""); err != nil || r.State != "COMPLETED" || w.answers != 1 {
			t.Fatal(r, err, w.answers)
		}
	})
	t.Run("a phone that is not registered leaves no keys behind", func(t *testing.T) {
		w := newWorld(t)
		w.serves(2)
		_, err := w.phone.Register(t.Context(), w.link())
		refused(t, err, 2)
		_, err = w.phone.RegisterTyped(t.Context(), w.http.URL, "abc-234", "123456")
		refused(t, err, 2)
		if _, err := os.Stat(w.file.Path); !errors.Is(err, os.ErrNotExist) || w.requests != 0 {
			t.Fatal("a file, or a request", err)
		}
	})
	t.Run("an older server is no reason to upgrade", func(t *testing.T) {
		w := newWorld(t)
		w.serves(0)
		if _, err := w.phone.Register(t.Context(), w.link()); !errors.Is(err, sdk.ErrServerOlder) {
			t.Fatal(err)
		}
	})
}

// The word in the clear is anybody's: the signed key set decides.
func TestD9_AWordInTheClearDoesNotSendAPhoneAway(t *testing.T) {
	w := newWorld(t)
	op := w.active()
	w.next("upgrade", "upgrade")
	if r, err := w.phone.Approve(t.Context(), op, "2580", ""); err != nil || r.State != "COMPLETED" || w.answers != 1 {
		t.Fatal(r, err, w.answers)
	}
}

func TestACallThatTheServerDoesNotServeIsNotSent(t *testing.T) {
	w := newWorld(t) // which serves no pin.change
	w.active()
	before, sent := w.kept(), w.requests
	if err := w.phone.ChangePIN(t.Context(), "2580", "1357"); !errors.Is(err, sdk.ErrNotServed) {
		t.Fatal(err)
	}
	if w.requests != sent || w.kept() != before {
		t.Fatal("something was sent or kept")
	}
}

// kept is the phone's file as it is.
func (w *world) kept() string {
	w.t.Helper()
	raw, err := os.ReadFile(w.file.Path)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(raw)
}
