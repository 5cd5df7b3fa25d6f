package audit_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/clock"
	"mobileid/internal/db"

	"github.com/prometheus/client_golang/prometheus"
	_ "modernc.org/sqlite"
)

// book is a real database with records of two writers, its chain and anchors.
type book struct {
	t       *testing.T
	path    string
	anchors string
	clk     *clock.Manual
	d       *db.DB
}

func open(t *testing.T, path string) *book {
	t.Helper()
	b := &book{t: t, path: path, anchors: filepath.Join(t.TempDir(), "anchors.log"), clk: clock.NewManual(time.UnixMilli(1_800_000_000_000))}
	b.must(b.reopen())
	t.Cleanup(func() { b.d.Close() })
	return b
}

func (b *book) reopen() (err error) {
	if b.d, err = db.Open(b.t.Context(), "sqlite:"+b.path, b.clk); err != nil {
		return err
	}
	return b.d.Migrate(b.t.Context())
}

func (b *book) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *book) sealer() *audit.Sealer {
	return audit.NewSealer(b.d, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), b.anchors)
}

// write appends n records by w.
func (b *book) write(w *audit.Writer, n int) {
	b.t.Helper()
	for i := range n {
		b.clk.Advance(time.Millisecond)
		b.must(b.d.Update(b.t.Context(), func(tx *db.Tx) error {
			return w.Append(tx, audit.Record{Act: "test.act", User: fmt.Sprint("usr_", i)})
		}))
	}
}

// seal links all there is and anchors the head, as a stop does.
func (b *book) seal() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	cancel()
	b.sealer().Run(ctx)
}

func (b *book) verify() (audit.Report, error) {
	b.t.Helper()
	a, err := audit.ReadAnchors(b.anchors)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Fatal(err)
	}
	return audit.Verify(b.t.Context(), b.d, a.Anchors)
}

// sql changes the file behind the program's back.
func (b *book) sql(q string, args ...any) int64 {
	b.t.Helper()
	raw, err := sql.Open("sqlite", "file:"+b.path+"?_pragma=busy_timeout(5000)")
	b.must(err)
	defer raw.Close()
	res, err := raw.ExecContext(b.t.Context(), q, args...)
	b.must(err)
	n, err := res.RowsAffected()
	b.must(err)
	return n
}

// full is a book with 60 records: 30 sealed and anchored, 20 sealed and anchored
// later, and 10 not in the chain.
func full(t *testing.T) (b *book, one, two string) {
	b = open(t, filepath.Join(t.TempDir(), "book.db"))
	w1, w2 := audit.NewWriter(), audit.NewWriter()
	b.write(w1, 20)
	b.write(w2, 10)
	b.seal()
	b.write(w1, 20)
	b.seal()
	b.write(w2, 10)
	rep, err := b.verify()
	if err != nil || rep.Sealed != 50 || rep.Unsealed != 10 || rep.Anchors != 2 {
		t.Fatalf("an untouched book: %+v, %v", rep, err)
	}
	b.must(b.d.View(t.Context(), func(tx *db.Tx) error {
		first, err := tx.AuditLinkAt(31)
		one = first.Writer
		return err
	}))
	two = w1.ID()
	if one == two {
		two = w2.ID()
	}
	return b, one, two
}

// relink is what an attacker does who knows how the chain is made: every entry
// from seq on is computed anew from what is now in the records.
func (b *book) relink(from int64) {
	b.t.Helper()
	raw, err := sql.Open("sqlite", "file:"+b.path+"?_pragma=busy_timeout(5000)")
	b.must(err)
	defer raw.Close()
	raw.SetMaxOpenConns(1)
	prev := make([]byte, 32)
	if from > 1 {
		b.must(raw.QueryRow(`SELECT hash FROM audit_chain WHERE seq = $1`, from-1).Scan(&prev))
	}
	for seq := from; ; seq++ {
		var writer string
		var n int64
		var record []byte
		err := raw.QueryRow(`SELECT c.writer, c.record_seq, r.hash FROM audit_chain c JOIN audit_records r ON r.writer = c.writer AND r.seq = c.record_seq WHERE c.seq = $1`, seq).Scan(&writer, &n, &record)
		if errors.Is(err, sql.ErrNoRows) {
			return
		}
		b.must(err)
		hash := audit.LinkHash(prev, seq, writer, n, record)
		_, err = raw.Exec(`UPDATE audit_chain SET prev = $2, hash = $3 WHERE seq = $1`, seq, prev, hash)
		b.must(err)
		prev = hash
	}
}

