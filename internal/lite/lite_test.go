package lite_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"mobileid/internal/lite"
)

func open(t *testing.T) *lite.Conn {
	t.Helper()
	c, err := lite.Open(filepath.Join(t.TempDir(), "a b#?%.db"), "PRAGMA foreign_keys = ON")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.Script("CREATE TABLE a (id TEXT PRIMARY KEY, n BIGINT NOT NULL, b BLOB); CREATE TABLE r (id TEXT REFERENCES a (id))"); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWhatIsWrittenIsReadInItsTypes(t *testing.T) {
	c := open(t)
	for _, args := range [][]any{{"one", 1, []byte("b")}, {"two", int64(-2), []byte(nil)}, {"three", true, nil}} {
		if n, err := c.Exec("INSERT INTO a VALUES ($1, $2, $3)", args...); err != nil || n != 1 {
			t.Fatal(n, err)
		}
	}
	if n, err := c.Exec("INSERT INTO a VALUES ($1, 1, NULL) ON CONFLICT DO NOTHING", "one"); err != nil || n != 0 {
		t.Fatal(n, err)
	}
	var id string
	var n int64
	var small int
	var yes bool
	var b []byte
	if err := c.Row("SELECT id, n, n, n = 1, b FROM a WHERE id = $1", []any{"one"}, &id, &n, &small, &yes, &b); err != nil || id != "one" || n != 1 || small != 1 || !yes || string(b) != "b" {
		t.Fatal(id, n, small, yes, b, err)
	}
	if err := c.Row("SELECT b FROM a WHERE id = $1", []any{"two"}, &b); err != nil || b != nil {
		t.Fatal(b, err)
	}
	if err := c.Row("SELECT b FROM a WHERE id = 'none'", nil, &b); err != lite.ErrNone {
		t.Fatal(err)
	}
	for q, into := range map[string]any{"SELECT b FROM a WHERE id = 'two'": &id, "SELECT id FROM a": &n, "SELECT id, n FROM a": &id} {
		if err := c.Row(q, nil, into); err == nil {
			t.Errorf("%s was read into %T", q, into)
		}
	}
	if _, err := c.Exec("INSERT INTO r VALUES ('nowhere')"); err == nil || !strings.Contains(err.Error(), "FOREIGN KEY") {
		t.Error("a pragma is not in force:", err)
	}
}

func TestRowsMayRunOtherStatementsAndNotTheirOwn(t *testing.T) {
	c := open(t)
	const all = "SELECT id FROM a ORDER BY id"
	if err := c.Script("INSERT INTO a VALUES ('x', 1, NULL), ('y', 2, NULL)"); err != nil {
		t.Fatal(err)
	}
	var got []string
	boom := errors.New("boom")
	err := c.Rows(all, nil, func(scan func(...any) error) error {
		var id string
		var n int64
		if err := errors.Join(scan(&id), c.Row("SELECT n FROM a WHERE id = $1", []any{id}, &n)); err != nil {
			return err
		}
		got = append(got, id+strings.Repeat("!", int(n)))
		if err := c.Row(all, nil, &id); err == nil {
			t.Error("a statement was begun anew while it was read")
		}
		if n == 2 {
			return boom
		}
		return nil
	})
	if err != boom || strings.Join(got, " ") != "x! y!!" {
		t.Fatal(got, err)
	}
	var id string
	if err := c.Row(all, nil, &id); err != nil || id != "x" {
		t.Fatal(id, err)
	}
}

func TestArgumentsStandWhereTheirNumberOrTheirPlaceSays(t *testing.T) {
	c := open(t)
	type name string
	long := []byte(strings.Repeat("0123456789abcdef", 1<<14)) // more than is kept between two runs
	for _, row := range []struct {
		sql  string
		args []any
		want string
	}{
		{"SELECT $2 || $1 || $2", []any{"a", "b"}, "bab"},
		{"SELECT ? || ?", []any{"a", "b"}, "ab"},
		{"SELECT $1 || $3", []any{"a", "unused", name("c"), 4}, "ac"},
		{"SELECT typeof($1) || length($1)", []any{""}, "text0"},
		{"SELECT typeof($1) || length($1)", []any{[]byte{}}, "blob0"},
		{"SELECT typeof($1) || length($1)", []any{long}, "blob262144"},
		{"SELECT typeof($1) || length($1)", []any{"x"}, "text1"},
		{"SELECT typeof($1) || $1", []any{true}, "integer1"},
		{"SELECT typeof($1)", []any{[]byte(nil)}, "null"},
		{"SELECT $1", []any{"a\x00b"}, "a\x00b"},
	} {
		var got string
		if err := c.Row(row.sql, row.args, &got); err != nil || got != row.want {
			t.Errorf("%s: %q, %v", row.sql, got, err)
		}
	}
	var got string
	for _, row := range []struct {
		sql  string
		args []any
	}{{"SELECT $1 || $2", []any{"a"}}, {"SELECT $1", []any{struct{}{}}}, {"SELECT :name", []any{"a"}}, {"SELECT 1; SELECT 2", nil}, {"-- nothing", nil}, {"SELEKT", nil}} {
		if err := c.Row(row.sql, row.args, &got); err == nil {
			t.Errorf("%s with %v was run", row.sql, row.args)
		}
	}
}

func TestWhatFailsSaysWhyAndLeavesTheConnectionInUse(t *testing.T) {
	c := open(t)
	const insert = "INSERT INTO a VALUES ($1, $2, NULL)"
	if _, err := c.Exec(insert, "one", 1); err != nil {
		t.Fatal(err)
	}
	before := c.Changes()
	_, err := c.Exec(insert, "one", 2)
	var e *lite.Error
	if !errors.As(err, &e) || e.Code() != 1555 || !strings.Contains(err.Error(), "UNIQUE constraint failed: a.id") {
		t.Error(err)
	}
	if c.Changes() != before {
		t.Error("what was refused counts as a change")
	}
	if n, err := c.Exec(insert, "two", 2); err != nil || n != 1 || c.Changes() != before+1 {
		t.Error(n, err)
	}
	if c.InTransaction() {
		t.Error("in a transaction that nobody began")
	}
	if err := c.Script("BEGIN; INSERT INTO a VALUES ('three', 3, NULL) -- and a comment\n; -- another"); err != nil || !c.InTransaction() {
		t.Error(err, c.InTransaction())
	}
	if err := c.Script("INSERT OR ROLLBACK INTO a VALUES ('one', 1, NULL)"); err == nil || c.InTransaction() {
		t.Error(err, "SQLite undid it and the connection does not say so")
	}
	if _, err := lite.Open(t.TempDir()); err == nil {
		t.Error("a folder was opened")
	}
}
