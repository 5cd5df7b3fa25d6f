package db

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"
)

func update(t *testing.T, d *DB, fn func(tx *Tx) error) {
	t.Helper()
	if err := d.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func view(t *testing.T, d *DB, fn func(tx *Tx) error) {
	t.Helper()
	if err := d.View(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func TestACallerIsItsDeviceWithTheReplyOnlyForWhoGotIt(t *testing.T) {
	nodes(t, func(t *testing.T, a, b *DB) {
		seed(t, a, 1)
		var day int64
		update(t, a, func(tx *Tx) error {
			day = tx.Now().Unix() / 86400
			_, err := tx.CountUserFailure("usr_0")
			_, err2 := tx.CountFailure("dev_0")
			return errors.Join(err, err2, tx.BlockDevice("dev_0", time.UnixMilli(7)), tx.SetChain("dev_0", Chain{Head: []byte{1}, LastJWE: []byte("jwe"), LastReply: []byte("reply")}))
		})
		view(t, b, func(tx *Tx) error {
			for jwe, reply := range map[string][]byte{"jwe": []byte("reply"), "another": nil} {
				got, err := tx.CallerOf("dev_0", []byte(jwe))
				want := Caller{FailDay: day, FailCount: 1, Device: Device{ID: "dev_0", MerchantID: "mer_1", UserID: "usr_0", AppID: "app_1", OperationID: "dev_0",
					State: DeviceBlocked, DSK: "{}", DSKThumb: "dev_0", Pos: "swk", Enrol: "qr", Epoch: 1, Failures: 1, MaxFailures: 3, BlockedUntil: time.UnixMilli(7).UTC(),
					HandleSalt: []byte{1}, Chain: Chain{LastReply: reply}}}
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%s: %+v, %v; want %+v", jwe, got, err, want)
				}
			}
			if _, err := tx.CallerOf("nobody", nil); !errors.Is(err, ErrNotFound) {
				t.Errorf("nobody: %v", err)
			}
			return nil
		})
	})
}

func TestALockedCallerIsTheDeviceAsItIsNow(t *testing.T) {
	nodes(t, func(t *testing.T, a, b *DB) {
		seed(t, a, 1)
		var known Caller
		view(t, b, func(tx *Tx) (err error) {
			known, err = tx.CallerOf("dev_0", nil)
			return err
		})
		update(t, a, func(tx *Tx) error {
			_, err := tx.exec(`UPDATE devices SET kk = $2, created_at = 9, platform = 'web', enrol = 'code', epoch = 2, max_failures = 7, attestation = '{}' WHERE id = $1`, "dev_0", []byte("kk"))
			_, err2 := tx.CountFailure("dev_0")
			return errors.Join(err, err2, tx.NameDevice("dev_0", "another"), tx.RotateDevice("dev_0", `{"x":1}`, "thumb", []byte("kk2")), tx.SetBiometry("dev_0", "{}", "bio"),
				tx.SetDeviceState("dev_0", DeviceLocked),
				tx.SetChain("dev_0", Chain{Head: []byte{1}, SpentHead: []byte{2}, Seq: 3, IssuedAt: time.UnixMilli(4), AbandonedJTI: "a b", LastJTI: "jti", LastJWE: []byte("jwe"), LastJWS: []byte("jws"),
					LastResult: []byte("result"), LastReply: []byte("reply")}))
		})
		update(t, b, func(tx *Tx) error {
			want, err := tx.LockDevice("dev_0")
			if err != nil || want.State != DeviceLocked || string(want.Chain.LastResult) != "result" || want.CreatedAt.IsZero() || len(want.Commitment) == 0 {
				t.Errorf("%+v, %v", want, err)
			}
			want.Chain.LastResult = nil
			for _, jti := range []string{"jti", "another", ""} {
				if jti != "jti" {
					want.Chain.LastReply = nil
				}
				if got, err := tx.LockCaller(&known.Device, jti); err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%q: %+v, %v; want %+v", jti, got, err, want)
				}
			}
			if _, err := tx.LockCaller(&Device{ID: "nobody"}, ""); !errors.Is(err, ErrNotFound) {
				t.Errorf("nobody: %v", err)
			}
			return nil
		})
	})
}

func TestAnAddresseeIsTheMerchantsUserWithTheirPhones(t *testing.T) {
	nodes(t, func(t *testing.T, a, b *DB) {
		seed(t, a, 2)
		update(t, a, func(tx *Tx) error {
			return errors.Join(
				tx.InsertMerchant(Merchant{ID: "mer_2"}),
				tx.InsertUser(User{ID: "usr_none", MerchantID: "mer_1", ExternalRef: "none", State: UserLocked, Attributes: map[string]string{"locale": "is"}}),
				tx.InsertDevice(Device{ID: "dev_b", MerchantID: "mer_1", UserID: "usr_0", AppID: "app_1", OperationID: "dev_b", State: DeviceActive, DSK: "{}",
					DSKThumb: "dev_b", Commitment: []byte{1}, Pos: "hwk", MaxFailures: 3, HandleSalt: []byte{1}, Chain: Chain{Head: []byte{1}}, CreatedAt: time.UnixMilli(9)}),
				tx.BlockDevice("dev_b", time.UnixMilli(77)))
		})
		view(t, b, func(tx *Tx) error {
			for name, ask := range map[string][2]string{"by id": {"usr_0", ""}, "by reference": {"", "usr_0"}} {
				u, phones, err := tx.Addressee("mer_1", ask[0], ask[1])
				want := []Device{
					{ID: "dev_0", UserID: "usr_0", AppID: "app_1", Pos: "swk", State: DeviceActive},
					{ID: "dev_b", UserID: "usr_0", AppID: "app_1", Pos: "hwk", State: DeviceBlocked, BlockedUntil: time.UnixMilli(77).UTC()},
				}
				if err != nil || u.ID != "usr_0" || u.State != UserActive || u.MerchantID != "mer_1" || !reflect.DeepEqual(phones, want) {
					t.Errorf("%s: %+v, %+v, %v", name, u, phones, err)
				}
			}
			if u, phones, err := tx.Addressee("mer_1", "usr_none", ""); err != nil || u.State != UserLocked || u.Attributes["locale"] != "is" || len(phones) != 0 {
				t.Errorf("without a phone: %+v, %+v, %v", u, phones, err)
			}
			for _, ask := range [][3]string{{"mer_2", "usr_0", ""}, {"mer_2", "", "usr_0"}, {"mer_1", "", "nobody"}, {"mer_1", "nobody", ""}} {
				if _, _, err := tx.Addressee(ask[0], ask[1], ask[2]); !errors.Is(err, ErrNotFound) {
					t.Errorf("%v: %v", ask, err)
				}
			}
			return nil
		})
	})
}

func TestAStandingTellsOfOperationUserClientAndApp(t *testing.T) {
	nodes(t, func(t *testing.T, a, b *DB) {
		seed(t, a, 1)
		asked := time.Now()
		check := func(name, client string, want Standing) {
			t.Helper()
			update(t, b, func(tx *Tx) error {
				got, err := tx.Standing("op_1", "usr_0", client, "app_1", asked)
				if got != want {
					t.Errorf("%s: %+v, want %+v", name, got, want)
				}
				return err
			})
		}
		want := Standing{UserState: UserActive, Policy: "{}"}
		check("at first", "cli_1", want)
		check("a client that is gone", "cli_2", Standing{UserState: UserActive, Withdrawn: true})
		update(t, a, func(tx *Tx) (err error) {
			want.FailDay = tx.Now().Unix() / 86400
			want.FailCount, err = tx.CountUserFailure("usr_0")
			return err
		})
		check("after a failure", "cli_1", want)
		update(t, a, func(tx *Tx) error {
			return tx.Decide(Decision{OperationID: "op_1", MerchantID: "mer_1", State: "DECLINED", Outcome: []byte(`{"a":1}`), Data: []byte("data")})
		})
		want.Decided = true
		check("decided", "cli_1", want)
		view(t, b, func(tx *Tx) error {
			if d, err := tx.OutcomeOf("op_1"); err != nil || d.MerchantID != "mer_1" || string(d.Outcome) != `{"a":1}` || string(d.Data) != "data" {
				t.Errorf("outcome: %+v, %v", d, err)
			}
			if _, err := tx.OutcomeOf("op_2"); !errors.Is(err, ErrNotFound) {
				t.Errorf("open: %v", err)
			}
			return nil
		})
		update(t, a, func(tx *Tx) error {
			return errors.Join(tx.SetUserState("usr_0", UserLocked), tx.DisableClient("cli_1"))
		})
		want.UserState, want.UserLeft, want.Withdrawn = UserLocked, true, true
		check("locked and disabled", "cli_1", want)
		time.Sleep(2 * time.Millisecond)
		update(t, a, func(tx *Tx) error { return tx.EnableClient("cli_1") })
		check("enabled again, asked before", "cli_1", want)
		view(t, a, func(tx *Tx) (err error) {
			c, err := tx.Client("cli_1")
			asked, want.UserLeft, want.Withdrawn = c.ValidAfter, false, false
			return err
		})
		check("asked since", "cli_1", want)
		err := a.Update(context.Background(), func(tx *Tx) error { _, err := tx.Standing("op_1", "nobody", "cli_1", "app_1", asked); return err })
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("nobody: %v", err)
		}
	})
}