// rehash gives a record a new body and the hash that belongs to it.
func (b *book) rehash(writer string, seq int64, body string) {
	b.sql(`UPDATE audit_records SET body = $3, hash = $4 WHERE writer = $1 AND seq = $2`, writer, seq, body, audit.Hash(writer, seq, []byte(body)))
}

func (b *book) body(writer string, seq int64) (body string) {
	b.must(b.d.View(b.t.Context(), func(tx *db.Tx) error {
		all, err := tx.AuditRecordsAfter(writer, seq-1, 1)
		body = all[0].Body
		return err
	}))
	return body
}

func TestL3_X23_EveryKindOfTamperingIsFoundAndNamed(t *testing.T) {
	// Entries 1 to 30 hold both writers' first records in the order of their ids,
	// 31 to 50 are records 21 to 40 of one; records 11 to 20 of two wait.
	for _, tc := range []struct {
		name   string
		tamper func(b *book, one, two string)
		want   string // in the finding
	}{
		{"a record's body is edited", func(b *book, one, _ string) {
			b.sql(`UPDATE audit_records SET body = replace(body, 'usr_', 'usr-') WHERE writer = $1 AND seq = 25`, one)
		}, "entry 35 of the chain, record 25 of writer ONE: the record was changed"},
		{"a record's time is edited", func(b *book, one, _ string) {
			b.sql(`UPDATE audit_records SET at = at + 1 WHERE writer = $1 AND seq = 25`, one)
		}, "entry 35 of the chain, record 25 of writer ONE: the record was changed"},
		{"a record's hash is edited", func(b *book, one, _ string) {
			b.sql(`UPDATE audit_records SET hash = zeroblob(32) WHERE writer = $1 AND seq = 25`, one)
		}, "entry 35"},
		{"a record is edited and its hash with it", func(b *book, one, _ string) {
			b.rehash(one, 25, strings.Replace(b.body(one, 25), "test.act", "test.lie", 1))
		}, "entry 35 of the chain, record 25 of writer ONE: the record or its entry was changed"},
		{"a record is edited and the whole chain computed anew", func(b *book, one, _ string) {
			b.rehash(one, 25, strings.Replace(b.body(one, 25), "test.act", "test.lie", 1))
			b.relink(35)
		}, "entry 50 of the chain, record 40 of writer ONE: is not the one that was anchored"},
		{"a record is deleted", func(b *book, one, _ string) {
			b.sql(`DELETE FROM audit_records WHERE writer = $1 AND seq = 25`, one)
		}, "entry 35 of the chain, record 25 of writer ONE: the record is missing"},
		{"an entry is deleted", func(b *book, _, _ string) {
			b.sql(`DELETE FROM audit_chain WHERE seq = 35`)
		}, "entry 35 of the chain: is missing"},
		{"a record and its entry are deleted, the rest moved up and computed anew", func(b *book, one, _ string) {
			b.sql(`DELETE FROM audit_records WHERE writer = $1 AND seq = 25`, one)
			b.sql(`DELETE FROM audit_chain WHERE seq = 35`)
			b.sql(`UPDATE audit_chain SET seq = -(seq - 1) WHERE seq > 35`)
			b.sql(`UPDATE audit_chain SET seq = -seq WHERE seq < 0`)
			b.relink(35)
		}, "entry 35 of the chain, record 26 of writer ONE: is out of order"},
		{"a record is deleted and everything behind it numbered anew", func(b *book, one, _ string) {
			for n := int64(26); n <= 40; n++ {
				b.rehash(one, n-1, b.body(one, n))
				b.sql(`UPDATE audit_records SET at = (SELECT at FROM audit_records WHERE writer = $1 AND seq = $2) WHERE writer = $1 AND seq = $2 - 1`, one, n)
			}
			b.sql(`DELETE FROM audit_records WHERE writer = $1 AND seq = 40`, one)
			b.sql(`DELETE FROM audit_chain WHERE seq = 50`)
			b.sql(`UPDATE audit_sealed SET through = 39 WHERE writer = $1`, one)
			b.relink(35)
		}, "entry 50 of the chain: is missing: the chain ends before it"},
		{"two records' bodies are swapped", func(b *book, one, _ string) {
			x, y := b.body(one, 25), b.body(one, 30)
			b.sql(`UPDATE audit_records SET body = $2 WHERE writer = $1 AND seq = 25`, one, y)
			b.sql(`UPDATE audit_records SET body = $2 WHERE writer = $1 AND seq = 30`, one, x)
		}, "entry 35 of the chain, record 25 of writer ONE: the record was changed"},
		{"two records are swapped, hashes and times and all", func(b *book, one, _ string) {
			x, y := b.body(one, 25), b.body(one, 30)
			b.rehash(one, 25, y)
			b.rehash(one, 30, x)
			b.sql(`UPDATE audit_records SET at = CASE seq WHEN 25 THEN at + 5 ELSE at - 5 END WHERE writer = $1 AND seq IN (25, 30)`, one)
		}, "entry 35 of the chain, record 25 of writer ONE: the record or its entry was changed"},
		{"a record is moved to another writer", func(b *book, one, two string) {
			b.sql(`UPDATE audit_records SET writer = $2, seq = 99 WHERE writer = $1 AND seq = 25`, one, two)
		}, "entry 35 of the chain, record 25 of writer ONE: the record is missing"},
		{"two entries are swapped", func(b *book, _, _ string) {
			b.sql(`UPDATE audit_chain SET seq = CASE seq WHEN 35 THEN -36 ELSE -35 END WHERE seq IN (35, 36)`)
			b.sql(`UPDATE audit_chain SET seq = -seq WHERE seq < 0`)
		}, "entry 35 of the chain, record 26 of writer ONE: is out of order"},
		{"entries of two writers are put in another order and computed anew", func(b *book, one, two string) {
			b.sql(`UPDATE audit_chain SET seq = -((seq + 9) % 30 + 1) WHERE seq <= 30`)
			b.sql(`UPDATE audit_chain SET seq = -seq WHERE seq < 0`)
			b.relink(1)
		}, "entry "},
		{"the tail is cut off: entries, records, counters and marks", func(b *book, one, _ string) {
			b.sql(`DELETE FROM audit_chain WHERE seq > 40`)
			b.sql(`DELETE FROM audit_records WHERE writer = $1 AND seq > 30`, one)
			b.sql(`UPDATE audit_sealed SET through = 30 WHERE writer = $1`, one)
		}, "entry 41 of the chain: is missing: the chain ends before it, and entry 50 was anchored"},
		{"everything is gone", func(b *book, _, _ string) {
			for _, table := range []string{"audit_chain", "audit_records", "audit_sealed"} {
				b.sql(`DELETE FROM ` + table)
			}
		}, "entry 1 of the chain: is missing"},
		{"the chain alone is gone and made again by the sealer", func(b *book, one, _ string) {
			b.sql(`DELETE FROM audit_chain WHERE seq > 30`)
			b.rehash(one, 25, strings.Replace(b.body(one, 25), "test.act", "test.lie", 1))
			b.sql(`UPDATE audit_sealed SET through = 20 WHERE writer = $1`, one)
			b.seal()
		}, "is not the one that was anchored"},
		{"a record that waits is edited", func(b *book, _, two string) {
			b.sql(`UPDATE audit_records SET body = '{}' WHERE writer = $1 AND seq = 15`, two)
		}, "record 15 of writer TWO, not in the chain yet: was changed"},
		{"a record that waits is deleted", func(b *book, _, two string) {
			b.sql(`DELETE FROM audit_records WHERE writer = $1 AND seq = 15`, two)
		}, "record 15 of writer TWO, not in the chain yet: is missing"},
		{"a record is put in before the first", func(b *book, _, two string) {
			b.sql(`INSERT INTO audit_records (writer, seq, at, body, hash) VALUES ($1, 0, 7, '{"at":7}', $2)`, two, audit.Hash(two, 0, []byte(`{"at":7}`)))
		}, "record 0 of writer TWO"},
		{"the sealer's mark is moved on, so that records are left out", func(b *book, _, two string) {
			b.sql(`UPDATE audit_sealed SET through = 12 WHERE writer = $1`, two)
			b.seal()
		}, "entry 51 of the chain, record 13 of writer TWO: is out of order"},
		{"the sealer's mark is moved back, so that records come twice", func(b *book, _, two string) {
			b.sql(`UPDATE audit_sealed SET through = 8 WHERE writer = $1`, two)
			b.seal()
		}, "entry 51 of the chain, record 9 of writer TWO: is out of order"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, one, two := full(t)
			tc.tamper(b, one, two)
			_, err := b.verify()
			want := strings.NewReplacer("ONE", one, "TWO", two).Replace(tc.want)
			if err == nil || !audit.IsBroken(err) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v\nwant %s", err, want)
			}
		})
	}
}

