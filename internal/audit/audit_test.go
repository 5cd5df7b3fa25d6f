package audit_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/db"
	"mobileid/internal/db/dbtest"
	"mobileid/internal/egress"

	"github.com/prometheus/client_golang/prometheus"
)

func TestARecordIsWhatEncodingJSONWrites(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		b := open(t, url)
		full := audit.Record{Act: "a", Merchant: "m", User: "u", Device: "d", Client: "c", Operation: "o", Session: "s",
			Details: map[string]string{"b": "<\u2028", "a": "\xff\"", "é": ""}}
		v := reflect.ValueOf(full)
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; v.Field(i).IsZero() && name != "At" { // the transaction's
				t.Errorf("%s is not in the sample", name)
			}
		}
		for _, r := range []audit.Record{full, {}, {Act: "a", Details: map[string]string{}}} {
			var line, body string
			var seq int64
			err := b.d.Update(t.Context(), func(tx *db.Tx) (err error) {
				line, seq, err = audit.NewWriter().AppendAt(tx, r)
				r.At = tx.Now().UnixMilli()
				return err
			})
			b.must(err)
			b.must(b.d.View(t.Context(), func(tx *db.Tx) error {
				rows, err := tx.AuditRecordsAfter(line, seq-1, 1)
				if len(rows) == 1 {
					body = rows[0].Body
				}
				return err
			}))
			if want, err := json.Marshal(r); err != nil || body != string(want) {
				t.Errorf("%s, encoding/json %s, %v", body, want, err)
			}
		}
	})
}

func TestL3_TwoRestartsAndTheChainGoesOn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		b := open(t, url)
		for run := range 3 {
			b.write(audit.NewWriter(), 5) // a process has a writer of its own
			if run != 1 {                 // the second one dies before it could seal
				b.seal()
			}
			b.must(b.d.Close())
			b.must(b.reopen())
		}
		rep, err := b.verify()
		if err != nil || rep.Sealed != 15 || rep.Unsealed != 0 || rep.Anchors != 2 {
			t.Errorf("%+v, %v", rep, err)
		}
	})
}

func TestL3_AForkAfterARestartIsFound(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		b := open(t, url)
		b.write(audit.NewWriter(), 10)
		b.seal()
		b.must(b.d.Close())
		putBack := b.copied()
		b.must(b.reopen())
		b.write(audit.NewWriter(), 10)
		b.seal()
		b.must(b.d.Close())
		// Yesterday's copy is put back and goes its own way.
		putBack()
		b.must(b.reopen())
		var log bytes.Buffer
		b.write(audit.NewWriter(), 10)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		audit.NewSealer(b.d, slog.New(slog.NewTextHandler(&log, nil)), prometheus.NewRegistry(), b.anchors).Run(ctx)
		if !strings.Contains(log.String(), "the database does not hold what was anchored") {
			t.Errorf("the start noticed nothing: %s", log.String())
		}
		_, err := b.verify()
		if err == nil || !strings.Contains(err.Error(), "entry 20 of the chain: was anchored twice and differently") {
			t.Errorf("got %v", err)
		}
		// With the first branch's anchors alone.
		a, err := audit.ReadAnchors(b.anchors)
		b.must(err)
		if _, err = audit.Verify(t.Context(), b.d, a.Anchors[:2]); err == nil || !strings.Contains(err.Error(), "forked after entry 10") {
			t.Errorf("got %v", err)
		}
	})
}