func TestATokenLivesWhileItsGrantDoesAndItIsNotWithdrawn(t *testing.T) {
	nodes(t, func(t *testing.T, a, b *DB) {
		seed(t, a, 1)
		issued := time.Now()
		update(t, a, func(tx *Tx) error {
			return errors.Join(tx.InsertGrant(Grant{ID: "grt_1", MerchantID: "mer_1", ClientID: "cli_1", UserID: "usr_0", DeviceID: "dev_0"}),
				tx.Revoke("token", "withdrawn", tx.Now().Add(time.Hour)))
		})
		alive := func(hash string) (live bool) {
			t.Helper()
			view(t, b, func(tx *Tx) (err error) { live, err = tx.TokenLive("grt_1", issued, "token", hash); return err })
			return live
		}
		if !alive("other") || alive("withdrawn") {
			t.Error("a withdrawn token lives, or another does not")
		}
		view(t, b, func(tx *Tx) error {
			for _, c := range []struct {
				kind, hash, otherKind, otherHash string
				want                             bool
			}{{"token", "withdrawn", "sid", "x", true}, {"sid", "x", "token", "withdrawn", true}, {"token", "x", "sid", "withdrawn", false}} {
				if got, err := tx.EitherRevoked(c.kind, c.hash, c.otherKind, c.otherHash); err != nil || got != c.want {
					t.Errorf("%+v: %v, %v", c, got, err)
				}
			}
			if _, err := tx.TokenLive("grt_2", issued, "token", "x"); !errors.Is(err, ErrNotFound) {
				t.Errorf("no grant: %v", err)
			}
			return nil
		})
		update(t, a, func(tx *Tx) error { return tx.SetUserState("usr_0", UserLocked) })
		if alive("other") {
			t.Error("a token of a locked user lives")
		}
		update(t, a, func(tx *Tx) error { return tx.SetUserState("usr_0", UserActive) })
		if alive("other") {
			t.Error("a token from before the lock lives")
		}
	})
}

