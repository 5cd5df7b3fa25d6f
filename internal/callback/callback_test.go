package callback

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/db/dbtest"
	"mobileid/internal/egress"
	"mobileid/internal/fault"
	"mobileid/internal/keys"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// message is one that a merchant's server was sent.
type message struct {
	header http.Header
	body   string
}

func (m message) id() string { return m.header.Get("webhook-id") }

// receiver is a merchant's server.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []message
	answer func(n int, w http.ResponseWriter, r *http.Request) // the n-th, from 1; nil: 204
}

func receive(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got = append(r.got, message{req.Header.Clone(), string(body)})
		n, answer := len(r.got), r.answer
		r.mu.Unlock()
		if answer != nil {
			answer(n, w, req)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) all() []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

func status(code int) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// world is Callbacks over a database with one merchant, driven by hand.
type world struct {
	*Callbacks
	t   *testing.T
	clk *clock.Manual
}

const merchant, rival = "mer_1", "mer_2"

func each(t *testing.T, fn func(t *testing.T, w *world)) {
	dbtest.Each(t, func(t *testing.T, url string) { fn(t, newWorld(t, url)) })
}

func newWorld(t *testing.T, dsn string) *world {
	t.Helper()
	clk := clock.NewManual(time.Now().Truncate(time.Millisecond))
	d, err := db.Open(t.Context(), dsn, clk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = d.Update(t.Context(), func(tx *db.Tx) error {
		return errors.Join(tx.InsertMerchant(db.Merchant{ID: merchant, Name: "One"}), tx.InsertMerchant(db.Merchant{ID: rival, Name: "Two"}))
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, clk: clk}
	w.restart(d)
	return w
}

// restart is a new process on the same rows.
func (w *world) restart(d *db.DB) {
	box, err := keys.NewBox([]byte(strings.Repeat("k", 32)))
	if err != nil {
		w.t.Fatal(err)
	}
	out := egress.New([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, w.clk)
	w.Callbacks = New(Config{DB: d, Box: box, Audit: audit.NewWriter(), Clock: w.clk, Log: slog.New(slog.DiscardHandler),
		Inside: func(host string) bool { return host == "127.0.0.1" },
		Post: func(ctx context.Context, address string, header http.Header, body []byte) (int, error) {
			return post(ctx, out, address, header, body)
		}})
}

func (w *world) endpoint(merchantID, url string, events ...string) (Endpoint, string) {
	w.t.Helper()
	e, secret, err := w.Create(w.t.Context(), merchantID, url, events)
	if err != nil {
		w.t.Fatal(err)
	}
	return e, secret
}

// emit has n things happen, each in a transaction of its own.
func (w *world) emit(merchantID, typ string, n int) {
	w.t.Helper()
	for i := range n {
		err := w.DB.Update(w.t.Context(), func(tx *db.Tx) error {
			return Emit(tx, Event{Merchant: merchantID, Type: typ, Data: json.RawMessage(fmt.Sprintf(`{"n":%d,"text":"<é>"}`, i))})
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// send sends what is due, and waits until that is settled.
func (w *world) send() {
	w.t.Helper()
	w.round(w.t.Context())
	w.work.wg.Wait()
}

func (w *world) log(e Endpoint) []Delivery {
	w.t.Helper()
	all, err := w.Deliveries(w.t.Context(), e.MerchantID, e.ID, nil, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// verify is the reference verifier of Standard Webhooks, by the machine's clock.
func verify(t *testing.T, secret string, m message) error {
	t.Helper()
	wh, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	return wh.Verify([]byte(m.body), m.header)
}

func TestI6_AnEventIsSentOnceCommittedAndSignedByTheStandard(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := receive(t)
		e, secret := w.endpoint(merchant, r.URL+"/hook?x=1")
		err := w.DB.Update(t.Context(), func(tx *db.Tx) error {
			return errors.Join(Emit(tx, Event{Merchant: merchant, Type: SignatureFinished, Data: json.RawMessage(`{}`)}), errors.New("not committed"))
		})
		if err == nil {
			t.Fatal("committed")
		}
		w.emit(merchant, SignatureFinished, 1)
		w.emit(rival, SignatureFinished, 1)
		w.send()
		w.send()
		got := r.all()
		if len(got) != 1 {
			t.Fatalf("%d messages", len(got))
		}
		m := got[0]
		if err := verify(t, secret, m); err != nil {
			t.Errorf("the reference verifier: %v", err)
		}
		var body struct {
			ID, Type, Timestamp, MerchantID, ExpiresAt string
			Version                                    int64
			Data                                       struct{ Text string }
		}
		if err := json.Unmarshal([]byte(m.body), &body); err != nil {
			t.Fatal(err)
		}
		at, err1 := time.Parse(time.RFC3339, body.Timestamp)
		until, err2 := time.Parse(time.RFC3339, body.ExpiresAt)
		if err := errors.Join(err1, err2); err != nil || until.Sub(at) != Life || body.ID != m.id() || !strings.HasPrefix(body.ID, "evt_") || body.Type != SignatureFinished ||
			body.MerchantID != merchant || body.Data.Text != "<é>" || body.Version == 0 {
			t.Errorf("%s, %v", m.body, err)
		}
		if log := w.log(e); len(log) != 1 || log[0].State != db.DeliveryDelivered || log[0].Status != 204 || log[0].Attempts != 1 || log[0].TriedAt == nil || log[0].NextAt != nil {
			t.Errorf("the log: %+v", log)
		}
	})
}

func TestAnEndpointIsToldOnlyWhatItWants(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := receive(t)
		e, _ := w.endpoint(merchant, r.URL, DeviceState, SignatureFinished)
		for _, typ := range Types() {
			w.emit(merchant, typ, 1)
		}
		w.send()
		var types []string
		for _, d := range w.log(e) {
			types = append(types, d.Type)
		}
		if slices.Sort(types); !slices.Equal(types, []string{DeviceState, SignatureFinished}) || len(r.all()) != 2 {
			t.Errorf("told of %v, %d messages", types, len(r.all()))
		}
		off := false
		if _, err := w.Update(t.Context(), merchant, e.ID, Change{Enabled: &off}); err != nil {
			t.Fatal(err)
		}
		w.emit(merchant, SignatureFinished, 1)
		w.send()
		if len(r.all()) != 2 || len(w.log(e)) != 2 {
			t.Error("a disabled endpoint is told")
		}
	})
}

func TestF7_ReplayedAlteredOrOldSecretsAreRefusedByTheReferenceVerifier(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := receive(t)
		e, first := w.endpoint(merchant, r.URL)
		w.emit(merchant, SignatureFinished, 1)
		w.send()
		_, second, err := w.RotateSecret(t.Context(), merchant, e.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		w.emit(merchant, SignatureFinished, 1)
		w.send()
		got := r.all()
		if err := verify(t, first, got[0]); err != nil || verify(t, second, got[0]) == nil {
			t.Errorf("before the rotation: %v", err)
		}
		if err := errors.Join(verify(t, first, got[1]), verify(t, second, got[1])); err != nil {
			t.Errorf("while both count: %v", err)
		}
		altered := got[1]
		altered.body = strings.Replace(altered.body, SignatureFinished, DeviceState, 1)
		if verify(t, second, altered) == nil {
			t.Error("an altered body is taken")
		}
		other := message{got[1].header.Clone(), got[1].body}
		other.header.Set("webhook-id", "evt_other")
		if verify(t, second, other) == nil {
			t.Error("another id is taken")
		}
		w.clk.Advance(-6 * time.Minute)
		w.emit(merchant, SignatureFinished, 1)
		w.clk.Advance(0)
		w.send()
		if replay := r.all()[2]; verify(t, second, replay) == nil {
			t.Error("a message of six minutes ago is taken")
		}
		w.clk.Advance(time.Hour + 7*time.Minute)
		w.emit(merchant, SignatureFinished, 1)
		w.send()
		last := r.all()[len(r.all())-1]
		if n := len(strings.Fields(last.header.Get("webhook-signature"))); n != 1 {
			t.Errorf("%d signatures after the overlap", n)
		}
		if _, third, err := w.RotateSecret(t.Context(), merchant, e.ID, 0); err != nil || third == second {
			t.Fatal(err)
		}
		w.emit(merchant, SignatureFinished, 1)
		w.send()
		last = r.all()[len(r.all())-1]
		if n := len(strings.Fields(last.header.Get("webhook-signature"))); n != 1 {
			t.Errorf("%d signatures after a rotation without overlap", n)
		}
	})
}

func TestF8_AnEndpointThatFailsIsTriedForThreeDaysAndThenGivenUp(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, code := range []int{500, 410, 302} {
			r := receive(t)
			r.answer = func(_ int, rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Location", r.URL+"/elsewhere")
				rw.WriteHeader(code)
			}
			e, _ := w.endpoint(merchant, r.URL, SignatureFinished)
			w.emit(merchant, SignatureFinished, 1)
			began := w.clk.Now()
			var gaps []time.Duration
			last := began
			for w.clk.Now().Sub(began) < Life+time.Hour {
				n := len(r.all())
				w.send()
				if len(r.all()) > n {
					gaps = append(gaps, w.clk.Now().Sub(last).Round(time.Second))
					last = w.clk.Now()
				}
				w.clk.Advance(time.Second)
				if d := w.log(e)[0]; d.NextAt != nil && len(gaps) > 9 {
					w.clk.Advance(max(0, d.NextAt.Sub(w.clk.Now())))
				}
				if code != 500 && len(gaps) == 20 || w.log(e)[0].State == db.DeliveryExpired {
					break // whatever the failure, it goes on the same way
				}
			}
			if code != 500 {
				if state := w.log(e)[0].State; len(gaps) != 20 || state != db.DeliveryPending {
					t.Errorf("%d: %s after %d attempts", code, state, len(gaps))
				}
			} else if len(gaps) < 400 || gaps[1] > 4*time.Second || last.Sub(began) < Life-11*time.Minute || last.Sub(began) > Life {
				t.Errorf("%d: %d attempts, the last after %s, %v", code, len(gaps), last.Sub(began), gaps[:min(12, len(gaps))])
			}
			first := r.all()[0]
			for _, m := range r.all() {
				if m.id() != first.id() || m.body != first.body {
					t.Fatalf("%d: another id or body at a later attempt", code)
				}
			}
			if err := w.Delete(t.Context(), merchant, e.ID); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestAFailingEndpointRestsAndAllThatWaitedIsSentOnceItWorks(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := receive(t)
		r.answer = status(503)
		e, _ := w.endpoint(merchant, r.URL)
		w.emit(merchant, SignatureFinished, 40)
		for range 20 {
			w.send()
		}
		tried := len(r.all())
		if tried < tripAfter || tried > perHost*batch {
			t.Errorf("%d attempts before it rests", tried)
		}
		if got, err := w.Get(t.Context(), merchant, e.ID); err != nil || got.RestsUntil == nil || got.Failures < tripAfter {
			t.Errorf("%+v, %v", got, err)
		}
		w.clk.Advance(10 * time.Second)
		for range 5 {
			w.send()
		}
		if n := len(r.all()) - tried; n != 1 {
			t.Errorf("%d attempts after the rest", n)
		}
		r.mu.Lock()
		r.answer = nil
		r.mu.Unlock()
		for range 60 {
			w.clk.Advance(time.Minute)
			w.send()
		}
		for _, d := range w.log(e) {
			if d.State != db.DeliveryDelivered {
				t.Fatalf("not delivered: %+v", d)
			}
		}
		if got, err := w.Get(t.Context(), merchant, e.ID); err != nil || got.RestsUntil != nil || got.Failures != 0 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestF8_ASlowEndpointHoldsUpNobodyElse(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		slow, quick := receive(t), receive(t)
		release := make(chan struct{})
		send := w.Post
		w.Post = func(ctx context.Context, address string, header http.Header, body []byte) (int, error) {
			if address == slow.URL {
				<-release // for ever, where egress gives up after 5 s
			}
			return send(ctx, address, header, body)
		}
		w.endpoint(merchant, slow.URL)
		q, _ := w.endpoint(merchant, quick.URL)
		w.emit(merchant, SignatureFinished, 100)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { w.Run(ctx); close(ended) }()
		for deadline := time.Now().Add(30 * time.Second); len(quick.all()) < 100; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the quick one was told %d of 100", len(quick.all()))
			}
		}
		close(release)
		cancel()
		<-ended
		for _, d := range w.log(q) {
			if d.State != db.DeliveryDelivered {
				t.Errorf("%+v", d)
			}
		}
	})
}

func TestF9_ACrashAfterSendingSendsAgainTheSameIDAndBody(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := receive(t)
		w.endpoint(merchant, r.URL)
		w.emit(merchant, SignatureFinished, 1)
		// The process dies between the answer and its note: as if it never settled.
		send := w.Post
		w.Post = func(ctx context.Context, address string, header http.Header, body []byte) (int, error) {
			if _, err := send(ctx, address, header, body); err != nil {
				t.Error(err)
			}
			panic("killed")
		}
		func() {
			defer func() { recover() }()
			_, _ = w.some(t.Context(), merchant, mustOnly(t, w))
		}()
		w.restart(w.DB)
		w.send()
		if n := len(r.all()); n != 1 {
			t.Fatalf("%d messages while the lease of the dead lasts", n)
		}
		w.clk.Advance(lease)
		w.send()
		got := r.all()
		if len(got) != 2 || got[0].id() != got[1].id() || got[0].body != got[1].body {
			t.Fatalf("%+v", got)
		}
		w.clk.Advance(lease)
		w.send()
		if n := len(r.all()); n != 2 {
			t.Errorf("%d messages", n)
		}
	})
}

func mustOnly(t *testing.T, w *world) string {
	t.Helper()
	all, err := w.List(t.Context(), merchant)
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	return all[0].ID
}

func TestF10_TheVersionTellsWhichOfTwoEventsIsTheNewer(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := receive(t)
		r.answer = func(n int, rw http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				rw.WriteHeader(500)
			}
		}
		w.endpoint(merchant, r.URL)
		for range 2 {
			w.emit(merchant, DeviceState, 1)
			w.clk.Advance(10 * time.Millisecond)
		}
		for range 10 {
			w.send()
			w.clk.Advance(time.Second)
		}
		type event struct {
			ID      string
			Version int64
		}
		var got []event
		for _, m := range r.all() {
			var e event
			if err := json.Unmarshal([]byte(m.body), &e); err != nil {
				t.Fatal(err)
			}
			got = append(got, e)
		}
		if len(got) != 3 || got[0] != got[2] || got[1].Version <= got[2].Version {
			t.Errorf("%+v", got)
		}
	})
}

