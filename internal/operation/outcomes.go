package operation

import (
	"slices"
	"sync"
	"time"
)

const (
	// outcomesHalf bounds each half of the outcomes, outcomeMost the bytes of data
	// that come with one, and outcomeLife how long one is told without asking SQL.
	outcomesHalf = 256
	outcomeMost  = 1 << 10
	outcomeLife  = time.Minute
)

// outcomes keeps what this node has decided lately: a decision never changes once it
// is durable, and whoever waits for it asks within seconds. It is two halves: new
// ones go into the young one, and once that is full it becomes the old one, whose
// outcomes are forgotten. The zero value is empty and ready.
type outcomes struct {
	mu         sync.RWMutex
	young, old map[string]Outcome
}

// keep takes an outcome whose transaction has committed.
func (k *outcomes) keep(out Outcome) {
	if len(out.Data) > outcomeMost || len(out.ClientData) > outcomeMost {
		return
	}
	out.Factors, out.AMR = slices.Clip(out.Factors), slices.Clip(out.AMR)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.young == nil || len(k.young) >= outcomesHalf {
		k.young, k.old = make(map[string]Outcome, len(k.young)), k.young
	}
	k.young[out.OperationID] = out
}

// find is the outcome, if it is not older than outcomeLife. What it points to is
// shared: only to be read.
func (k *outcomes) find(id string, now time.Time) (Outcome, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	out, ok := k.young[id]
	if !ok {
		out, ok = k.old[id]
	}
	return out, ok && now.Sub(out.At) < outcomeLife
}
