package operation

import (
	"slices"
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
// is durable, and whoever waits for it asks within seconds.
type outcomes struct{ recent[Outcome] }

func newOutcomes() *outcomes { return &outcomes{recent[Outcome]{half: outcomesHalf}} }

// keep takes an outcome whose transaction has committed.
func (k *outcomes) keep(out Outcome) {
	if len(out.Data) > outcomeMost || len(out.ClientData) > outcomeMost {
		return
	}
	out.Factors, out.AMR = slices.Clip(out.Factors), slices.Clip(out.AMR)
	k.recent.keep(out.OperationID, out)
}

// find is the outcome, if it is not older than outcomeLife.
func (k *outcomes) find(id string, now time.Time) (Outcome, bool) {
	out, ok := k.recent.find(id)
	return out, ok && now.Sub(out.At) < outcomeLife
}
