package db

import (
	"context"
	"embed"
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
		p, err := goose.NewProvider(goose.DialectSQLite3, d.write, dir)
		if err != nil {
			return err
		}
		return d.exclusively(ctx, func() error { return fn(p) })
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

// exclusively lends SQLite's single write connection to fn, which uses d.write.
func (d *DB) exclusively(ctx context.Context, fn func() error) error {
	j := &job{ctx: ctx, result: make(chan error, 1), alone: fn}
	return d.submit(ctx, j)
}