func TestSealersOfSeveralNodesMakeOneChainOutOfManyWriters(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		b := open(t, url)
		const writers, each = 6, 150
		ctx, cancel := context.WithCancel(t.Context())
		var sealers, all sync.WaitGroup
		for range 3 {
			s := b.sealer()
			sealers.Go(func() {
				for ctx.Err() == nil {
					if _, err := s.Seal(t.Context()); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for range writers {
			w := audit.NewWriter()
			all.Go(func() {
				for i := range each {
					err := b.d.Update(t.Context(), func(tx *db.Tx) error { return w.Append(tx, audit.Record{Act: "test.act"}) })
					if err != nil {
						t.Error(err)
					}
					if i%10 == 0 { // an act that is undone leaves no gap
						undo := errors.New("undone")
						err := b.d.Update(t.Context(), func(tx *db.Tx) error {
							return errors.Join(w.Append(tx, audit.Record{Act: "test.undone"}), undo)
						})
						if !errors.Is(err, undo) {
							t.Error(err)
						}
					}
					if i%40 == 0 {
						b.clk.Advance(4 * time.Second) // leases end, and another node takes over
					}
				}
			})
		}
		all.Wait()
		cancel()
		sealers.Wait()
		b.clk.Advance(4 * time.Second)
		b.seal()
		rep, err := b.verify()
		if err != nil || rep.Sealed != writers*each || rep.Unsealed != 0 {
			t.Errorf("%+v, %v", rep, err)
		}
	})
}

// Every record is linked soon. A second is promised, and a machine that is busy may be
// slow once, but not each of ten times.
func TestARecordIsInTheChainWithinASecond(t *testing.T) {
	b := open(t, dbtest.SQLite(t))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { b.sealer().Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	w := audit.NewWriter()
	promptly := false
	for n := 0; n < 3 || n < 10 && !promptly; n++ {
		b.write(w, 300)
		start := time.Now()
		for {
			rep, err := b.verify()
			b.must(err)
			if rep.Unsealed == 0 {
				break
			}
			if time.Since(start) > 30*time.Second {
				t.Fatalf("not linked: %+v", rep)
			}
			time.Sleep(10 * time.Millisecond)
		}
		promptly = promptly || time.Since(start) <= time.Second
	}
	if !promptly {
		t.Error("never within a second")
	}
	if a, err := audit.ReadAnchors(b.anchors); err != nil || len(a.Anchors) == 0 {
		t.Errorf("nothing was anchored soon after the start: %+v, %v", a, err)
	}
}

func TestAnchorsAreAppendedPrivateAndSurviveATornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	f := audit.File{Path: path}
	a := audit.Anchor{At: time.UnixMilli(1000).UTC(), Seq: 1, Hash: strings.Repeat("ab", 32)}
	if err := f.Anchor(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	text, _ := os.ReadFile(path)
	if err := os.WriteFile(path, append(text, `{"at":"2026-`...), 0o600); err != nil {
		t.Fatal(err)
	}
	a.Seq = 2
	if err := f.Anchor(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	got, err := audit.ReadAnchors(path)
	if err != nil || len(got.Anchors) != 2 || got.Anchors[1] != a || got.Unreadable != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestMoreRecordsThanAreReadAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		b := open(t, oneLine(url))
		const n = 2*audit.Page + 7
		w := audit.NewWriter()
		b.must(b.d.Update(t.Context(), func(tx *db.Tx) error {
			for range n - 10 {
				if err := w.Append(tx, audit.Record{Act: "test.act"}); err != nil {
					return err
				}
			}
			return nil
		}))
		b.seal()
		b.write(audit.NewWriter(), 10)
		rep, err := b.verify()
		if err != nil || rep.Sealed != n-10 || rep.Unsealed != 10 || rep.Anchors != 1 {
			t.Errorf("%+v, %v", rep, err)
		}
		var out bytes.Buffer
		b.must(audit.Export(t.Context(), b.d, &out, time.Time{}, time.Time{}))
		if got := strings.Count(out.String(), "\n"); got != n {
			t.Errorf("%d records exported, want %d", got, n)
		}
		if b.sql(`UPDATE audit_records SET body = '{}' WHERE seq = $1`, n-11) != 1 {
			t.Error("not one record was edited")
		}
		if _, err := b.verify(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("entry %d of the chain", n-11)) {
			t.Errorf("an edit on the last page: %v", err)
		}
	})
}

func TestAnExportCanBeVerifiedWithoutTheDatabase(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		b, _, _ := full(t, url)
		var out bytes.Buffer
		b.must(audit.Export(t.Context(), b.d, &out, time.Time{}, time.Time{}))
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 60 {
			t.Fatalf("%d lines", len(lines))
		}
		prev := strings.Repeat("00", 32)
		for i, line := range lines {
			var e audit.Exported
			b.must(json.Unmarshal([]byte(line), &e))
			record := audit.Hash(e.Writer, e.RecordSeq, e.Record)
			if hex.EncodeToString(record) != e.RecordHash {
				t.Fatalf("line %d: the record's hash is not that of its bytes", i+1)
			}
			if i >= 50 {
				if e.Seq != 0 || e.Hash != "" {
					t.Errorf("line %d is not linked yet: %s", i+1, line)
				}
				continue
			}
			p, _ := hex.DecodeString(prev)
			if e.Seq != int64(i+1) || e.Prev != prev || e.Hash != hex.EncodeToString(audit.LinkHash(p, e.Seq, e.Writer, e.RecordSeq, record)) {
				t.Fatalf("line %d does not follow: %s", i+1, line)
			}
			prev = e.Hash
		}
		from := time.UnixMilli(1_800_000_000_000 + 11)
		out.Reset()
		b.must(audit.Export(t.Context(), b.d, &out, from, from.Add(5*time.Millisecond)))
		if n := strings.Count(out.String(), "\n"); n != 5 {
			t.Errorf("5 ms hold %d records:\n%s", n, out.String())
		}
	})
}

