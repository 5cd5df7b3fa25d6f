package lite

import (
	"path/filepath"
	"testing"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// TestPagesAreInTheOnePieceOfMemory holds that SQLite took the memory it was given,
// and did not have to ask for more.
func TestPagesAreInTheOnePieceOfMemory(t *testing.T) {
	c, err := Open(filepath.Join(t.TempDir(), "a.db"), "PRAGMA cache_size = -2000")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Script("CREATE TABLE a (b BLOB); INSERT INTO a VALUES (zeroblob(1000000))"); err != nil {
		t.Fatal(err)
	}
	tls := libc.NewTLS()
	defer tls.Close()
	status := func(of int32) int32 {
		p := sqlite3.Xsqlite3_malloc(tls, 8)
		defer sqlite3.Xsqlite3_free(tls, p)
		if rc := sqlite3.Xsqlite3_status(tls, of, p, p+4, 0); rc != sqlite3.SQLITE_OK {
			t.Fatal(rc)
		}
		return int32(word(p) & 0xffffffff)
	}
	if used := status(sqlite3.SQLITE_STATUS_PAGECACHE_USED); used < 200 || used > pages {
		t.Errorf("%d pages are in it", used)
	}
	if more := status(sqlite3.SQLITE_STATUS_PAGECACHE_OVERFLOW); more != 0 {
		t.Errorf("%d bytes of pages are elsewhere", more)
	}
}
