package sdk_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/sdk"
	"mobileid/sdk/wire"
)

func TestAPhoneRegistersByLinkAndAnswers(t *testing.T) {
	w := newWorld(t)
	op := w.active()
	r, err := w.phone.Approve(t.Context(), op, "2580", "")
	if err != nil || r.State != "COMPLETED" {
		t.Fatal(r, err)
	}
	if r, err = w.phone.Decline(t.Context(), op, true); err != nil || r.State != "REPORTED" {
		t.Fatal(r, err)
	}
	if _, err := w.phone.Register(t.Context(), w.link()); !errors.Is(err, sdk.ErrRegistered) {
		t.Fatal(err)
	}
}

func TestAPhoneRegistersByLocatorAndComparesDigits(t *testing.T) {
	w := newWorld(t)
	if _, err := w.phone.RegisterTyped(t.Context(), w.http.URL, "abc-234", "000000"); !errors.Is(err, &wire.Error{Code: wire.ActivationFailed}) {
		t.Fatal(err)
	}
	reg := w.must(w.phone.RegisterTyped(t.Context(), w.http.URL, "abc-234", "123456"))
	if !reg.Compare || len(reg.Digits) != 8 || reg.Hint != "a***" {
		t.Fatalf("%+v", reg)
	}
	for pin, ok := range map[string]bool{"1234": false, "123": false, "123456789": false, "12a4": false} {
		if _, err := w.phone.Finish(t.Context(), pin); (err == nil) != ok {
			t.Errorf("PIN %s: %v", pin, err)
		}
	}
	w.must(w.phone.Finish(t.Context(), "2580"))
	w.state = wire.RegRefused
	if reg := w.must(w.phone.Status(t.Context())); reg.State != wire.RegRefused {
		t.Fatalf("%+v", reg)
	}
}

func TestAPhoneRefusesAServerWithAnotherKey(t *testing.T) {
	w := newWorld(t)
	link := w.link()
	w.ssk, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if _, err := w.phone.Register(t.Context(), link); err == nil {
		t.Fatal("accepted")
	}
	if w.requests != 0 {
		t.Fatal("something was sent to it")
	}
}

func TestD11_AWrongPINIsToldByTheServerAlone(t *testing.T) {
	w := newWorld(t)
	op := w.active()
	_, err := w.phone.Approve(t.Context(), op, "0000", "")
	werr, ok := errors.AsType[*wire.Error](err)
	if !ok || werr.Code != wire.AuthFailed || *werr.Left != 2 {
		t.Fatal(err)
	}
	if _, err := w.phone.Approve(t.Context(), op, "2580", ""); err != nil {
		t.Fatal(err)
	}
}

