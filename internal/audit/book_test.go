package audit_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
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
	ctx     context.Context // nil: the test's
	url     string
	anchors string
	clk     *clock.Manual
	d       *db.DB
}

func open(t *testing.T, url string) *book {
	t.Helper()
	b := &book{t: t, url: url, anchors: filepath.Join(t.TempDir(), "anchors.log"), clk: clock.NewManual(time.UnixMilli(1_800_000_000_000))}
	b.must(b.reopen())
	t.Cleanup(func() { b.d.Close() })
	return b
}

func (b *book) reopen() (err error) {
	if b.d, err = db.Open(b.t.Context(), b.url, b.clk); err != nil {
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

// oneLine has a process write on one connection, so that each writer has one line
// of records on PostgreSQL too.
func oneLine(url string) string {
	if strings.HasPrefix(url, "sqlite:") {
		return url
	}
	return url + "&pool_max_conns=2"
}

// raw opens the database behind the program's back.
func (b *book) raw() *sql.DB {
	b.t.Helper()
	driver, dsn := "pgx", strings.Replace(b.url, "&pool_max_conns=2", "", 1)
	if path, ok := strings.CutPrefix(b.url, "sqlite:"); ok {
		driver, dsn = "sqlite", "file:"+path+"?_pragma=busy_timeout(5000)"
	}
	raw, err := sql.Open(driver, dsn)
	b.must(err)
	raw.SetMaxOpenConns(1)
	return raw
}

// sql changes the database behind the program's back.
func (b *book) sql(q string, args ...any) int64 {
	b.t.Helper()
	raw := b.raw()
	defer raw.Close()
	ctx := b.ctx
	if ctx == nil {
		ctx = b.t.Context()
	}
	res, err := raw.ExecContext(ctx, q, args...)
	b.must(err)
	n, err := res.RowsAffected()
	b.must(err)
	return n
}

// copied keeps the closed database as it is; putBack makes it so again.
func (b *book) copied() (putBack func()) {
	b.t.Helper()
	if path, ok := strings.CutPrefix(b.url, "sqlite:"); ok {
		old, err := os.ReadFile(path)
		b.must(err)
		return func() {
			for _, suffix := range []string{"-wal", "-shm"} {
				os.Remove(path + suffix)
			}
			b.must(os.WriteFile(path, old, 0o600))
		}
	}
	u, err := url.Parse(b.url)
	b.must(err)
	name := strings.TrimPrefix(u.Path, "/")
	u.Path = "/postgres"
	admin := &book{t: b.t, ctx: context.WithoutCancel(b.t.Context()), url: u.String()}
	admin.sql("CREATE DATABASE " + name + "_old TEMPLATE " + name)
	b.t.Cleanup(func() { admin.sql("DROP DATABASE " + name + "_old WITH (FORCE)") })
	return func() {
		admin.sql("DROP DATABASE " + name + " WITH (FORCE)")
		admin.sql("CREATE DATABASE " + name + " TEMPLATE " + name + "_old")
	}
}

// full is a book with 60 records: 30 sealed and anchored, 20 sealed and anchored
// later, and 10 not in the chain.
func full(t *testing.T, url string) (b *book, one, two string) {
	t.Helper()
	b = open(t, oneLine(url))
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
		return errors.Join(err, tx.AuditRecords(func(r db.AuditRecord) error {
			if r.Writer != one {
				two = r.Writer
			}
			return nil
		}))
	}))
	return b, one, two
}

// relink is what an attacker does who knows how the chain is made: every entry
// from seq on is computed anew from what is now in the records.
func (b *book) relink(from int64) {
	b.t.Helper()
	raw := b.raw()
	defer raw.Close()
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
