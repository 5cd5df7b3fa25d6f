package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/callback"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/egress"
	"mobileid/internal/keys"
)

// webhooks prints how fast a queue of n webhooks is sent to a merchant that answers
// at once: from the embedded store, over real HTTP, to one endpoint and to eight.
// Sender and receiver share this process.
func webhooks(ctx context.Context, n int, to io.Writer) error {
	fmt.Fprintf(to, "%-36s %10s %10s\n", "webhooks queued", "seconds", "events/s")
	for _, endpoints := range []int{1, 8} {
		sent, took, err := drain(ctx, n, endpoints)
		if err != nil {
			return fmt.Errorf("webhooks: %w", err)
		}
		fmt.Fprintf(to, "%-36s %10.2f %10.0f\n", fmt.Sprintf("%d, endpoints: %d", sent, endpoints), took.Seconds(), float64(sent)/took.Seconds())
	}
	return nil
}

// drain queues about n messages, spread over the endpoints, and times until the last
// has arrived.
func drain(ctx context.Context, n, endpoints int) (sent int64, took time.Duration, err error) {
	dir, err := os.MkdirTemp("", "mobileid-webhooks-")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(dir)
	d, err := db.Open(ctx, "sqlite:"+filepath.Join(dir, "b.db"), clock.System{})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	box, err := keys.NewBox([]byte(strings.Repeat("k", 32)))
	if err != nil {
		return 0, 0, err
	}
	address, got, stop, err := receiver()
	if err != nil {
		return 0, 0, err
	}
	defer stop()
	out := egress.New([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, clock.System{})
	c := callback.New(callback.Config{DB: d, Box: box, Audit: audit.NewWriter(), Clock: clock.System{}, Log: slog.New(slog.DiscardHandler), Inside: func(string) bool { return true },
		Post: func(ctx context.Context, address string, header http.Header, body []byte) (int, error) {
			a, err := out.Send(ctx, egress.Request{Method: http.MethodPost, URL: address, Header: header, Body: body})
			return a.Status, err
		}})
	if err := queue(ctx, d, c, address, n/endpoints, endpoints); err != nil {
		return 0, 0, err
	}
	run, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	began := time.Now()
	go func() { c.Run(run); close(ended) }()
	for want := int64(n / endpoints * endpoints); got.Load() < want && ctx.Err() == nil; {
		time.Sleep(5 * time.Millisecond)
	}
	took = time.Since(began)
	cancel()
	<-ended
	return got.Load(), took, ctx.Err()
}

// receiver answers every request at once and counts them.
func receiver() (address string, got *atomic.Int64, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, nil, err
	}
	got = &atomic.Int64{}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		got.Add(1)
		w.WriteHeader(http.StatusNoContent)
	})}
	go func() { _ = server.Serve(l) }() // until it is closed
	return "http://" + l.Addr().String(), got, func() { _ = server.Close() }, nil
}

// queue makes a merchant with so many endpoints, and events, of which each gets one.
func queue(ctx context.Context, d *db.DB, c *callback.Callbacks, address string, events, endpoints int) error {
	const merchant = "mer_bench"
	err := d.Migrate(ctx)
	if err == nil {
		err = d.Update(ctx, func(tx *db.Tx) error { return tx.InsertMerchant(db.Merchant{ID: merchant, Name: "Bench"}) })
	}
	for range endpoints {
		if err == nil {
			_, _, err = c.Create(ctx, merchant, address, nil)
		}
	}
	data := json.RawMessage(`{"operationId":"op_abcdefghijklmnopqrstuvwxyz","kind":"authentication","state":"COMPLETED","amr":["pop","swk","pin","mfa","mca"]}`)
	const atOnce = 500
	for done := 0; done < events && err == nil; done += atOnce {
		err = d.Update(ctx, func(tx *db.Tx) error {
			for range min(atOnce, events-done) {
				if err := callback.Emit(tx, callback.Event{Merchant: merchant, Type: callback.AuthenticationFinished, Data: data}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return err
}
