package flows

import (
	"context"

	"mobileid/internal/channel"
	"mobileid/internal/db"
	"mobileid/internal/operation"
	"mobileid/sdk/wire"
)

// pastShown is how many decided operations a phone is told of.
const pastShown = 20

// Handlers are the calls of mid/1 that this package serves.
func (f *Flows) Handlers() map[string]channel.Handler {
	return map[string]channel.Handler{
		wire.OpHistory: {AllowedStates: []string{db.DeviceActive}, Prepare: f.prepareHistory},
		wire.OpRemove:  {StateChanging: true, AllowedStates: []string{db.DeviceActive, db.DeviceBlocked}, Prepare: f.prepareRemove},
	}
}

// prepareHistory tells what was decided about the phone's user, newest first, by
// whichever phone.
func (f *Flows) prepareHistory(ctx context.Context, c *channel.Call) (channel.Plan, *wire.Error, error) {
	if werr := c.Decode(&wire.History{}); werr != nil {
		return channel.Plan{}, werr, nil
	}
	reply := wire.HistoryReply{Ops: []wire.Past{}}
	err := f.DB.View(ctx, func(tx *db.Tx) error {
		reply.Ops = reply.Ops[:0]
		all, err := tx.DecisionsOf(c.Device.UserID, "", db.Newest(), pastShown)
		if err != nil {
			return err
		}
		names := map[string]string{}
		for _, d := range all {
			name, known := names[d.ClientID]
			if !known && d.ClientID != "" {
				client, err := tx.Client(d.ClientID)
				if err != nil {
					return err
				}
				name = client.Name
				names[d.ClientID] = name
			}
			p := wire.Past{Txn: d.OperationID, ClientID: d.ClientID, Client: name, Kind: d.Kind, State: d.State, At: d.At.Unix()}
			switch d.DeviceID {
			case "":
			case c.Device.ID:
				p.By = "this"
			default:
				p.By = "other"
			}
			reply.Ops = append(reply.Ops, p)
		}
		return nil
	})
	return channel.Plan{Reply: reply}, nil, err
}

// prepareRemove deactivates the phone at its own wish: whoever holds it may give
// it up, with or without its PIN.
func (f *Flows) prepareRemove(_ context.Context, c *channel.Call) (channel.Plan, *wire.Error, error) {
	if werr := c.Decode(&wire.Remove{}); werr != nil {
		return channel.Plan{}, werr, nil
	}
	gone := operation.Withdrawal{UserID: c.Device.UserID, DeviceID: c.Device.ID}
	return channel.Plan{
		Commit: func(tx *db.Tx, dev *db.Device) (any, *wire.Error, error) {
			if _, err := f.moveDevice(tx, dev.MerchantID, dev.ID, db.DeviceDeactivated, "by the user, on the phone"); err != nil {
				return nil, nil, err
			}
			return wire.Changed{}, nil, withdrawIn(tx, &gone)
		},
		After: func(ctx context.Context) { f.withdrawNow(ctx, gone) },
	}, nil, nil
}
