package db

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db/dbtest"

	"github.com/pressly/goose/v3"
)

func merchants(t *testing.T, d *DB) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	err := d.View(t.Context(), func(tx *Tx) error {
		all, err := tx.Merchants()
		for _, m := range all {
			out[m.ID] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// held keeps the writer busy until release, so that what comes meanwhile shares
// one commit.
func held(t *testing.T, d *DB) (release func()) {
	t.Helper()
	started, end, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var begun sync.Once // it may run again
	go func() {
		defer close(done)
		if err := d.Update(context.Background(), func(*Tx) error { begun.Do(func() { close(started) }); <-end; return nil }); err != nil {
			t.Error(err)
		}
	}()
	<-started
	return func() { close(end); <-done }
}

func TestTheFirstOfAGroupThatFailsLeavesTheOthersTheirs(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		started, end := make(chan struct{}), make(chan struct{})
		first := make(chan error, 1)
		go func() {
			first <- d.Update(t.Context(), func(tx *Tx) error {
				close(started)
				<-end
				return errors.Join(tx.InsertMerchant(Merchant{ID: "mer_first"}), errors.New("no"))
			})
		}()
		<-started
		second := make(chan error, 1)
		go func() {
			second <- d.Update(t.Context(), func(tx *Tx) error { return tx.InsertMerchant(Merchant{ID: "mer_second"}) })
		}()
		time.Sleep(20 * time.Millisecond)
		close(end)
		if err := <-first; err == nil {
			t.Error("the first did not fail")
		}
		if err := <-second; err != nil {
			t.Error(err)
		}
		if have := merchants(t, d); have["mer_first"] || !have["mer_second"] {
			t.Error(have)
		}
	})
}

func TestATransactionOutlivesItsCallerOnceItHasBegun(t *testing.T) {
	d := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := d.Update(ctx, func(tx *Tx) error {
		cancel()
		return tx.InsertMerchant(Merchant{ID: "mer_1"})
	})
	if err != nil || !merchants(t, d)["mer_1"] {
		t.Fatalf("the caller hung up: %v", err)
	}
	release := held(t, d)
	waiting := make(chan error, 1)
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		waiting <- d.Update(ctx, func(tx *Tx) error { return tx.InsertMerchant(Merchant{ID: "mer_2"}) })
	}()
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Fatalf("before it has begun: %v", err)
	}
	release()
	if merchants(t, d)["mer_2"] {
		t.Fatal("told cancelled, and yet kept")
	}
}

func TestAViewCannotWrite(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		if err := d.View(t.Context(), func(tx *Tx) error { return tx.InsertMerchant(Merchant{ID: "mer_1"}) }); err == nil || len(merchants(t, d)) != 0 {
			t.Fatalf("%v, %v", err, merchants(t, d))
		}
	})
}

func TestTheSchemaGoesUpAndDownAndUp(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		have, newest, err := d.Versions(t.Context())
		if err != nil || have != newest || newest < 1 {
			t.Fatalf("version %d of %d, %v", have, newest, err)
		}
		if err := d.Migrate(t.Context()); err != nil {
			t.Fatalf("again: %v", err)
		}
		if err := d.migrating(t.Context(), func(p *goose.Provider) error { _, err := p.DownTo(t.Context(), 0); return err }); err != nil {
			t.Fatalf("down: %v", err)
		}
		if have, _, err := d.Versions(t.Context()); err != nil || have != 0 {
			t.Fatalf("after down: version %d, %v", have, err)
		}
		if err := d.Migrate(t.Context()); err != nil {
			t.Fatalf("up again: %v", err)
		}
		if err := d.Update(t.Context(), func(tx *Tx) error { return tx.InsertMerchant(Merchant{ID: "mer_1"}) }); err != nil {
			t.Fatal(err)
		}
	})
}

