package channel

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"mobileid/internal/db"
	"mobileid/sdk/wire"
)

// syncHandler admits dev.sync; what it does is settle, inside the transaction.
func syncHandler() Handler {
	return Handler{
		StateChanging: true,
		AllowedStates: []string{db.DevicePending, db.DeviceActive, db.DeviceBlocked, db.DeviceLocked},
		Prepare:       func(context.Context, *Call) (Plan, *wire.Error, error) { return Plan{}, nil, nil },
	}
}

func decodeSync(body json.RawMessage) (*wire.Sync, error) {
	var s wire.Sync
	if err := wire.Unmarshal(body, &s); err != nil {
		return nil, err
	}
	if len(s.Syncs) >= abandonedMost {
		return nil, errors.New("dev.sync names too many requests")
	}
	for _, t := range append([]wire.Try{s.Try}, s.Syncs...) {
		if !wire.ValidRandom(t.JTI) {
			return nil, errors.New("jti")
		}
		if _, err := wire.Decode32(t.RH); err != nil {
			return nil, err
		}
	}
	return &s, nil
}

// settle tells what became of the request that sync names and declares every
// named request over, so that none of them can count or alarm any more.
func settle(c *db.Chain, sync *wire.Sync, v verdict) (wire.Result, error) {
	spender := c.LastJTI
	gone := strings.Fields(c.AbandonedJTI)
	gone = append(gone, sync.JTI)
	for _, t := range sync.Syncs {
		gone = append(gone, t.JTI)
	}
	if len(gone) > abandonedMost {
		gone = gone[len(gone)-abandonedMost:]
	}
	c.AbandonedJTI = strings.Join(gone, " ")
	switch {
	case v == current:
		return refused(&wire.Error{Code: wire.NotSeen}), nil
	case spender == sync.JTI:
		return wire.Result{St: wire.StatusOK, Body: c.LastResult}, nil
	}
	// An earlier dev.sync spent the head: its own result already wraps the call's.
	var res wire.Result
	err := json.Unmarshal(c.LastResult, &res)
	return res, err
}