func TestL3_TwoRestartsAndTheChainGoesOn(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "book.db"))
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
}

func TestL3_AForkAfterARestartIsFound(t *testing.T) {
	dir := t.TempDir()
	b := open(t, filepath.Join(dir, "book.db"))
	b.write(audit.NewWriter(), 10)
	b.seal()
	b.must(b.d.Close())
	old, err := os.ReadFile(b.path)
	b.must(err)
	b.must(b.reopen())
	b.write(audit.NewWriter(), 10)
	b.seal()
	b.must(b.d.Close())
	// Yesterday's copy is put back and goes its own way.
	for _, suffix := range []string{"-wal", "-shm"} {
		os.Remove(b.path + suffix)
	}
	b.must(os.WriteFile(b.path, old, 0o600))
	b.must(b.reopen())
	var log bytes.Buffer
	b.write(audit.NewWriter(), 10)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	audit.NewSealer(b.d, slog.New(slog.NewTextHandler(&log, nil)), prometheus.NewRegistry(), b.anchors).Run(ctx)
	if !strings.Contains(log.String(), "the database does not hold what was anchored") {
		t.Errorf("the start noticed nothing: %s", log.String())
	}
	_, err = b.verify()
	if err == nil || !strings.Contains(err.Error(), "entry 20 of the chain: was anchored twice and differently") {
		t.Errorf("got %v", err)
	}
	// With the first branch's anchors alone.
	a, err := audit.ReadAnchors(b.anchors)
	b.must(err)
	if _, err = audit.Verify(t.Context(), b.d, a.Anchors[:2]); err == nil || !strings.Contains(err.Error(), "forked after entry 10") {
		t.Errorf("got %v", err)
	}
}

