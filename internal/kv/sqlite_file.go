package kv

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"mobileid/internal/lite"

	sqlite3 "modernc.org/sqlite/lib"
)

// The file and its journal are written without fsync. The page cache of the system
// survives every death of the process, so a killed server finds all it wrote; after
// a crash of the machine the file may be torn, and it is made anew. The machine's
// boot id, kept in the file, tells the two apart. A journal belongs to one file, whose
// own id it bears; it goes with it.
//
// The application id in the file's header keeps a mistaken path from destroying
// a database that is not ours. It is set before the journal mode, which puts it
// into the file itself rather than into the write-ahead log.
const (
	applicationID = 0x4d49446b // "MIDk"
	schemaVersion = 4

	schema = `
PRAGMA application_id = 0x4d49446b;
BEGIN IMMEDIATE;
CREATE TABLE boot (id TEXT NOT NULL, file TEXT NOT NULL);
CREATE TABLE record (key TEXT PRIMARY KEY, val BLOB NOT NULL, exp INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 4;
COMMIT;`
)

var pragmas = []string{
	"PRAGMA busy_timeout = 5000",
	"PRAGMA locking_mode = EXCLUSIVE", // the log's index is then this process's memory
	"PRAGMA synchronous = OFF",
	"PRAGMA temp_store = MEMORY",
}

// errStale says that the file's contents are to be thrown away.
var errStale = errors.New("stale")

// openFile returns a connection to a sound kv file at path, with what its journals
// hold, and the file's id. It makes the file, or makes it anew when it is from another
// boot or damaged. boot "" means that boots cannot be told apart, and then no old file
// can be trusted. now decides what is over, in Unix milliseconds.
func openFile(path, boot string, now int64) (*lite.Conn, string, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, "", err
	}
	c, id, err := attach(path, boot, now)
	if !errors.Is(err, errStale) {
		return c, id, err
	}
	if err := removeFiles(path); err != nil {
		return nil, "", err
	}
	return attach(path, boot, now)
}

// removeFiles removes the file and then what belongs to it, which no other file takes
// for its own should this end half-way.
func removeFiles(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return removeLogs(path)
}

func attach(path, boot string, now int64) (c *lite.Conn, id string, err error) {
	// SQLite gives its side files the mode of the main file.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, "", err
	}
	f.Close()
	if c, err = lite.Open(path, pragmas...); err == nil {
		if id, err = inspect(c, boot); err == nil {
			err = recoverLogs(c, path, id, now)
		}
		if err == nil {
			return c, id, nil
		}
		c.Close()
	}
	if damaged(err) {
		return nil, "", disown(path, err)
	}
	return nil, "", err
}

// inspect makes the tables in an empty file, and otherwise returns errStale
// unless the file is ours, of this boot, and sound. id is the file's.
func inspect(c *lite.Conn, boot string) (id string, err error) {
	app, err := one(c, "PRAGMA application_id")
	if err != nil {
		return "", err
	}
	tables, err := one(c, "SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return "", err
	}
	if tables == int64(0) && (app == int64(0) || app == int64(applicationID)) {
		if err := c.Script(schema); err != nil {
			return "", err
		}
		if _, err := c.Exec("INSERT INTO boot (id, file) VALUES (?, ?)", boot, rand.Text()); err != nil {
			return "", err
		}
	} else if app != int64(applicationID) {
		return "", errForeign
	}
	if v, err := one(c, "PRAGMA user_version"); err != nil || v != int64(schemaVersion) {
		return "", errors.Join(errStale, err)
	}
	var of string
	if err := c.Row("SELECT id, file FROM boot", nil, &of, &id); err != nil || of != boot {
		return "", errors.Join(errStale, err)
	}
	if boot == "" && tables != int64(0) {
		return "", errStale
	}
	if v, err := one(c, "PRAGMA quick_check(1)"); err != nil || v != "ok" {
		return "", errors.Join(errStale, err)
	}
	return id, c.Script("PRAGMA journal_mode = WAL")
}

var errForeign = errors.New("the file belongs to another program; give kv.url a path of its own")

// damaged reports whether SQLite could make no sense of the file.
func damaged(err error) bool {
	var e *lite.Error
	if !errors.As(err, &e) {
		return false
	}
	code := e.Code() & 0xff
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB
}

// disown decides what becomes of a damaged file: ours may be thrown away;
// another program's stays and is an error; one without a readable header is set
// aside under the name path.bad.
func disown(path string, cause error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var head [72]byte
	if _, err := io.ReadFull(f, head[:]); err == nil && string(head[:16]) == "SQLite format 3\x00" {
		if string(head[68:72]) != "MIDk" {
			return fmt.Errorf("%w: %w", errForeign, cause)
		}
		return errStale
	}
	if err := os.Rename(path, path+".bad"); err != nil {
		return err
	}
	return errStale
}
