package channel_test

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"mobileid/internal/channel"
	"mobileid/internal/clock"
	"mobileid/internal/keys"
	"mobileid/internal/kv"
)

func TestNodesOnOneStoreShareTheirKeys(t *testing.T) {
	clk := clock.NewManual(time.Unix(1_800_000_000, 0))
	store, err := kv.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "kv.db"), clk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	box, err := keys.NewBox(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	one, two := channel.NewSharedRing(clk, store, box), channel.NewSharedRing(clk, store, box)
	a, err := one.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := two.Current(t.Context())
	if err != nil || a.Kid != b.Kid || !a.Private.Equal(b.Private) {
		t.Fatal("two nodes hand out different keys", err)
	}
	clk.Advance(15*time.Minute + time.Second)
	next, err := two.Current(t.Context())
	if err != nil || next.Kid == a.Kid {
		t.Fatal("the key did not change", err)
	}
	if k, err := one.Find(t.Context(), next.Kid); err != nil || k == nil {
		t.Fatal("a node does not learn of its neighbour's key", err)
	}
	if k, _ := one.Find(t.Context(), a.Kid); k == nil {
		t.Fatal("no grace")
	}
	clk.Advance(time.Minute)
	for _, r := range []*channel.Ring{one, two} {
		if k, _ := r.Find(t.Context(), a.Kid); k != nil {
			t.Fatal("accepted after its grace")
		}
	}
	other, err := keys.NewBox(bytes.Repeat([]byte{2}, 32))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := channel.NewSharedRing(clk, store, other).Current(t.Context()); err == nil {
		t.Fatal("a node with another master key opened the ring")
	}
}
