package db

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db/dbtest"
)

// nodes are two nodes on one database of each engine: on SQLite the same one.
func nodes(t *testing.T, fn func(t *testing.T, a, b *DB)) {
	dbtest.Each(t, func(t *testing.T, url string) {
		a := openURL(t, url, clock.System{})
		if a.pg == nil {
			fn(t, a, a)
			return
		}
		fn(t, a, openURL(t, url, clock.System{}))
	})
}

// seed makes a user with a device, a client, and an operation's worth of names.
func seed(t *testing.T, d *DB, n int) {
	t.Helper()
	err := d.Update(t.Context(), func(tx *Tx) error {
		errs := []error{
			tx.InsertMerchant(Merchant{ID: "mer_1"}),
			tx.InsertApp(App{ID: "app_1", MerchantID: "mer_1", Policy: []byte("{}")}),
			tx.InsertClient(Client{ID: "cli_1", MerchantID: "mer_1", AppID: "app_1"}),
		}
		for i := range n {
			user, device := fmt.Sprint("usr_", i), fmt.Sprint("dev_", i)
			errs = append(errs,
				tx.InsertUser(User{ID: user, MerchantID: "mer_1", ExternalRef: user, State: UserActive, Attributes: map[string]string{}}),
				tx.InsertDevice(Device{ID: device, MerchantID: "mer_1", UserID: user, AppID: "app_1", OperationID: device, State: DeviceActive,
					DSK: "{}", DSKThumb: device, Commitment: []byte{1}, Pos: "swk", Enrol: "qr", Epoch: 1, MaxFailures: 3, HandleSalt: []byte{1}, Chain: Chain{Head: []byte{1}}}))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// crowd calls fn n times at once and counts the outcomes by error.
func crowd(n int, fn func(i int) error) map[string]int {
	var mu sync.Mutex
	out := map[string]int{}
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			err := fn(i)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				out["ok"]++
			case errors.Is(err, ErrConflict):
				out["conflict"]++
			default:
				out[err.Error()]++
			}
		})
	}
	close(start)
	all.Wait()
	return out
}

func only(t *testing.T, what string, got map[string]int, wins, losses int) {
	t.Helper()
	if got["ok"] != wins || got["conflict"] != losses || len(got) > 2 {
		t.Errorf("%s: %v, want %d won and %d refused", what, got, wins, losses)
	}
}

