package flows

import (
	"encoding/base64"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/db/dbtest/schema"
	"mobileid/internal/identity"
	"mobileid/internal/keys"
	"mobileid/internal/kv/kvtest"
	"mobileid/internal/operation"
	"mobileid/internal/outbox"
)

// asking is the core with one client that may not learn who exists, so that a
// request needs no phone, and a clock that the test moves.
func asking(t *testing.T) (*Flows, *db.Client, *clock.Manual) {
	t.Helper()
	clk := clock.NewManual(time.Unix(1_800_000_000, 0))
	d, err := db.Open(t.Context(), schema.SQLite(t), clk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	box, err := keys.NewBox(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	store, log, w := kvtest.SQLite(t, clk), slog.New(slog.DiscardHandler), audit.NewWriter()
	ops := operation.New(operation.Config{DB: d, KV: store, Box: box, Audit: w, Outbox: outbox.New(d, log), Clock: clk, Log: log})
	users := &identity.Store{DB: d, Audit: w, Clock: clk}
	return New(Config{DB: d, KV: store, Users: users, Operations: ops, Clock: clk, Log: log}),
		&db.Client{ID: "cli_1", MerchantID: "mer_1", Name: "Client", Settings: db.ClientSettings{Binding: "trusted"}}, clk
}

func TestC11_TheIntervalGrowsByFiveSecondsWithEachPollThatIsTooFast(t *testing.T) {
	f, c, clk := asking(t)
	ack, err := f.StartBackchannel(t.Context(), BackchannelStart{Client: c, Hint: "bob", ExpiresIn: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range []struct {
		after time.Duration
		want  Status
	}{
		{0, StatusPending},                         // the first may come at once
		{4400 * time.Millisecond, StatusSlowDown},  // 10 s from here
		{9400 * time.Millisecond, StatusSlowDown},  // 15 s from here
		{14400 * time.Millisecond, StatusSlowDown}, // 20 s from here
		{20 * time.Second, StatusPending},          // and so it stays
		{19 * time.Second, StatusSlowDown},         // 25 s from here
		{25 * time.Second, StatusPending},
		{25*time.Second - pollSlack, StatusPending}, // a clock that ticks early
		{10 * time.Minute, StatusExpired},
		{0, StatusExpired}, // what is over is not slowed down
	} {
		clk.Advance(s.after)
		st, err := f.PollBackchannel(t.Context(), ack.AuthReqID, c.ID, 0)
		if err != nil || st.Status != s.want {
			t.Fatalf("poll %d: %s, %v; want %s", i, st.Status, err, s.want)
		}
	}
	if st, err := f.PollBackchannel(t.Context(), ack.AuthReqID, "cli_2", 0); err != nil || st.Status != StatusUnknown {
		t.Fatalf("another client: %s, %v", st.Status, err)
	}
}

func TestC11_WhileAPollIsHeldAnotherIsTooFast(t *testing.T) {
	f, c, clk := asking(t)
	ack, err := f.StartBackchannel(t.Context(), BackchannelStart{Client: c, Hint: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	held := make(chan Status, 1)
	go func() {
		st, err := f.PollBackchannel(t.Context(), ack.AuthReqID, c.ID, 700*time.Millisecond)
		if err != nil {
			t.Error(err)
		}
		held <- st.Status
	}()
	time.Sleep(200 * time.Millisecond)
	if st, err := f.PollBackchannel(t.Context(), ack.AuthReqID, c.ID, 0); err != nil || st.Status != StatusSlowDown {
		t.Fatalf("beside a held one: %s, %v", st.Status, err)
	}
	if got := <-held; got != StatusPending {
		t.Fatalf("the held one: %s", got)
	}
	clk.Advance(10 * time.Second)
	if st, err := f.PollBackchannel(t.Context(), ack.AuthReqID, c.ID, 0); err != nil || st.Status != StatusPending {
		t.Fatalf("ten seconds later: %s, %v", st.Status, err)
	}
}

func TestARequestLivesAsLongAsAskedButTenMinutesAtMost(t *testing.T) {
	f, c, _ := asking(t)
	for asked, want := range map[time.Duration]time.Duration{0: 3 * time.Minute, time.Second: time.Second, time.Hour: 10 * time.Minute} {
		ack, err := f.StartBackchannel(t.Context(), BackchannelStart{Client: c, Hint: "bob", ExpiresIn: asked})
		if err != nil || ack.ExpiresIn != want || ack.Interval != 5*time.Second {
			t.Errorf("%v: %+v, %v", asked, ack, err)
		}
	}
}

func TestC15_AuthReqIDsHave256RandomBitsInBase64URL(t *testing.T) {
	f, c, _ := asking(t)
	seen := map[string]bool{}
	for range 200 {
		ack, err := f.StartBackchannel(t.Context(), BackchannelStart{Client: c, Hint: "bob"})
		if err != nil || len(ack.AuthReqID) != timeLength+43 {
			t.Fatalf("%+v, %v", ack, err)
		}
		secret := ack.AuthReqID[timeLength:]
		if raw, err := base64.RawURLEncoding.DecodeString(secret); err != nil || len(raw) != 32 || seen[secret] {
			t.Fatalf("%s: %v", secret, err)
		}
		seen[secret] = true
	}
}

func TestAnOperationIsFoundByItsAuthReqIDAndByNothingLikeIt(t *testing.T) {
	f, c, _ := asking(t)
	ack, err := f.StartBackchannel(t.Context(), BackchannelStart{Client: c, Hint: "bob", Scopes: []string{"openid", "x"}})
	if err != nil {
		t.Fatal(err)
	}
	id := ack.AuthReqID
	st, err := f.PollBackchannel(t.Context(), id, c.ID, 0)
	if err != nil || st.Status != StatusPending || !slices.Equal(st.Scopes, []string{"openid", "x"}) || st.Expires.IsZero() {
		t.Fatalf("%+v, %v", st, err)
	}
	if op := operationOf(id); strings.Contains(op, id[timeLength:]) || len(op) != len("op_")+timeLength+26 {
		t.Errorf("the operation is %s", op)
	}
	for name, other := range map[string]string{
		"nothing": "", "the operation": operationOf(id), "another secret": id[:idLength-1] + "_", "another time": "a" + id[1:],
		"a time that is none": "{}" + id[2:], "more": id + "A", "less": id[1:], "without the time": id[timeLength:],
	} {
		if st, err := f.PollBackchannel(t.Context(), other, c.ID, 0); err != nil || st.Status != StatusUnknown {
			t.Errorf("%s: %s, %v", name, st.Status, err)
		}
	}
}

func TestMatchCodesAreThreeDigits(t *testing.T) {
	seen := map[string]bool{}
	for range 3000 {
		code, err := matchCode()
		if err != nil || len(code) != 3 || code < "100" || code > "999" {
			t.Fatalf("%q, %v", code, err)
		}
		seen[code] = true
	}
	if len(seen) < 700 {
		t.Errorf("only %d different codes of 900 in 3000", len(seen))
	}
}
