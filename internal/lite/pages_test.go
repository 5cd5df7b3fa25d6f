package lite

import (
	"encoding/binary"
	"path/filepath"
	"testing"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// TestPagesAreInTheOnePieceOfMemory holds that SQLite took the memory it was given,
// has not asked for more, and that a connection does not take another's pages while
// there is room.
func TestPagesAreInTheOnePieceOfMemory(t *testing.T) {
	tls := libc.NewTLS()
	defer tls.Close()
	status := func(of int32) int {
		p := sqlite3.Xsqlite3_malloc(tls, 8)
		defer sqlite3.Xsqlite3_free(tls, p)
		if rc := sqlite3.Xsqlite3_status(tls, of, p, p+4, 0); rc != sqlite3.SQLITE_OK {
			t.Fatal(rc)
		}
		return int(binary.NativeEndian.Uint32(memory(p, 4)))
	}
	for i := range 3 {
		c, err := Open(filepath.Join(t.TempDir(), "a.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Script("CREATE TABLE a (b BLOB); INSERT INTO a VALUES (zeroblob(1500000))"); err != nil {
			t.Fatal(err)
		}
		if used, least := status(sqlite3.SQLITE_STATUS_PAGECACHE_USED), (i+1)*1500000/pageSize; used < least || used > pages {
			t.Errorf("%d pages are in it, want %d or some more", used, least)
		}
	}
	if more := status(sqlite3.SQLITE_STATUS_PAGECACHE_OVERFLOW); more != 0 {
		t.Errorf("%d bytes of pages are elsewhere", more)
	}
}
