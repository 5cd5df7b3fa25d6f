package audit_test

import (
	"os"
	"strings"
	"testing"

	"mobileid/internal/audit"
	"mobileid/internal/db/dbtest"
)

func TestL3_X23_EveryKindOfTamperingIsFoundAndNamed(t *testing.T) {
	// Entries 1 to 30 hold both writers' first records in the order of their ids,
	// 31 to 50 are records 21 to 40 of one; records 11 to 20 of two wait.
	cases := []struct {
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
			b.sql(`UPDATE audit_records SET hash = $2 WHERE writer = $1 AND seq = 25`, one, make([]byte, 32))
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
	}
	dbtest.Each(t, func(t *testing.T, url string) {
		b, one, two := full(t, url)
		anchors, err := os.ReadFile(b.anchors)
		b.must(err)
		b.must(b.d.Close())
		putBack := b.copied()
		for _, tc := range cases {
			t.Run(tc.name, func(t *testing.T) {
				putBack()
				b := &book{t: t, url: b.url, anchors: b.anchors, clk: b.clk}
				b.must(os.WriteFile(b.anchors, anchors, 0o600))
				b.must(b.reopen())
				defer b.d.Close()
				tc.tamper(b, one, two)
				_, err := b.verify()
				want := strings.NewReplacer("ONE", one, "TWO", two).Replace(tc.want)
				if err == nil || !audit.IsBroken(err) || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v\nwant %s", err, want)
				}
			})
		}
	})
}
