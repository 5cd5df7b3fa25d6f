package db

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db/dbtest"
)

// BenchmarkActs times what an answer and a redemption write, with rows of their
// size, by one caller and by eight at once. CPU time counts (µs of user and
// system, for one), and how many share a commit: the disk's wait is the machine's.
func BenchmarkActs(b *testing.B) {
	for _, act := range []string{"answer", "redeem"} {
		for _, callers := range []int{1, 8} {
			b.Run(fmt.Sprintf("%s/callers=%d", act, callers), func(b *testing.B) { acts(b, act, callers) })
		}
	}
}

const actUsers = 300

func acts(b *testing.B, act string, callers int) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	d := openURL(b, dbtest.SQLite(b), clock.System{})
	var commits, shared atomic.Int64
	d.Observe(Observer{Commit: func(n int, _ time.Duration) { commits.Add(1); shared.Add(int64(n)) }})
	fill := func(n int) []byte { return []byte(strings.Repeat(NewID("")[:16], n/16+1)[:n]) }
	chain := func() Chain {
		return Chain{Head: fill(32), SpentHead: fill(32), LastJTI: NewID("")[:22], LastJWE: fill(32), LastJWS: fill(32), LastResult: fill(100), LastReply: fill(700)}
	}
	err := d.Update(ctx, func(tx *Tx) error {
		err := errors.Join(tx.InsertMerchant(Merchant{ID: "mer_b"}), tx.InsertApp(App{ID: "app_b", MerchantID: "mer_b", Policy: json.RawMessage("{}")}),
			tx.InsertClient(Client{ID: "cli_b", MerchantID: "mer_b", AppID: "app_b"}))
		for i := range actUsers {
			id := fmt.Sprint(i)
			err = errors.Join(err, tx.InsertUser(User{ID: "usr_" + id, MerchantID: "mer_b", ExternalRef: id, State: UserActive}),
				tx.InsertDevice(Device{ID: "dev_" + id, MerchantID: "mer_b", UserID: "usr_" + id, AppID: "app_b", State: DeviceActive,
					DSK: string(fill(150)), DSKThumb: id, Commitment: fill(64), MaxFailures: 5, HandleSalt: fill(32), Chain: chain()}))
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	outcome, view, answer := fill(600), fill(250), string(fill(900))
	record := func(tx *Tx) error {
		line, seq, err := tx.NextAudit("aw_b")
		if err != nil {
			return err
		}
		return tx.InsertAudit(line, seq, string(outcome[:350]), outcome[:32])
	}
	calls := map[string]func(tx *Tx, n string) error{
		"answer": func(tx *Tx, n string) error {
			dev, err := tx.LockDevice("dev_" + n)
			if err != nil {
				return err
			}
			op := NewSerialID("op_")
			if _, err := tx.Decision(op); !errors.Is(err, ErrNotFound) {
				return err
			}
			if _, err := tx.User("usr_" + n); err != nil {
				return err
			}
			if _, err := tx.Client("cli_b"); err != nil {
				return err
			}
			if _, err := tx.App("app_b"); err != nil {
				return err
			}
			if err := tx.Decide(Decision{OperationID: op, Kind: "authentication", State: "COMPLETED", MerchantID: "mer_b", UserID: "usr_" + n,
				DeviceID: dev.ID, ClientID: "cli_b", ViewHash: NewID(""), Outcome: outcome, View: view, Answer: answer}); err != nil {
				return err
			}
			if err := record(tx); err != nil {
				return err
			}
			if err := tx.Enqueue(OutboxItem{ID: op, Kind: "operation.decided", Subject: "usr_" + n}, time.Hour); err != nil {
				return err
			}
			return tx.SetChain(dev.ID, chain())
		},
		"redeem": func(tx *Tx, n string) error {
			id := NewSerialID("grt_")
			if err := tx.Redeem("auth_req_id", NewID("")+NewID("")[:17], id, tx.Now().Add(time.Hour)); err != nil {
				return err
			}
			if ok, err := tx.MayIssue("cli_b", "usr_"+n, "dev_"+n, tx.Now(), tx.Now()); err != nil || !ok {
				return errors.Join(err, ErrNotFound)
			}
			if err := tx.InsertGrant(Grant{ID: id, MerchantID: "mer_b", ClientID: "cli_b", UserID: "usr_" + n, DeviceID: "dev_" + n, OperationID: NewID("op_")}); err != nil {
				return err
			}
			if err := tx.InsertFamily(Family{ID: NewSerialID("fam_"), GrantID: id, ClientID: "cli_b", Record: view}); err != nil {
				return err
			}
			return record(tx)
		},
	}
	var n atomic.Int64
	one := func() error {
		user := fmt.Sprint(n.Add(1) * 7919 % actUsers)
		return d.Update(ctx, func(tx *Tx) error { return calls[act](tx, user) })
	}
	for range 3000 { // indexes as large as a server's, soon after its start
		if err := one(); err != nil {
			b.Fatal(err)
		}
	}
	commits.Store(0)
	shared.Store(0)
	b.ReportAllocs()
	b.SetParallelism(callers)
	before := cpu(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := one(); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(shared.Load())/float64(max(1, commits.Load())), "shared/commit")
}

// cpu is the CPU time of this process.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