func TestNothingOnThePhoneTellsARightPINFromAWrongOne(t *testing.T) {
	w := newWorld(t)
	w.active()
	st, err := w.file.Load()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, pin := range []string{"2580", "0000", "0001", "2580 ", ""} {
		slow, _ := wire.Stretch(pin, st.Salt)
		mac, _ := w.file.MAC(st.KeyRef, slow)
		mask, _ := wire.Mask(mac)
		kk, err := wire.Xor(st.Wrapped, mask)
		if err != nil || len(kk) != 32 || seen[string(kk)] {
			t.Fatalf("PIN %q: %v", pin, err)
		}
		seen[string(kk)] = true
	}
	if !seen[string(w.kk)] {
		t.Fatal("the right PIN does not give the key")
	}
	raw, _ := os.ReadFile(w.file.Path)
	for name, secret := range map[string]string{"PIN": "2580", "KK": wire.Encode(w.kk), "kpf": `"kpf"`} {
		if strings.Contains(string(raw), secret) {
			t.Errorf("the file holds the %s", name)
		}
	}
	if info, _ := os.Stat(w.file.Path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestALostMessageIsSentAgainAndCountsOnce(t *testing.T) {
	for _, fates := range [][]string{{"request"}, {"reply"}, {"lie"}, {"request", "reply", "reply"}, {"reply", "lie", "lie"}} {
		t.Run(strings.Join(fates, ","), func(t *testing.T) {
			w := newWorld(t)
			op := w.active()
			w.next(fates...)
			r, err := w.phone.Approve(t.Context(), op, "2580", "")
			if err != nil || r.State != "COMPLETED" || w.answers != 1 {
				t.Fatal(r, err, w.answers)
			}
			if _, err := w.phone.Decline(t.Context(), op, false); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// all loses every message of a call in the same way.
func all(fate string) []string { return []string{fate, fate, fate, fate} }

func TestALostReplyIsSettledLater(t *testing.T) {
	cases := map[string]struct {
		fate    string
		between func(w *world)
		want    error
		answers int
	}{
		"reply lost":                     {"reply", func(*world) {}, nil, 1},
		"reply lost, server restarted":   {"reply", func(w *world) { w.restart() }, nil, 1},
		"reply lost, long ago":           {"reply", func(w *world) { w.clk.Advance(time.Hour) }, nil, 1},
		"request lost":                   {"request", func(*world) {}, nil, 1},
		"request lost, server restarted": {"request", func(w *world) { w.restart() }, sdk.ErrNotDone, 0},
		"request lost, long ago":         {"request", func(w *world) { w.clk.Advance(2 * time.Minute) }, sdk.ErrNotDone, 0},
		"request lost, next sync too": {"request", func(w *world) {
			w.restart()
			w.next("", "request", "request", "request", "request")
			if _, err := w.newPhone().Resume(w.t.Context()); !errors.Is(err, sdk.ErrNoReply) {
				w.t.Fatal(err)
			}
			w.restart()
		}, sdk.ErrNotDone, 0},
		"reply lost, next sync too": {"reply", func(w *world) {
			w.clk.Advance(time.Hour)
			w.next(all("reply")...)
			if _, err := w.newPhone().Resume(w.t.Context()); !errors.Is(err, sdk.ErrNoReply) {
				w.t.Fatal(err)
			}
		}, nil, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			op := w.active()
			w.next(all(c.fate)...)
			if _, err := w.phone.Approve(t.Context(), op, "2580", ""); !errors.Is(err, sdk.ErrNoReply) {
				t.Fatal(err)
			}
			w.phone = w.newPhone() // a new process
			c.between(w)
			w.next()
			out, err := w.phone.Resume(t.Context())
			if err != nil || out == nil || out.Txn != "op_1" || !errors.Is(out.Err, c.want) || w.answers != c.answers {
				t.Fatalf("%+v %v, %d answers", out, err, w.answers)
			}
			if again, err := w.phone.Resume(t.Context()); again != nil || err != nil {
				t.Fatal(again, err)
			}
			if r, err := w.phone.Approve(t.Context(), op, "2580", ""); err != nil || r.State != "COMPLETED" {
				t.Fatal(r, err)
			}
		})
	}
}

func TestAskingAgainAfterALostReplyGivesItsResult(t *testing.T) {
	w := newWorld(t)
	op := w.active()
	w.next(all("reply")...)
	if _, err := w.phone.Decline(t.Context(), op, false); !errors.Is(err, sdk.ErrNoReply) {
		t.Fatal(err)
	}
	w.next()
	r, err := w.phone.Decline(t.Context(), op, false)
	if err != nil || r.State != "DECLINED" || w.answers != 1 {
		t.Fatal(r, err, w.answers)
	}
}

func TestAServerRestartGoesUnnoticed(t *testing.T) {
	w := newWorld(t)
	op := w.active()
	w.restart()
	if _, err := w.phone.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.restart()
	if r, err := w.phone.Approve(t.Context(), op, "2580", ""); err != nil || r.State != "COMPLETED" || w.answers != 1 {
		t.Fatal(r, err)
	}
}

func TestD19_AWrongClockOfThePhoneDoesNotMatter(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour, 11 * time.Second} {
		w := newWorld(t)
		w.phone.Now = func() time.Time { return w.clk.Now().Add(off) }
		op := w.active()
		w.phone.Now = func() time.Time { return w.clk.Now().Add(-2 * off) } // and jumps
		if r, err := w.phone.Approve(t.Context(), op, "2580", ""); err != nil || r.State != "COMPLETED" || w.answers != 1 {
			t.Fatal(off, r, err)
		}
	}
}

func TestACopiedPhoneIsFoundOut(t *testing.T) {
	w := newWorld(t)
	op := w.active()
	raw, err := os.ReadFile(w.file.Path)
	if err != nil {
		t.Fatal(err)
	}
	copied := w.newPhone()
	f := &sdk.File{Path: filepath.Join(t.TempDir(), "copy.json")}
	copied.Store, copied.Keys = f, f
	if err := os.WriteFile(f.Path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.phone.Approve(t.Context(), op, "2580", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := copied.Approve(t.Context(), op, "2580", ""); !errors.Is(err, sdk.ErrFork) {
		t.Fatal(err)
	}
	if _, err := w.phone.Approve(t.Context(), op, "2580", ""); !errors.Is(err, sdk.ErrFork) {
		t.Fatal(err)
	}
}

func TestTwoProcessesOnOneFileTakeTurns(t *testing.T) {
	w := newWorld(t)
	op := w.active()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := w.newPhone().Approve(context.Background(), op, "2580", ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if w.answers != 8 {
		t.Fatalf("%d answers", w.answers)
	}
}

func TestALostReplyDuringRegistrationIsSettled(t *testing.T) {
	for step := range 3 {
		w := newWorld(t)
		call := []func() (*sdk.Registration, error){
			func() (*sdk.Registration, error) { return w.phone.Register(t.Context(), w.link()) },
			func() (*sdk.Registration, error) { return w.phone.Finish(t.Context(), "2580") },
			func() (*sdk.Registration, error) { return w.phone.Status(t.Context()) },
		}
		for i, c := range call {
			if i == step {
				w.next(all("reply")...)
				if _, err := c(); !errors.Is(err, sdk.ErrNoReply) {
					t.Fatal(i, err)
				}
				w.next()
				w.phone = w.newPhone()
				w.restart()
				if _, err := w.phone.Resume(t.Context()); err != nil {
					t.Fatal(i, err)
				}
				continue
			}
			w.must(c())
		}
		w.state = wire.RegActive
		w.must(w.phone.Status(t.Context()))
		op := w.operation()
		if r, err := w.phone.Approve(t.Context(), &op, "2580", ""); err != nil || r.State != "COMPLETED" {
			t.Fatal(step, r, err)
		}
	}
}

func TestAViewThatCannotBeShownIsNotApproved(t *testing.T) {
	w := newWorld(t)
	op := w.active()
	op.View = wire.Bytes(`[{"t":"video","text":"x"}]`)
	if _, err := w.phone.Approve(t.Context(), op, "2580", ""); !errors.Is(err, sdk.ErrCannotShow) {
		t.Fatal(err)
	}
}
