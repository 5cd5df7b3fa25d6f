package audit

import (
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db"
)

func open(t *testing.T) (d *db.DB, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "t.db")
	d, err := db.Open(t.Context(), "sqlite:"+path, clock.NewManual(time.Unix(1_800_000_000, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d, path
}

func TestRecordsHaveNoGapsHoweverManyWriteAndFail(t *testing.T) {
	d, _ := open(t)
	writers := []*Writer{NewWriter(), NewWriter()}
	undone := errors.New("the act failed")
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			err := d.Update(t.Context(), func(tx *db.Tx) error {
				if err := writers[i%2].Append(tx, Record{Act: "test"}); err != nil {
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
	n := map[string]int64{}
	err := d.View(t.Context(), func(tx *db.Tx) error {
		if err := Check(tx); err != nil {
			return err
		}
		return tx.AuditRecords(func(r db.AuditRecord) error { n[r.Writer] = r.Seq; return nil })
	})
	if err != nil || n[writers[0].id] != 20 || n[writers[1].id] != 20 {
		t.Fatalf("%v, %v: an act without its record, or a record without its act", n, err)
	}
}

func TestCheckFindsWhatWasEditedOrTakenOut(t *testing.T) {
	for name, c := range map[string]struct{ sql, want string }{
		"nothing":               {"", ""},
		"a changed body":        {`UPDATE audit_records SET body = replace(body, 'number 3', 'number 4') WHERE seq = 3`, "record 3 of"},
		"a changed hash":        {`UPDATE audit_records SET hash = x'00' WHERE seq = 2`, "record 2 of"},
		"one taken out":         {`DELETE FROM audit_records WHERE seq = 3`, "record 3 of"},
		"the first taken out":   {`DELETE FROM audit_records WHERE seq = 1`, "record 1 of"},
		"two changed about":     {`UPDATE audit_records SET seq = CASE seq WHEN 2 THEN 103 ELSE 102 END WHERE seq IN (2, 3)`, "record 2 of"},
		"given another writer":  {`UPDATE audit_records SET writer = 'aw_other'`, "record 1 of"},
		"a renumbered deletion": {`DELETE FROM audit_records WHERE seq = 3; UPDATE audit_records SET seq = seq - 1 WHERE seq > 3`, "record 3 of"},
	} {
		t.Run(name, func(t *testing.T) {
			d, path := open(t)
			w := NewWriter()
			for _, act := range []string{"number 1", "number 2", "number 3", "number 4", "number 5"} {
				if err := d.Update(t.Context(), func(tx *db.Tx) error { return w.Append(tx, Record{Act: act}) }); err != nil {
					t.Fatal(err)
				}
			}
			raw, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			if _, err := raw.Exec(c.sql); err != nil {
				t.Fatal(err)
			}
			err = d.View(t.Context(), Check)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestTheHashKeepsItsFieldsApart(t *testing.T) {
	if string(Hash("a", 1, []byte("1b"))) == string(Hash("a1", 1, []byte("b"))) || string(Hash("a", 11, []byte("b"))) == string(Hash("a", 1, []byte("1b"))) {
		t.Fatal("two records with one hash")
	}
}
