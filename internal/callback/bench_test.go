package callback

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/egress"
	"mobileid/internal/keys"
)

// BenchmarkAQueueIsSent is how fast a queue of 10 000 is sent to a merchant that
// answers at once, over real HTTP and the embedded store, spread over some
// endpoints: go test -run '^$' -bench AQueue -benchtime 1x ./internal/callback
func BenchmarkAQueueIsSent(b *testing.B) {
	for _, endpoints := range []int{1, 8} {
		b.Run(map[int]string{1: "one endpoint", 8: "eight endpoints"}[endpoints], func(b *testing.B) {
			for range b.N {
				sendQueue(b, endpoints, 10_000)
			}
		})
	}
}

func sendQueue(b *testing.B, endpoints, events int) {
	d, err := db.Open(b.Context(), "sqlite:"+filepath.Join(b.TempDir(), "b.db"), clock.System{})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	box, err := keys.NewBox([]byte(strings.Repeat("k", 32)))
	if err != nil {
		b.Fatal(err)
	}
	var got atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		got.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	out := egress.New([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, clock.System{})
	c := New(Config{DB: d, Box: box, Audit: audit.NewWriter(), Clock: clock.System{}, Log: slog.New(slog.DiscardHandler), Inside: func(string) bool { return true },
		Post: func(ctx context.Context, address string, header http.Header, body []byte) (int, error) {
			return post(ctx, out, address, header, body)
		}})
	err = errors.Join(d.Migrate(b.Context()), d.Update(b.Context(), func(tx *db.Tx) error {
		return tx.InsertMerchant(db.Merchant{ID: merchant, Name: "One"})
	}))
	if err != nil {
		b.Fatal(err)
	}
	for range endpoints {
		if _, _, err := c.Create(b.Context(), merchant, server.URL, nil); err != nil {
			b.Fatal(err)
		}
	}
	data := json.RawMessage(`{"operationId":"op_abcdefghijklmnopqrstuvwxyz","kind":"authentication","state":"COMPLETED","amr":["pop","swk","pin","mfa","mca"]}`)
	for done := 0; done < events/endpoints; done += 500 {
		err := d.Update(b.Context(), func(tx *db.Tx) error {
			for range min(500, events/endpoints-done) {
				if err := Emit(tx, Event{Merchant: merchant, Type: AuthenticationFinished, Data: data}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(b.Context())
	began := time.Now()
	b.ResetTimer()
	ended := make(chan struct{})
	go func() { c.Run(ctx); close(ended) }()
	for want := int64(events / endpoints * endpoints); got.Load() < want; {
		time.Sleep(5 * time.Millisecond)
	}
	b.StopTimer()
	b.ReportMetric(float64(got.Load())/time.Since(began).Seconds(), "events/s")
	cancel()
	<-ended
}
