package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mobileid/internal/clock"
)

// backupFormat is what a backup says of itself; another number is refused.
const backupFormat = 1

// BackupInfo is what a backup knows besides the database.
type BackupInfo struct {
	MadeAt   time.Time
	Schema   int64  // version of the schema
	Issuer   string // whose database it is
	KeyCheck []byte // tells the right master key from a wrong one, and nothing else of it
	// MasterKey is the key itself, if whoever made the backup asked for that:
	// then the file alone is all that a thief needs.
	MasterKey []byte
}

// String keeps the master key out of logs.
func (b BackupInfo) String() string {
	return fmt.Sprintf("backup of %s, schema %d, made %s", b.Issuer, b.Schema, b.MadeAt.Format(time.RFC3339))
}

// errNotSQLite is for what only an embedded database needs.
var errNotSQLite = errors.New("db: backup and restore are for SQLite; PostgreSQL brings its own tools, see docs/operations.md")

// Backup writes a copy of the SQLite database at dsn to file, which must not
// exist: the state of one moment, whole, while servers go on reading and writing.
// MadeAt and Schema of info are filled in. The file is its owner's alone.
func Backup(ctx context.Context, dsn, file string, info BackupInfo, clk clock.Clock) (BackupInfo, error) {
	path, ok := strings.CutPrefix(dsn, "sqlite:")
	if !ok {
		return info, errNotSQLite
	}
	if _, err := os.Stat(path); err != nil {
		return info, fmt.Errorf("db: backup: %w", err)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return info, fmt.Errorf("db: backup: %w", err)
	}
	info.MadeAt = clk.Now().UTC().Truncate(time.Millisecond)
	err = copyInto(ctx, path, file)
	if err == nil {
		info.Schema, err = mark(ctx, file, info)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return info, errors.Join(fmt.Errorf("db: backup: %w", err), os.Remove(file))
	}
	return info, syncDir(file)
}