func TestAClientIsWithdrawnWhileDisabledAndForWhatIsOlderThanItsEnabling(t *testing.T) {
	nodes(t, func(t *testing.T, a, b *DB) {
		seed(t, a, 1)
		unknown, early := time.UnixMilli(0), time.Now()
		check := func(name, client string, since time.Time, want bool) {
			t.Helper()
			update(t, b, func(tx *Tx) error {
				got, err := tx.ClientWithdrawn(client, since)
				if got != want {
					t.Errorf("%s: withdrawn: %v", name, got)
				}
				return err
			})
		}
		check("at first", "cli_1", early, false)
		check("at first, of a time not kept", "cli_1", unknown, false)
		check("a client that is gone", "cli_2", early, true)
		update(t, a, func(tx *Tx) error { return tx.DisableClient("cli_1") })
		check("disabled", "cli_1", early.Add(time.Hour), true)
		time.Sleep(2 * time.Millisecond)
		update(t, a, func(tx *Tx) error { return tx.EnableClient("cli_1") })
		var after time.Time
		view(t, a, func(tx *Tx) error {
			c, err := tx.Client("cli_1")
			after = c.ValidAfter
			return err
		})
		check("enabled again, of before", "cli_1", early, true)
		check("enabled again, of a time not kept", "cli_1", unknown, true)
		check("enabled again, of since", "cli_1", after, false)
	})
}