// R1, R2: one of many, whatever the node.
func TestR1OfManyAtOnceOneRedeemsDecidesAndRotates(t *testing.T) {
	nodes(t, func(t *testing.T, a, b *DB) {
		seed(t, a, 1)
		node := func(i int) *DB { return []*DB{a, b}[i%2] }
		ctx := context.Background()
		exp := time.Now().Add(time.Hour)
		if err := a.Update(ctx, func(tx *Tx) error {
			return errors.Join(tx.InsertGrant(Grant{ID: "grt_f", UserID: "usr_0", ClientID: "cli_1", DeviceID: "dev_0"}),
				tx.InsertFamily(Family{ID: "fam_1", GrantID: "grt_f", ClientID: "cli_1", Generation: 1, ExpiresAt: exp, Record: []byte{1}}))
		}); err != nil {
			t.Fatal(err)
		}
		for round := range 5 {
			code, op := fmt.Sprint("code", round), fmt.Sprint("op_", round)
			only(t, "redeem", crowd(32, func(i int) error {
				return node(i).Update(ctx, func(tx *Tx) error {
					grant := fmt.Sprint("grt_", round, "_", i)
					if err := tx.Redeem("code", code, grant, exp); err != nil {
						return err
					}
					if ok, err := tx.MayIssue("cli_1", "usr_0", "dev_0", time.Now(), time.Now()); err != nil || !ok {
						return fmt.Errorf("may not issue: %v", err)
					}
					return tx.InsertGrant(Grant{ID: grant, UserID: "usr_0", ClientID: "cli_1", DeviceID: "dev_0"})
				})
			}), 1, 31)
			states := []string{"COMPLETED", "DECLINED", "CANCELLED", "EXPIRED"}
			only(t, "decide", crowd(32, func(i int) error {
				return node(i).Update(ctx, func(tx *Tx) error {
					return tx.Decide(Decision{OperationID: op, State: states[i%4], Outcome: []byte("{}")})
				})
			}), 1, 31)
			only(t, "rotate", crowd(32, func(i int) error {
				return node(i).Update(ctx, func(tx *Tx) error {
					live, err := tx.GrantLive("grt_f", time.Now())
					if err != nil || !live {
						return fmt.Errorf("not live: %v", err)
					}
					return tx.RotateFamily("fam_1", int64(round+1), exp)
				})
			}), 1, 31)
		}
		if err := a.View(ctx, func(tx *Tx) error {
			f, err := tx.Family("fam_1")
			if err == nil && f.Generation != 6 {
				err = fmt.Errorf("generation %d after five steps", f.Generation)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	})
}

// R3: once the change has returned, nothing is approved or issued; and what was
// approved or issued beside it is older than the change.
func TestR3LockUserRevokeDeviceDisableClientAgainstApproveAndRedeem(t *testing.T) {
	ctx := context.Background()
	changes := map[string]func(tx *Tx, user, device, client string) error{
		"lock user":      func(tx *Tx, user, _, _ string) error { return tx.SetUserState(user, UserLocked) },
		"revoke device":  func(tx *Tx, _, device, _ string) error { return tx.SetDeviceState(device, DeviceDeactivated) },
		"suspend device": func(tx *Tx, _, device, _ string) error { return tx.SetDeviceState(device, DeviceSuspended) },
		"disable client": func(tx *Tx, _, _, client string) error { return tx.DisableClient(client) },
	}
	nodes(t, func(t *testing.T, a, b *DB) {
		const rounds = 30
		seed(t, a, rounds*len(changes))
		next := 0
		for name, change := range changes {
			approvedFirst, issuedFirst := 0, 0
			for range rounds {
				n := fmt.Sprint(next)
				next++
				user, device, client := "usr_"+n, "dev_"+n, "cli_r"+n
				update(t, a, func(tx *Tx) error {
					return tx.InsertClient(Client{ID: client, MerchantID: "mer_1", AppID: "app_1"})
				})
				// approve and redeem return when it was done, or zero if it was refused.
				approve := func(op string) (at time.Time, err error) {
					err = a.Update(ctx, func(tx *Tx) error {
						at = time.Time{}
						d, err := tx.LockDevice(device)
						if err != nil || d.State != DeviceActive {
							return err
						}
						s, err := tx.Standing(op, user, client, "app_1", time.Now())
						if err != nil || s.UserState != UserActive || s.Withdrawn {
							return err
						}
						if err := tx.Decide(Decision{OperationID: op, State: "COMPLETED", UserID: user, Outcome: []byte("{}")}); err != nil {
							return err
						}
						at = tx.Now()
						return nil
					})
					return at, err
				}
				redeem := func(grant string) (at time.Time, err error) {
					err = a.Update(ctx, func(tx *Tx) error {
						at = time.Time{}
						ok, err := tx.MayIssue(client, user, device, time.Now(), time.Now())
						if err != nil || !ok {
							return err
						}
						at = tx.Now()
						return tx.InsertGrant(Grant{ID: grant, UserID: user, ClientID: client, DeviceID: device, CreatedAt: at})
					})
					return at, err
				}
				var approved, issued, changed time.Time
				got := crowd(3, func(i int) (err error) {
					switch i {
					case 0:
						approved, err = approve("op_" + n)
						return err
					case 1:
						issued, err = redeem("grt_" + n)
						return err
					}
					time.Sleep(time.Duration(next%5) * 100 * time.Microsecond)
					return b.Update(ctx, func(tx *Tx) error {
						if err := change(tx, user, device, client); err != nil {
							return err
						}
						changed = tx.Now()
						return nil
					})
				})
				if got["ok"] != 3 {
					t.Fatalf("%s: %v", name, got)
				}
				if approved.After(changed) || issued.After(changed) {
					t.Errorf("%s at %v, approved at %v, issued at %v", name, changed, approved, issued)
				}
				if !approved.IsZero() {
					approvedFirst++
				}
				if !issued.IsZero() {
					issuedFirst++
					view(t, a, func(tx *Tx) error {
						live, err := tx.GrantLive("grt_"+n, time.Now())
						if live {
							t.Errorf("%s: a grant lives on", name)
						}
						return err
					})
				}
				// Nothing more comes of it.
				if at, err := approve("op_late" + n); err != nil || !at.IsZero() {
					t.Errorf("%s: approved afterwards at %v, %v", name, at, err)
				}
				if at, err := redeem("grt_late" + n); err != nil || !at.IsZero() {
					t.Errorf("%s: issued afterwards at %v, %v", name, at, err)
				}
			}
			t.Logf("%s: of %d, %d approved and %d issued before", name, rounds, approvedFirst, issuedFirst)
		}
	})
}

func TestAnItemOfTheOutboxIsLeasedOnce(t *testing.T) {
	nodes(t, func(t *testing.T, a, b *DB) {
		ctx := context.Background()
		const items = 200
		if err := a.Update(ctx, func(tx *Tx) error {
			for i := range items {
				if err := tx.Enqueue(OutboxItem{ID: fmt.Sprint("o", i), Kind: "k"}, 0); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
		var mu sync.Mutex
		leased := map[string]int{}
		got := crowd(8, func(i int) error {
			for range items {
				var some []OutboxItem
				err := []*DB{a, b}[i%2].Update(ctx, func(tx *Tx) (err error) { some, err = tx.Lease(OutboxKinds{}, 10, time.Minute); return err })
				if err != nil || len(some) == 0 {
					return err
				}
				mu.Lock()
				for _, it := range some {
					leased[it.ID]++
				}
				mu.Unlock()
			}
			return nil
		})
		if got["ok"] != 8 || len(leased) != items {
			t.Fatalf("%v, %d of %d leased", got, len(leased), items)
		}
		for id, n := range leased {
			if n != 1 {
				t.Errorf("%s was leased %d times", id, n)
			}
		}
	})
}

// Records of one process are counted in lines without gaps, and acts do not wait
// for one another's commits.
func TestLinesOfAuditHaveNoGapsThoughTransactionsFailBesideOneAnother(t *testing.T) {
	nodes(t, func(t *testing.T, a, b *DB) {
		undone := errors.New("undone")
		crowd(120, func(i int) error {
			return []*DB{a, b}[i%2].Update(context.Background(), func(tx *Tx) error {
				for range 1 + i%2 {
					line, seq, err := tx.NextAudit([]string{"aw_a", "aw_b"}[i%2])
					if err != nil {
						return err
					}
					if err := tx.InsertAudit(line, seq, "{}", []byte{1}); err != nil {
						return err
					}
				}
				if i%3 == 0 {
					return undone
				}
				return nil
			})
		})
		next := map[string]int64{}
		records := 0
		err := a.View(t.Context(), func(tx *Tx) error {
			return tx.AuditRecords(func(r AuditRecord) error {
				records++
				if next[r.Writer]++; r.Seq != next[r.Writer] {
					return fmt.Errorf("%s: %d follows %d", r.Writer, r.Seq, next[r.Writer]-1)
				}
				return nil
			})
		})
		if err != nil || records != 40+80 {
			t.Fatalf("%d records, %v", records, err)
		}
		t.Logf("%d lines", len(next))
	})
}