func TestSealersOfSeveralNodesMakeOneChainOutOfManyWriters(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "book.db"))
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
}

func TestARecordIsInTheChainWithinASecond(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "book.db"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { b.sealer().Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	w := audit.NewWriter()
	for range 3 {
		b.write(w, 300)
		start := time.Now()
		for {
			rep, err := b.verify()
			b.must(err)
			if rep.Unsealed == 0 {
				break
			}
			if time.Since(start) > time.Second {
				t.Fatalf("after a second %+v", rep)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	if a, err := audit.ReadAnchors(b.anchors); err != nil || len(a.Anchors) == 0 {
		t.Errorf("nothing was anchored soon after the start: %+v, %v", a, err)
	}
}

func TestAnchorsAreAppendedPrivateAndSurviveATornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	f := audit.File{Path: path}
	a := audit.Anchor{At: time.UnixMilli(1000).UTC(), Seq: 1, Hash: strings.Repeat("ab", 32)}
	if err := f.Anchor(a); err != nil {
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
	if err := f.Anchor(a); err != nil {
		t.Fatal(err)
	}
	got, err := audit.ReadAnchors(path)
	if err != nil || len(got.Anchors) != 2 || got.Anchors[1] != a || got.Unreadable != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAnExportCanBeVerifiedWithoutTheDatabase(t *testing.T) {
	b, _, _ := full(t)
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
}

func TestRecordsHaveNoGapsHoweverManyWriteAndFail(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "book.db"))
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
}

func TestTheHashKeepsItsFieldsApart(t *testing.T) {
	hash := func(w string, n int64, body string) string { return string(audit.Hash(w, n, []byte(body))) }
	if hash("a", 1, "1b") == hash("a1", 1, "b") || hash("a", 11, "b") == hash("a", 1, "1b") {
		t.Fatal("two records with one hash")
	}
}