func TestF14_SecretsAreBoundToTheirMerchantAndEndpoint(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		mine, theirs := receive(t), receive(t)
		m, mySecret := w.endpoint(merchant, mine.URL)
		_, theirSecret := w.endpoint(rival, theirs.URL)
		// Even with the rows swapped by hand nothing is signed with the other's.
		var stolen []byte
		err := w.DB.Update(t.Context(), func(tx *db.Tx) error {
			all, err := tx.WebhooksOf(rival)
			if err != nil {
				return err
			}
			stolen = all[0].Secrets
			hook, err := tx.Webhook(merchant, m.ID)
			if err != nil {
				return err
			}
			hook.Secrets = stolen
			return tx.SetWebhook(hook)
		})
		if err != nil {
			t.Fatal(err)
		}
		w.emit(merchant, SignatureFinished, 1)
		w.emit(rival, SignatureFinished, 1)
		w.send()
		if n := len(mine.all()); n != 0 {
			t.Errorf("%d messages are signed with another's secret", n)
		}
		got := theirs.all()
		if len(got) != 1 || verify(t, theirSecret, got[0]) != nil || verify(t, mySecret, got[0]) == nil {
			t.Errorf("%+v", got)
		}
		for name, err := range map[string]error{
			"Get":          errOf(w.Get(t.Context(), rival, m.ID)),
			"Update":       errOf(w.Update(t.Context(), rival, m.ID, Change{})),
			"Delete":       w.Delete(t.Context(), rival, m.ID),
			"SendTest":     errOf(w.SendTest(t.Context(), rival, m.ID)),
			"RotateSecret": func() error { _, _, err := w.RotateSecret(t.Context(), rival, m.ID, 0); return err }(),
			"Deliveries":   errOf(w.Deliveries(t.Context(), rival, m.ID, nil, 1)),
			"Resend":       w.Resend(t.Context(), rival, m.ID, "evt_1"),
		} {
			if !fault.Is(err, fault.NotFound) {
				t.Errorf("%s of another merchant's: %v", name, err)
			}
		}
	})
}

