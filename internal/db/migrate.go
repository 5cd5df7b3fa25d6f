package db

import (
	"context"
	"embed"
	"errors"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the schema up to the newest version. It runs before the first
// transaction; on PostgreSQL nodes that start together wait for one another.
func (d *DB) Migrate(ctx context.Context) error {
	return d.migrating(ctx, func(p *goose.Provider) error {
		_, err := p.Up(ctx)
		return err
	})
}

// Versions tells the schema's version and the newest that this program knows.
func (d *DB) Versions(ctx context.Context) (have, newest int64, err error) {
	err = d.migrating(ctx, func(p *goose.Provider) error {
		have, newest, err = p.GetVersions(ctx)
		return err
	})
	return have, newest, err
}

func (d *DB) migrating(ctx context.Context, fn func(p *goose.Provider) error) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	if d.pg == nil {
		return d.submit(ctx, &job{ctx: ctx, result: make(chan error, 1), alone: func() error {
			file, err := plainFile(d.path, "busy_timeout(5000)", "foreign_keys(ON)", "synchronous(FULL)")
			if err != nil {
				return err
			}
			p, err := goose.NewProvider(goose.DialectSQLite3, file, dir)
			if err == nil {
				err = fn(p)
			}
			return errors.Join(err, file.Close())
		}})
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
	if err != nil {
		return err
	}
	pool := d.pg.forMigrations()
	defer pool.Close()
	p, err := goose.NewProvider(goose.DialectPostgres, pool, dir, goose.WithSessionLocker(locker))
	if err != nil {
		return err
	}
	return told(fn(p))
}
