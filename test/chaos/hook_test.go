package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"mobileid/internal/db"
)

// hook is a merchant's server that is told what became of operations. It drops
// every eighth message when it first comes, so that some come twice.
type hook struct {
	*httptest.Server

	mu  sync.Mutex
	got map[string][]string // bodies by message id, in the order they came
}

// told is what a message says.
type told struct {
	ID, Type string
	Data     struct{ OperationID, State string }
}

func startHook(t *testing.T) *hook {
	h := &hook{got: map[string][]string{}}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the sender has died
		}
		id := r.Header.Get("Webhook-Id")
		h.mu.Lock()
		defer h.mu.Unlock()
		h.got[id] = append(h.got[id], string(body))
		if len(h.got[id]) == 1 && len(h.got)%8 == 1 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(h.Close)
	return h
}

// listen has the hook be told of everything that ends.
func (c *client) listen(h *hook) {
	c.rest("/webhooks", map[string]any{"url": h.URL, "events": []string{"authentication.finished", "registration.finished"}})
}

// messages are the bodies that came, by message id.
func (h *hook) messages() map[string][]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.got)
}

// taken is an error while a decision of the database was never told, or none of the
// messages that were dropped has come again. What a node that was killed had just
// taken up comes when its lease, 30 s, is over; only make chaos waits for that.
func (h *hook) taken(ctx context.Context, j *judge) error {
	owed, err := j.owed(ctx)
	if err != nil {
		return err
	}
	again := 0
	for _, bodies := range h.messages() {
		var m told
		if err := json.Unmarshal([]byte(bodies[0]), &m); err != nil {
			return fmt.Errorf("message %s: %w", bodies[0], err)
		}
		delete(owed, m.Data.OperationID)
		if len(bodies) > 1 {
			again++
		}
	}
	if len(owed) > 0 {
		return fmt.Errorf("%d of the decisions were not told", len(owed))
	}
	if again == 0 {
		return errors.New("no message came twice")
	}
	return nil
}

// owed are the operations whose end the merchant must have been told: those that are
// decided, in a short run less those whose message is under way. It is asked before
// what he was told is looked at, so that what ends or arrives between the two is owed
// to nobody.
func (j *judge) owed(ctx context.Context) (map[string]bool, error) {
	leased, err := j.leased(ctx)
	if err != nil {
		return nil, err
	}
	decided, err := j.decisions(ctx)
	out := map[string]bool{}
	for op := range decided {
		if long() || !leased[op] {
			out[op] = true
		}
	}
	return out, err
}

// leased are the operations of messages that are under way or to be sent again.
func (j *judge) leased(ctx context.Context) (map[string]bool, error) {
	rows, err := j.raw.QueryContext(ctx, `SELECT body FROM webhook_deliveries WHERE state = 'PENDING' AND attempts > 0`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]bool{}
	for rows.Next() {
		var body string
		var m told
		if err := rows.Scan(&body); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			return nil, err
		}
		out[m.Data.OperationID] = true
	}
	return out, rows.Err()
}

// heard holds what the merchant's server was told against the database (I6): each
// decision at least once, under one id with one body, and nothing else.
func (j *judge) heard(ctx context.Context, owed map[string]bool, got map[string][]string) {
	decided, err := j.decisions(ctx)
	if err != nil {
		j.finds("%v", err)
		return
	}
	ids := map[string][]string{} // by operation
	for id, bodies := range got {
		var m told
		if err := json.Unmarshal([]byte(bodies[0]), &m); err != nil || m.ID != id {
			j.finds("message %s says %s (%v)", id, bodies[0], err)
			continue
		}
		if len(slices.Compact(slices.Clone(bodies))) != 1 {
			j.finds("message %s came with different bodies: %q", id, bodies)
		}
		if d, ok := decided[m.Data.OperationID]; !ok || d.State != m.Data.State || m.Type != d.Kind+".finished" {
			j.finds("told that %s is %s by %s, the database says %q", m.Data.OperationID, m.Data.State, m.Type, d.State)
		}
		ids[m.Data.OperationID] = append(ids[m.Data.OperationID], id)
	}
	for op := range decided {
		if len(ids[op]) > 1 || len(ids[op]) == 0 && owed[op] {
			j.finds("the end of %s was told as %d messages: %q", op, len(ids[op]), ids[op])
		}
	}
}

// decisions are all of the database, by operation: their kind and state.
func (j *judge) decisions(ctx context.Context) (map[string]db.Decision, error) {
	rows, err := j.raw.QueryContext(ctx, `SELECT operation_id, kind, state FROM decisions`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]db.Decision{}
	for rows.Next() {
		var d db.Decision
		if err := rows.Scan(&d.OperationID, &d.Kind, &d.State); err != nil {
			return nil, err
		}
		out[d.OperationID] = d
	}
	return out, rows.Err()
}
