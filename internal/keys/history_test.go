package keys

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db"
)

func TestEvidenceKeysStayKnownWithTheirTimesAndLoseTheirPrivateHalves(t *testing.T) {
	clk := clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "id.db"), clk)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	box, err := NewBox([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	ring := NewRing(d, box, clk)
	if err := ring.Ensure(t.Context(), Evidence); err != nil {
		t.Fatal(err)
	}
	began := clk.Now()
	for range 3 {
		clk.Advance(400 * 24 * time.Hour)
		if _, err := ring.Rotate(t.Context(), Evidence, Lead, func(*db.Tx, string) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	past, err := ring.History(t.Context(), Evidence)
	if err != nil || len(past) != 4 {
		t.Fatalf("%d keys, %v", len(past), err)
	}
	for i, k := range past {
		from := began
		if i > 0 {
			from = began.Add(time.Duration(i)*400*24*time.Hour + Lead)
		}
		until := time.Time{}
		if i < 3 {
			until = began.Add(time.Duration(i+1)*400*24*time.Hour + Lead + Handover)
		}
		if !k.ActiveAt.Equal(from) || !k.RetireAt.Equal(until) || !k.Public.IsPublic() || k.Public.KeyID != k.KID {
			t.Errorf("key %d signs from %s until %s, want %s and %s", i, k.ActiveAt, k.RetireAt, from, until)
		}
	}
	err = d.View(t.Context(), func(tx *db.Tx) error {
		all, err := tx.AllSigningKeys(Evidence)
		for i, k := range all {
			if gone := len(k.Sealed) == 0; gone != (i < 2) {
				t.Errorf("the private half of key %d is gone: %v", i, gone)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	k, err := ring.Current(t.Context(), Evidence)
	if err != nil || k.KID != past[2].KID {
		t.Errorf("%v signs, %v", k, err)
	}
	clk.Advance(Lead)
	if k, err = ring.Current(t.Context(), Evidence); err != nil || k.KID != past[3].KID {
		t.Errorf("after the lead %v signs, %v", k, err)
	}
	all, err := ring.All(t.Context(), Evidence)
	if err != nil || Newest(all, clk.Now().Add(-time.Second)).KID != past[2].KID || Newest(all, clk.Now()).KID != past[3].KID || Newest(all, began.Add(-time.Second)) != nil {
		t.Errorf("the newest of %v, %v", all, err)
	}
}
