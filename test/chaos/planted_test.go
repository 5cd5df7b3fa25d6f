package chaos

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mobileid/internal/operation"
)

// planted is a fault: what is done to the database behind the program's back, or to
// what was seen, and what the judge must say of it.
type planted struct {
	name, sql string
	seen      func()
	want      string // part of at least one finding
}

// plant spoils copies of a database that the judge has found nothing wrong with, and
// holds the judge to finding every fault: one that finds nothing proves nothing.
// What is planted together is about different things.
func plant(t *testing.T, clean *judge, dir string, all []history, people []*someone, messages map[string][]string) {
	leased, err := clean.leased(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	toldOf := func(txn string) bool {
		if leased[txn] { // told, and to be told again: the judge would wait for that
			return false
		}
		for _, bodies := range messages {
			if strings.Contains(bodies[0], txn) {
				return true
			}
		}
		return false
	}
	first := func(is func(h history) bool) history {
		i := slices.IndexFunc(all, func(h history) bool { return is(h) && toldOf(h.txn) })
		if i < 0 {
			t.Fatal("nothing like it happened")
		}
		return all[i]
	}
	var lines []history
	var got map[string][]string
	given := first(func(h history) bool {
		return len(h.tokens) == 1 && len(h.successors) == 0 && h.acked == string(operation.Completed)
	})
	renewed := first(func(h history) bool { return len(h.successors) == 1 })
	declined := first(func(h history) bool { return h.acked == string(operation.Declined) })
	txn, refused := given.txn, declined.txn
	message := func(txn string) string {
		for id, bodies := range got {
			if strings.Contains(bodies[0], txn) {
				return id
			}
		}
		t.Fatal("nobody was told of ", txn)
		return ""
	}
	ofTxn := ` WHERE operation_id = '` + txn + `'`
	ofRefused := ` WHERE operation_id = '` + refused + `'`
	for name, faults := range map[string][]planted{
		"nothing": nil,
		"seen": {
			{name: "a token set twice", want: txn + " gave 2 token sets", seen: func() { lines[0].tokens = slices.Repeat(lines[0].tokens, 2) }},
			{name: "two successors of a refresh token", want: "had 2 successors", seen: func() {
				lines[1].successors = append(slices.Clone(lines[1].successors), "another")
			}},
			{name: "a calm login that came to nothing", want: "came to nothing", seen: func() {
				lines = append(lines, history{client: given.client, txn: txn, acked: given.acked, calm: true, last: "expired_token"})
			}},
			{name: "a login without an end", want: "was never answered", seen: func() { lines = append(lines, history{client: given.client}) }},
			{name: "a message under two ids", want: "the end of " + txn + " was told as 2 messages", seen: func() {
				id := message(txn)
				got["evt_other"] = []string{strings.ReplaceAll(got[id][0], id, "evt_other")}
			}},
			{name: "no message", want: "the end of " + refused + " was told as 0 messages", seen: func() { delete(got, message(refused)) }},
			{name: "a message with another body", want: "different bodies", seen: func() {
				id := message(renewed.txn)
				got[id] = []string{got[id][0], got[id][0] + " "}
			}},
			{name: "a message about nothing", want: "told that op_none is COMPLETED", seen: func() {
				got["evt_none"] = []string{`{"id":"evt_none","type":"authentication.finished","data":{"operationId":"op_none","state":"COMPLETED"}}`}
			}},
		},
		"double": {
			{name: "tokens issued twice for one operation", want: txn + " has 2 grants",
				sql: `INSERT INTO grants SELECT 'grt_twice', merchant_id, client_id, user_id, device_id, operation_id, sid, created_at, 0, offline FROM grants` + ofTxn},
			{name: "tokens without a redemption", want: "grt_twice came of 0 redemptions"},
			{name: "two codes for one grant", want: "came of 2 redemptions",
				sql: `INSERT INTO redeemed SELECT kind, 'another', grant_id, exp FROM redeemed WHERE grant_id IN (SELECT id FROM grants` + ofTxn + `)`},
			{name: "a family that went too far", want: "is at generation 3", sql: `UPDATE refresh_families SET generation = 3 WHERE generation = 2`},
			{name: "a failure that was not counted", want: "counted are", sql: `UPDATE devices SET failures = failures + 1`},
			{name: "another end than was acknowledged", want: "the phone was told DECLINED of " + refused + ", the database says \"COMPLETED\"",
				sql: `UPDATE decisions SET state = 'COMPLETED'` + ofRefused},
			{name: "another end than the merchant was told", want: "told that " + refused + " is DECLINED"},
			{name: "a signature of another operation", want: "the evidence of " + txn + " does not prove it",
				sql: `UPDATE decisions SET answer = (SELECT answer FROM decisions` + ofRefused + `)` + ofTxn},
		},
		"lost": {
			{name: "an acknowledged decision", want: "the phone was told DECLINED of " + refused + ", the database says \"\"", sql: `DELETE FROM decisions` + ofRefused},
			{name: "an approval that gave tokens", want: "tokens for " + txn, sql: `DELETE FROM decisions` + ofTxn},
			{name: "the approval of a grant", want: txn + " has 1 grants and is not approved"},
			{name: "what the merchant was told", want: "told that " + refused},
			{name: "an audit record", want: "no record says that " + renewed.txn,
				sql: `DELETE FROM audit_records WHERE body LIKE '%` + renewed.txn + `%' AND body LIKE '%operation.decided%'`},
			{name: "the audit's order", want: "the audit: "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			spoilt := filepath.Join(t.TempDir(), "mobileid.db")
			if _, err := clean.raw.ExecContext(t.Context(), `VACUUM INTO $1`, spoilt); err != nil {
				t.Fatal(err)
			}
			j := openJudge(t, "sqlite:"+spoilt)
			lines, got = []history{given, renewed, declined}, maps.Clone(messages)
			for _, f := range faults {
				if f.seen != nil {
					f.seen()
				}
				if f.sql == "" {
					continue
				}
				res, err := j.raw.ExecContext(t.Context(), f.sql)
				if err != nil {
					t.Fatal(err)
				}
				if n, err := res.RowsAffected(); err != nil || n == 0 {
					t.Fatalf("%s: nothing was planted: %d, %v", f.name, n, err)
				}
			}
			owed, err := j.owed(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			j.all(t.Context(), dir, lines, people, owed, got)
			for _, f := range faults {
				if !slices.ContainsFunc(j.found, func(s string) bool { return strings.Contains(s, f.want) }) {
					t.Errorf("%s: the judge finds %q, want %q", f.name, j.found, f.want)
				}
			}
			if len(faults) == 0 && len(j.found) > 0 {
				t.Errorf("the judge finds %q", j.found)
			}
		})
	}
}