func errOf[T any](_ T, err error) error { return err }

func TestTestEventsAndResendingAreByHand(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := receive(t)
		e, secret := w.endpoint(merchant, r.URL, SignatureFinished)
		id, err := w.SendTest(t.Context(), merchant, e.ID)
		if err != nil {
			t.Fatal(err)
		}
		w.send()
		if err := w.Resend(t.Context(), merchant, e.ID, id); err != nil {
			t.Fatal(err)
		}
		w.send()
		got := r.all()
		if len(got) != 2 || got[0].id() != id || got[1].id() != id || got[0].body != got[1].body || verify(t, secret, got[1]) != nil {
			t.Errorf("%+v", got)
		}
		if err := w.Resend(t.Context(), merchant, e.ID, "evt_none"); !fault.Is(err, fault.NotFound) {
			t.Errorf("an event that never was: %v", err)
		}
	})
}

func TestF1_AddressesThatCannotBePublicAreRefused(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	for _, bad := range []string{
		"", "x", "http://shop.example/hook", "ftp://shop.example/", "https://", "https://user@shop.example/", "https://shop.example/#f", "https://shop.example/#",
		"https://localhost/", "https://a.localhost/", "https://localhost./", "https://127.0.0.2/", "https://10.0.0.1/", "https://169.254.169.254/", "https://[::1]/",
		"https://[fc00::1]/", "https://0x7f.1/", "https://127.1/", "https://2130706433/", "https://0177.0.0.1/", "https://shop/", "https://shop.example:22/",
		"https://shop.example/\r\nX: y", "https://shop.example/ b", "https://shop.example\\@evil.example/", "https://shöp.example/", "https://shop.example/" + strings.Repeat("a", 2000),
		"javascript:alert(1)", "//shop.example/", "https:shop.example",
	} {
		_, _, err := w.Create(t.Context(), merchant, bad, nil)
		if e, ok := errors.AsType[*fault.Error](err); !ok || e.Kind != fault.Invalid || len(e.Fields) != 1 || e.Fields[0].Pointer != "/url" {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, good := range []string{"https://shop.example/hook", "https://shop.example:8443/a?b=c", "http://127.0.0.1:9/x", "https://203.0.113.9/"} {
		if _, _, err := w.Create(t.Context(), merchant, good, nil); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	if _, _, err := w.Create(t.Context(), merchant, "https://shop.example/", []string{"everything"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("an unknown event: %v", err)
	}
}

func TestAMerchantHasTwentyEndpointsHoweverManyAreMadeAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		var made, refused int
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 30 {
			all.Go(func() {
				_, _, err := w.Create(t.Context(), merchant, "https://shop.example/"+url.PathEscape("a"), nil)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					made++
				case fault.Is(err, fault.LimitReached):
					refused++
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if made != MaxEndpoints || refused != 30-MaxEndpoints {
			t.Errorf("%d made, %d refused", made, refused)
		}
	})
}

func TestTwoNodesSendEachEventOnceWhileBothLive(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := receive(t)
		w.endpoint(merchant, r.URL)
		w.emit(merchant, SignatureFinished, 200)
		other := New(w.Config)
		ctx, cancel := context.WithCancel(t.Context())
		var both sync.WaitGroup
		both.Go(func() { w.Run(ctx) })
		both.Go(func() { other.Run(ctx) })
		for deadline := time.Now().Add(30 * time.Second); len(r.all()) < 200 && time.Now().Before(deadline); {
			time.Sleep(20 * time.Millisecond)
		}
		cancel()
		both.Wait()
		seen := map[string]int{}
		for _, m := range r.all() {
			seen[m.id()]++
		}
		if len(seen) != 200 || len(r.all()) != 200 {
			t.Errorf("%d events in %d messages", len(seen), len(r.all()))
		}
	})
}

func TestWhatHappenedIsKeptForThoseWhoAskAndToldUnderTheSameID(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := receive(t)
		w.endpoint(merchant, r.URL, UserState)
		err := w.DB.Update(t.Context(), func(tx *db.Tx) error {
			return Happened(tx, db.Event{MerchantID: merchant, Type: UserState, UserID: "usr_1", Data: map[string]string{"from": "ACTIVE", "to": "LOCKED"}})
		})
		if err != nil {
			t.Fatal(err)
		}
		w.send()
		got := r.all()
		if len(got) != 1 || !strings.Contains(got[0].body, `"data":{"from":"ACTIVE","to":"LOCKED","userId":"usr_1"}`) {
			t.Fatalf("%+v", got)
		}
		w.clk.Advance(time.Minute)
		var kept []db.Event
		err = w.DB.View(t.Context(), func(tx *db.Tx) (err error) {
			kept, err = tx.EventsAfter(merchant, db.After{}, 10)
			return err
		})
		if err != nil || len(kept) != 1 || kept[0].ID != got[0].id() {
			t.Errorf("%+v, %v", kept, err)
		}
	})
}
