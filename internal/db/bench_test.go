package db

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db/dbtest"
)

// BenchmarkStatements times a row read, and a transaction of five statements as
// a redemption has, by one caller and by 16 whose commits are shared. PostgreSQL
// runs with fsync, as SQLite does.
func BenchmarkStatements(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { statements(b, dbtest.SQLite(b)) })
	b.Run("postgres", func(b *testing.B) {
		statements(b, dbtest.StartPostgres(b, dbtest.Options{Fsync: true}).URL())
	})
}

func statements(b *testing.B, url string) {
	ctx, cancel := context.WithCancel(b.Context()) // as a request's can be cancelled
	defer cancel()
	d, err := Open(ctx, url, clock.System{})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	if err := d.Migrate(ctx); err != nil {
		b.Fatal(err)
	}
	if err := d.Update(ctx, func(tx *Tx) error {
		if err := tx.InsertMerchant(Merchant{ID: "mer_b"}); err != nil {
			return err
		}
		return tx.InsertUser(User{ID: "usr_b", MerchantID: "mer_b", ExternalRef: "b", State: UserActive, Attributes: map[string]string{}})
	}); err != nil {
		b.Fatal(err)
	}
	var n atomic.Int64
	read := func() error {
		return d.View(ctx, func(tx *Tx) error {
			_, err := tx.User("usr_b")
			return err
		})
	}
	write := func() error {
		id := fmt.Sprintf("b%016x", n.Add(1)*7046029254386353131)
		return d.Update(ctx, func(tx *Tx) error {
			if err := tx.Redeem("bench", id, id, tx.Now().Add(time.Hour)); err != nil {
				return err
			}
			if _, err := tx.User("usr_b"); err != nil {
				return err
			}
			if err := tx.InsertGrant(Grant{ID: id, MerchantID: "mer_b", UserID: "usr_b"}); err != nil {
				return err
			}
			line, seq, err := tx.NextAudit("aw_b")
			if err != nil {
				return err
			}
			return tx.InsertAudit(line, seq, "{}", []byte(id))
		})
	}
	for name, call := range map[string]func() error{"read": read, "write": write} {
		for _, callers := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/callers=%d", name, callers), func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(callers)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := call(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}