// copyInto has SQLite write what is committed now into the empty file at to. It
// reads in one transaction, so nobody waits for it.
func copyInto(ctx context.Context, from, to string) (err error) {
	src, err := plainFile(from, "busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	_, err = src.ExecContext(ctx, "VACUUM INTO ?", to)
	return err
}

// mark writes info into the copy and checks that it is sound. A copy without
// the mark, of a backup that was cut off, is none.
func mark(ctx context.Context, file string, info BackupInfo) (schema int64, err error) {
	dst, err := plainFile(file, "journal_mode(DELETE)")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if err := sound(ctx, dst); err != nil {
		return 0, err
	}
	if err := dst.QueryRowContext(ctx, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`).Scan(&schema); err != nil {
		return 0, err
	}
	for _, q := range []struct {
		text string
		args []any
	}{
		{`CREATE TABLE backup_info (format BIGINT, made_at BIGINT, schema BIGINT, issuer TEXT, key_check BLOB, master_key BLOB)`, nil},
		{`INSERT INTO backup_info VALUES ($1, $2, $3, $4, $5, $6)`,
			[]any{backupFormat, millis(info.MadeAt), schema, info.Issuer, info.KeyCheck, info.MasterKey}},
	} {
		if _, err := dst.ExecContext(ctx, q.text, q.args...); err != nil {
			return 0, err
		}
	}
	return schema, nil
}

// ReadBackup returns what the backup in file says of itself.
func ReadBackup(ctx context.Context, file string) (info BackupInfo, err error) {
	if _, err := os.Stat(file); err != nil {
		return info, fmt.Errorf("db: %w", err)
	}
	d, err := plainFile(file, "query_only(ON)")
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	var format, made int64
	err = d.QueryRowContext(ctx, `SELECT format, made_at, schema, issuer, key_check, master_key FROM backup_info`).
		Scan(&format, &made, &info.Schema, &info.Issuer, &info.KeyCheck, &info.MasterKey)
	if err != nil {
		return info, fmt.Errorf("db: %s is not a whole backup: %w", file, err)
	}
	if format != backupFormat {
		return info, fmt.Errorf("db: %s is a backup of format %d, this program reads %d", file, format, backupFormat)
	}
	info.MadeAt = fromMillis(made)
	return info, nil
}

// Restore puts the backup in file where dsn says. ready gets the database before
// it is in its place, opened and brought to this program's schema: what it
// changes is part of what is restored, and its error leaves nothing behind. What
// is there already is never overwritten.
func Restore(ctx context.Context, file, dsn string, clk clock.Clock, ready func(d *DB) error) (err error) {
	path, ok := strings.CutPrefix(dsn, "sqlite:")
	if !ok {
		return errNotSQLite
	}
	for _, f := range []string{path, path + "-wal", path + "-journal"} {
		if _, err := os.Lstat(f); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("db: restore: %s is there already; move it away, nothing is overwritten: %w", f, errors.Join(err, os.ErrExist))
		}
	}
	tmp := path + ".restoring"
	if err := copyFile(file, tmp); err != nil {
		return fmt.Errorf("db: restore: %w", err)
	}
	defer func() {
		for _, f := range []string{tmp, tmp + "-wal", tmp + "-shm", tmp + "-journal"} {
			if rerr := os.Remove(f); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
				err = errors.Join(err, rerr)
			}
		}
	}()
	if err := unmark(ctx, tmp); err != nil {
		return fmt.Errorf("db: restore: %w", err)
	}
	d, err := Open(ctx, "sqlite:"+tmp, clk)
	if err != nil {
		return err
	}
	if err = older(ctx, d); err == nil {
		err = d.Migrate(ctx)
	}
	if err == nil {
		err = ready(d)
	}
	// Closing the last connection folds the write-ahead log into the file.
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	if err := syncFile(tmp); err != nil {
		return fmt.Errorf("db: restore: %w", err)
	}
	// A link does not overwrite; not every file system has them.
	if err := os.Link(tmp, path); errors.Is(err, os.ErrExist) {
		return fmt.Errorf("db: restore: %w", err)
	} else if err != nil {
		if err := os.Rename(tmp, path); err != nil {
			return fmt.Errorf("db: restore: %w", err)
		}
	}
	return syncDir(path)
}

// older refuses a schema that a newer program made.
func older(ctx context.Context, d *DB) error {
	have, newest, err := d.Versions(ctx)
	if err == nil && have > newest {
		err = fmt.Errorf("db: restore: the backup has schema version %d, this program knows up to %d", have, newest)
	}
	return err
}

// unmark makes a database of a backup again, after looking at every page of it.
func unmark(ctx context.Context, file string) (err error) {
	d, err := plainFile(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := sound(ctx, d); err != nil {
		return err
	}
	// VACUUM, so that no page keeps a master key that was in the backup.
	for _, q := range []string{`PRAGMA secure_delete = ON`, `DROP TABLE backup_info`, `VACUUM`} {
		if _, err := d.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

func sound(ctx context.Context, d *sql.DB) error {
	var says string
	if err := d.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&says); err != nil {
		return err
	}
	if says != "ok" {
		return errors.New("the file is damaged: " + says)
	}
	return nil
}

// plainFile opens a database file that exists, on one connection.
func plainFile(path string, pragmas ...string) (*sql.DB, error) {
	q := url.Values{"mode": {"rw"}, "_pragma": pragmas}
	d, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("db: open %s: %w", path, err)
	}
	d.SetMaxOpenConns(1)
	return d, nil
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("%w (left by a restore that was cut off? then delete it)", err)
	}
	if _, err = io.Copy(dst, src); err != nil {
		return errors.Join(err, dst.Close(), os.Remove(to))
	}
	return dst.Close()
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncDir makes a new file's name last.
func syncDir(file string) error {
	d, err := os.Open(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("db: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// Withdraw ends every login: sessions, codes, access and refresh tokens, as far
// as they were given before now. For a database that was put back: it has
// forgotten which of them were used or withdrawn since.
func (tx *Tx) Withdraw() (grants int64, err error) {
	if _, err := tx.exec(`UPDATE users SET valid_after = $1 WHERE valid_after < $1`, millis(tx.Now())); err != nil {
		return 0, err
	}
	return tx.exec(`UPDATE grants SET revoked_at = $1 WHERE revoked_at = 0`, millis(tx.Now()))
}