func TestRecordsHaveNoGapsHoweverManyWriteAndFail(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		b := open(t, url)
		writers := []*audit.Writer{audit.NewWriter(), audit.NewWriter()}
		undone := errors.New("the act failed")
		var all sync.WaitGroup
		for i := range 60 {
			all.Go(func() {
				err := b.d.Update(t.Context(), func(tx *db.Tx) error {
					if err := writers[i%2].Append(tx, audit.Record{Act: "test"}); err != nil {
						return err
					}
					if i%3 == 0 {
						return undone
					}
					return nil
				})
				if i%3 == 0 != errors.Is(err, undone) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		rep, err := b.verify()
		if err != nil || rep.Unsealed != 40 {
			t.Fatalf("%+v, %v: an act without its record, or a record without its act", rep, err)
		}
	})
}

func TestTheHashKeepsItsFieldsApart(t *testing.T) {
	hash := func(w string, n int64, body string) string { return string(audit.Hash(w, n, []byte(body))) }
	if hash("a", 1, "1b") == hash("a1", 1, "b") || hash("a", 11, "b") == hash("a", 1, "1b") {
		t.Fatal("two records with one hash")
	}
}

// deaf is a sink that never comes to an end.
type deaf struct{ asked chan struct{} }

func (d deaf) Anchor(context.Context, audit.Anchor) error {
	d.asked <- struct{}{}
	select {}
}
func (deaf) String() string { return "deaf" }

func TestL4_ASinkThatHangsHoldsUpNeitherTheChainNorTheOthers(t *testing.T) {
	b := open(t, dbtest.SQLite(t))
	sink := deaf{make(chan struct{}, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		audit.NewSealer(b.d, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), b.anchors, sink).Run(ctx)
		close(done)
	}()
	w := audit.NewWriter()
	b.write(w, 3)
	<-sink.asked // it hangs now, and the file came first
	b.write(w, 3)
	for {
		rep, err := b.verify()
		b.must(err)
		if rep.Sealed == 6 && rep.Anchors == 1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	<-done
	if rep, err := b.verify(); err != nil || rep.Anchors != 2 {
		t.Errorf("after the stop: %+v, %v", rep, err)
	}
}

func TestAnchorsGoToAnAddress(t *testing.T) {
	var got []string
	status := http.StatusNoContent
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s of %s: %v", r.Method, r.Header.Get("Content-Type"), err)
		}
		got = append(got, string(body))
		w.WriteHeader(status)
	}))
	defer srv.Close()
	b := open(t, dbtest.SQLite(t))
	sink := audit.URL{Address: srv.URL + "/anchors", Client: egress.New([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, b.clk)}
	run := func() string {
		var log bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		audit.NewSealer(b.d, slog.New(slog.NewTextHandler(&log, nil)), prometheus.NewRegistry(), b.anchors, sink).Run(ctx)
		return log.String()
	}
	w := audit.NewWriter()
	b.write(w, 2)
	if log := run(); log != "" {
		t.Errorf("logged %s", log)
	}
	file, err := os.ReadFile(b.anchors)
	b.must(err)
	if len(got) != 1 || got[0]+"\n" != string(file) {
		t.Errorf("posted %q, the file has %q", got, file)
	}
	status = http.StatusInsufficientStorage
	b.write(w, 2)
	if log := run(); !strings.Contains(log, "audit chain not anchored") || !strings.Contains(log, "507") {
		t.Errorf("refused, and logged %q", log)
	}
	if a, err := audit.ReadAnchors(b.anchors); err != nil || len(a.Anchors) != 2 {
		t.Errorf("a sink that refuses keeps the others from theirs: %+v, %v", a, err)
	}
	// An address inside that nobody allowed is not called.
	sink.Client = egress.New(nil, b.clk)
	b.write(w, 2)
	if log := run(); !strings.Contains(log, "audit chain not anchored") || len(got) != 2 {
		t.Errorf("called %d times, logged %q", len(got), log)
	}
}
