package web

import (
	"context"
	"encoding/json"

	"mobileid/internal/db"
	"mobileid/internal/operation"
	"mobileid/web/api"
)

// deviceBody is a device as its merchant sees it: nothing of its keys, and nothing
// that a message of it could be made with.
func deviceBody(d db.Device, detailed bool) api.Device {
	out := api.Device{ID: d.ID, UserID: d.UserID, AppID: d.AppID, State: api.DeviceState(d.State), Name: d.Name, Platform: d.Platform,
		CreatedAt: wireTime(d.CreatedAt), ActivatedAt: wireTime(d.ActivatedAt)}
	if d.State == db.DeviceBlocked {
		out.BlockedUntil = wireTime(d.BlockedUntil)
	}
	if detailed {
		out.Details = api.DeviceDetails{Possession: d.Pos, RegisteredBy: d.Enrol, RegistrationID: d.OperationID, Failures: int(d.Failures),
			FailureLimit: int(d.MaxFailures), LastSeenAt: wireTime(d.Chain.IssuedAt)}
	}
	return out
}

func deviceFound(d db.Device) api.DeviceFoundJSONResponse {
	return api.DeviceFoundJSONResponse(deviceBody(d, false))
}

func (s *rest1) ListDevices(ctx context.Context, r api.ListDevicesRequestObject) (api.ListDevicesResponseObject, error) {
	at, q := callerOf(ctx), r.Params
	of := []string{"devices", at.MerchantID, string(q.State)}
	after, limit, err := s.pageOf(q.Cursor, db.Newest(), q.Limit, of...)
	if err != nil {
		return nil, err
	}
	var devices []db.Device
	err = s.DB.View(ctx, func(tx *db.Tx) (err error) {
		devices, err = tx.Devices(at.MerchantID, string(q.State), after, limit+1)
		return err
	})
	if err != nil {
		return nil, err
	}
	devices, more := cut(devices, limit)
	out := api.ListDevices200JSONResponse{Items: []api.Device{}}
	for _, d := range devices {
		out.Items = append(out.Items, deviceBody(d, false))
	}
	if more {
		last := devices[len(devices)-1]
		out.Next = s.cursor(last.CreatedAt, last.ID, of...)
	}
	return out, nil
}

func (s *rest1) GetDevice(ctx context.Context, r api.GetDeviceRequestObject) (api.GetDeviceResponseObject, error) {
	d, err := s.Users.Device(ctx, callerOf(ctx).MerchantID, r.ID)
	return api.GetDevice200JSONResponse{DeviceFoundJSONResponse: api.DeviceFoundJSONResponse(deviceBody(d, r.Params.Detailed))}, err
}

func (s *rest1) UpdateDevice(ctx context.Context, r api.UpdateDeviceRequestObject) (api.UpdateDeviceResponseObject, error) {
	d, err := s.Users.RenameDevice(ctx, callerOf(ctx).MerchantID, r.ID, r.Body.Name)
	return api.UpdateDevice200JSONResponse{DeviceFoundJSONResponse: deviceFound(d)}, err
}

func (s *rest1) LockDevice(ctx context.Context, r api.LockDeviceRequestObject) (api.LockDeviceResponseObject, error) {
	d, err := s.Flows.SetDeviceState(ctx, callerOf(ctx).MerchantID, r.ID, db.DeviceLocked)
	return api.LockDevice200JSONResponse{DeviceFoundJSONResponse: deviceFound(d)}, err
}

func (s *rest1) UnlockDevice(ctx context.Context, r api.UnlockDeviceRequestObject) (api.UnlockDeviceResponseObject, error) {
	d, err := s.Flows.SetDeviceState(ctx, callerOf(ctx).MerchantID, r.ID, db.DeviceActive)
	return api.UnlockDevice200JSONResponse{DeviceFoundJSONResponse: deviceFound(d)}, err
}

func (s *rest1) DeactivateDevice(ctx context.Context, r api.DeactivateDeviceRequestObject) (api.DeactivateDeviceResponseObject, error) {
	d, err := s.Flows.SetDeviceState(ctx, callerOf(ctx).MerchantID, r.ID, db.DeviceDeactivated)
	return api.DeactivateDevice200JSONResponse{DeviceFoundJSONResponse: deviceFound(d)}, err
}

func (s *rest1) ListDeviceTransactions(ctx context.Context, r api.ListDeviceTransactionsRequestObject) (api.ListDeviceTransactionsResponseObject, error) {
	d, err := s.Users.Device(ctx, callerOf(ctx).MerchantID, r.ID)
	if err != nil {
		return nil, err
	}
	out, err := s.transactions(ctx, d.UserID, d.ID, r.Params.Cursor, r.Params.Limit)
	return api.ListDeviceTransactions200JSONResponse{TransactionsJSONResponse: out}, err
}

// transactions is a page of what was decided about a user, or by one device.
func (s *rest1) transactions(ctx context.Context, userID, deviceID, cursor string, limit int) (api.TransactionsJSONResponse, error) {
	out := api.TransactionsJSONResponse{Items: []api.Transaction{}}
	of := []string{"transactions", userID, deviceID}
	after, limit, err := s.pageOf(cursor, db.Newest(), limit, of...)
	if err != nil {
		return out, err
	}
	var rows []db.Decision
	err = s.DB.View(ctx, func(tx *db.Tx) (err error) {
		rows, err = tx.DecisionsOf(userID, deviceID, after, limit+1)
		return err
	})
	if err != nil {
		return out, err
	}
	rows, more := cut(rows, limit)
	for _, d := range rows {
		var o operation.Outcome
		if err := json.Unmarshal(d.Outcome, &o); err != nil {
			return out, err
		}
		out.Items = append(out.Items, api.Transaction{ID: d.OperationID, Kind: d.Kind, State: api.OperationState(d.State), UserID: d.UserID, DeviceID: d.DeviceID,
			ClientID: d.ClientID, Reason: o.Reason, At: wireTime(d.At), Amr: o.AMR, Acr: o.ACR})
	}
	if more {
		last := rows[len(rows)-1]
		out.Next = s.cursor(last.At, last.OperationID, of...)
	}
	return out, nil
}

func (s *rest1) ListEvents(ctx context.Context, r api.ListEventsRequestObject) (api.ListEventsResponseObject, error) {
	at, q := callerOf(ctx), r.Params
	of := []string{"events", at.MerchantID}
	after, limit, err := s.pageOf(q.Cursor, db.After{}, q.Limit, of...)
	if err != nil {
		return nil, err
	}
	var events []db.Event
	err = s.DB.View(ctx, func(tx *db.Tx) (err error) {
		events, err = tx.EventsAfter(at.MerchantID, after, limit)
		return err
	})
	out := api.ListEvents200JSONResponse{Items: []api.Event{}, Next: q.Cursor}
	for _, e := range events {
		out.Items = append(out.Items, api.Event{ID: e.ID, Type: e.Type, At: wireTime(e.At), UserID: e.UserID, DeviceID: e.DeviceID, OperationID: e.OperationID, Data: e.Data})
		out.Next = s.cursor(e.At, e.ID, of...)
	}
	return out, err
}
