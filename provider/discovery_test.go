package provider

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"mobileid/internal/db"
	"mobileid/internal/operation"
)

// The first requests after a start come together, and the first of them may go away.
func TestDiscoveryTellsTheReachableClassesFromTheFirstAnswerOn(t *testing.T) {
	h := newHouse(t)
	err := h.db.Update(t.Context(), func(tx *db.Tx) error {
		dev, err := tx.Device(h.device)
		if err == nil {
			dev.ID, dev.DSKThumb, dev.OperationID, dev.Pos = db.NewID("dev_"), "thumb-hw", "op_hw", "hwk-att"
			dev.State = db.DevicePending
			err = tx.InsertDevice(dev)
		}
		if err == nil {
			err = errors.Join(tx.SetKnowledge(dev.ID, []byte("k")), tx.ActivateDevice(dev.ID))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // nodes
		p := h.provider(h.clk)
		start := make(chan struct{})
		var all sync.WaitGroup
		for i := range 8 {
			ctx := t.Context()
			if i%2 == 0 {
				ctx = gone
			}
			all.Go(func() {
				<-start
				w := httptest.NewRecorder()
				p.Discovery(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
				if !strings.Contains(w.Body.String(), operation.ACRAppHW) {
					t.Error("a first answer does not name what is reached")
				}
			})
		}
		close(start)
		all.Wait()
	}
}