// App Attest was once recorded as attested hardware, which it does not prove.
func TestWhatAppAttestDidNotProveIsLowered(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		to := func(v int64) {
			t.Helper()
			if err := d.migrating(t.Context(), func(p *goose.Provider) error { _, err := p.DownTo(t.Context(), v); return err }); err != nil {
				t.Fatal(err)
			}
		}
		to(13)
		want := map[string]string{"dev_apple": `hwk {"level":"build","format":"apple-appattest"}`, "dev_android": `hwk-att {"level":"hardware","format":"android-key"}`, "dev_none": "swk "}
		was := map[string][2]string{"dev_apple": {"hwk-att", `{"level":"hardware","format":"apple-appattest"}`}, "dev_android": {"hwk-att", `{"level":"hardware","format":"android-key"}`}, "dev_none": {"swk", ""}}
		if err := d.Update(t.Context(), func(tx *Tx) error {
			err := errors.Join(tx.InsertMerchant(Merchant{ID: "mer_1"}), tx.InsertApp(App{ID: "app_1", MerchantID: "mer_1", Policy: []byte("{}")}), tx.InsertUser(User{ID: "usr_1", MerchantID: "mer_1", State: UserActive, ExternalRef: "x"}))
			for id, had := range was {
				err = errors.Join(err, tx.InsertDevice(Device{ID: id, MerchantID: "mer_1", UserID: "usr_1", AppID: "app_1", DSKThumb: id, Pos: had[0], Attestation: had[1], Commitment: []byte{}, HandleSalt: []byte{}, Chain: Chain{Head: []byte{}}}))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := d.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		for id, want := range want {
			if err := d.View(t.Context(), func(tx *Tx) error {
				dev, err := tx.Device(id)
				if got := dev.Pos + " " + dev.Attestation; got != want {
					t.Errorf("%s: %s, want %s", id, got, want)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestOtherURLsAreRefused(t *testing.T) {
	for _, url := range []string{"", "sqlite:", "postgres://x:1/y?connect_timeout=1", "postgres://u:secret@127.0.0.1:1/y", "postgres://%zz", "/tmp/x.db"} {
		if d, err := Open(t.Context(), url, clock.System{}); err == nil {
			d.Close()
			t.Errorf("%q was opened", url)
		}
	}
}

func TestSingleUsesAreSingle(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		exp := time.Unix(1_800_000_060, 0)
		var won int
		for range 3 {
			err := d.Update(t.Context(), func(tx *Tx) error { return tx.Redeem("code", "h", "grt_1", exp) })
			if err == nil {
				won++
			} else if !errors.Is(err, ErrConflict) {
				t.Fatal(err)
			}
		}
		if won != 1 {
			t.Fatalf("redeemed %d times", won)
		}
		err := d.Update(t.Context(), func(tx *Tx) error { return tx.Redeem("auth_req_id", "h", "", exp) })
		if err != nil {
			t.Fatalf("another kind: %v", err)
		}
	})
}

func TestTheSweepLeavesWhatIsNotOverForAnHour(t *testing.T) {
	dbtest.Each(t, sweeps)
}

func sweeps(t *testing.T, url string) {
	clk := clock.NewManual(time.Unix(1_800_000_000, 0))
	d := openURL(t, url, clk)
	sweep := func() (n int64) {
		t.Helper()
		if err := d.Update(t.Context(), func(tx *Tx) (err error) { n, err = tx.Sweep(2); return err }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	err := d.Update(t.Context(), func(tx *Tx) error {
		for i := range 5 {
			if err := tx.Redeem("code", fmt.Sprint(i), "", clk.Now()); err != nil {
				return err
			}
		}
		return tx.Revoke("session", "s", clk.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
	clk.Advance(time.Hour)
	if n := sweep(); n != 0 {
		t.Fatalf("%d went early", n)
	}
	clk.Advance(time.Millisecond)
	if a, b, c, last := sweep(), sweep(), sweep(), sweep(); a != 3 || b != 2 || c != 1 || last != 0 {
		t.Fatalf("swept %d, %d, %d, %d", a, b, c, last)
	}
}

func TestASerialIDSortsBehindThoseOfTheMillisecondsBefore(t *testing.T) {
	last := ""
	for range 20 {
		id := NewSerialID("x_")
		if !regexp.MustCompile(`^x_[a-z2-7]{26}$`).MatchString(id) {
			t.Fatalf("%q has not the form of an id", id)
		}
		if id[:11] <= last {
			t.Fatalf("%q follows %q", id, last)
		}
		last = id[:11]
		time.Sleep(2 * time.Millisecond)
	}
}
