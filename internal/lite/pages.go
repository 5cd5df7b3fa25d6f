package lite

import (
	"encoding/binary"
	"sync"

	"modernc.org/libc"
	"modernc.org/libc/sys/types"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// pages is how many pages of pageSize bytes the connections of the process keep
	// in memory together: about eight megabytes. When all are taken, the one that was
	// used longest ago makes room, whosever it is. Each connection may keep all of them:
	// one that might keep fewer would not only do that, but once it has as many, take
	// the others' pages for each further one of its own.
	pages    = 1800
	pageSize = 4096
)

// keepPages reports whether it has given SQLite the memory for its pages in one piece.
// Asked for one by one, each takes 8 KiB, for a page comes with some two hundred bytes
// about it and the library's allocator rounds up to a power of two. It has to be done
// before the library is first used; where it was used before, or without the memory,
// pages are asked for one by one, 2 MB of them for each connection. The library has one
// such setting for the whole process.
var keepPages = sync.OnceValue(func() bool {
	tls := libc.NewTLS()
	defer tls.Close()
	const word = 8 // of a list of arguments, whatever their types
	args := libc.Xcalloc(tls, 4, word)
	if args == 0 {
		return false
	}
	defer libc.Xfree(tls, args)
	about := args + 3*word
	if sqlite3.Xsqlite3_config(tls, sqlite3.SQLITE_CONFIG_PCACHE_HDRSZ, libc.VaList(args, about)) != sqlite3.SQLITE_OK {
		return false
	}
	size := pageSize + int(binary.NativeEndian.Uint32(memory(about, 4)))
	pool := libc.Xmalloc(tls, types.Size_t(pages*size))
	if pool == 0 {
		return false
	}
	if sqlite3.Xsqlite3_config(tls, sqlite3.SQLITE_CONFIG_PAGECACHE, libc.VaList(args, pool, int32(size), int32(pages))) != sqlite3.SQLITE_OK {
		libc.Xfree(tls, pool)
		return false
	}
	return true
})
