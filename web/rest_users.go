package web

import (
	"context"
	"strconv"
	"strings"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/identity"
	"mobileid/web/api"
)

// rest1 answers the calls of the contract, version 1.
type rest1 struct{ *Server }

var _ api.StrictServerInterface = (*rest1)(nil)

// wireTime is a time as the API tells it.
func wireTime(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Millisecond)
}

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// versionOf is the version that an If-Match names; 0 if none is given.
func versionOf(ifMatch string) (int64, error) {
	if ifMatch == "" || ifMatch == "*" {
		return 0, nil
	}
	text, ok := strings.CutPrefix(ifMatch, `"`)
	text, ok2 := strings.CutSuffix(text, `"`)
	v, err := strconv.ParseInt(text, 10, 64)
	if !ok || !ok2 || err != nil || v < 1 {
		// Not an ETag of ours, so nothing has it (RFC 9110 section 13.1.1).
		return 0, fault.New(fault.VersionConflict, "If-Match is no ETag of this")
	}
	return v, nil
}

func proofingOf(p api.Proofing) db.Proofing {
	return db.Proofing{Reference: p.Reference, Method: p.Method}
}

func userBody(u db.User) api.User {
	out := api.User{ID: u.ID, ExternalRef: u.ExternalRef, State: api.UserState(u.State), Attributes: u.Attributes, CreatedAt: wireTime(u.CreatedAt)}
	out.Proofing = api.Proofing{Reference: u.Proofing.Reference, Method: u.Proofing.Method}
	return out
}

func userFound(u db.User) api.UserFoundJSONResponse {
	return api.UserFoundJSONResponse{Body: userBody(u), Headers: api.UserFoundResponseHeaders{ETag: etag(u.Version)}}
}

func (s *rest1) CreateUser(ctx context.Context, r api.CreateUserRequestObject) (api.CreateUserResponseObject, error) {
	at := callerOf(ctx)
	u, err := s.Users.AddUser(ctx, at.MerchantID, identity.NewUser{ID: at.newID, ExternalRef: r.Body.ExternalRef, Attributes: r.Body.Attributes, Proofing: proofingOf(r.Body.Proofing)})
	if err != nil {
		return nil, err
	}
	return api.CreateUser201JSONResponse{UserCreatedJSONResponse: api.UserCreatedJSONResponse{Body: userBody(u),
		Headers: api.UserCreatedResponseHeaders{ETag: etag(u.Version), Location: apiBase + "/users/" + u.ID}}}, nil
}

func (s *rest1) ListUsers(ctx context.Context, r api.ListUsersRequestObject) (api.ListUsersResponseObject, error) {
	at, q := callerOf(ctx), r.Params
	of := []string{"users", at.MerchantID, string(q.State), q.Search}
	after, limit, err := s.pageOf(q.Cursor, db.Newest(), q.Limit, of...)
	if err != nil {
		return nil, err
	}
	var users []db.User
	err = s.DB.View(ctx, func(tx *db.Tx) (err error) {
		users, err = tx.Users(at.MerchantID, string(q.State), q.Search, after, limit+1)
		return err
	})
	if err != nil {
		return nil, err
	}
	users, more := cut(users, limit)
	out := api.ListUsers200JSONResponse{Items: []api.User{}}
	for _, u := range users {
		out.Items = append(out.Items, userBody(u))
	}
	if more {
		last := users[len(users)-1]
		out.Next = s.cursor(last.CreatedAt, last.ID, of...)
	}
	return out, nil
}

func (s *rest1) ResolveUser(ctx context.Context, r api.ResolveUserRequestObject) (api.ResolveUserResponseObject, error) {
	if err := identity.CheckRef(r.Body.ExternalRef); err != nil {
		return nil, err
	}
	u, err := s.Users.Resolve(ctx, callerOf(ctx).MerchantID, identity.Hint{ExternalRef: r.Body.ExternalRef})
	return api.ResolveUser200JSONResponse{UserFoundJSONResponse: userFound(u)}, err
}

func (s *rest1) GetUser(ctx context.Context, r api.GetUserRequestObject) (api.GetUserResponseObject, error) {
	u, err := s.Users.User(ctx, callerOf(ctx).MerchantID, r.ID)
	return api.GetUser200JSONResponse{UserFoundJSONResponse: userFound(u)}, err
}

func (s *rest1) UpdateUser(ctx context.Context, r api.UpdateUserRequestObject) (api.UpdateUserResponseObject, error) {
	version, err := versionOf(r.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	u, err := s.Users.ChangeUser(ctx, callerOf(ctx).MerchantID, r.ID, version, func(u *db.User) error {
		body := userBody(*u)
		next, err := edited(s.contract.schema("UserEdit"), api.UserEdit{Attributes: body.Attributes, Proofing: body.Proofing}, callerOf(ctx).patch)
		if err != nil {
			return err
		}
		u.Attributes, u.Proofing = next.Attributes, proofingOf(next.Proofing)
		return nil
	})
	return api.UpdateUser200JSONResponse{UserFoundJSONResponse: userFound(u)}, err
}

func (s *rest1) LockUser(ctx context.Context, r api.LockUserRequestObject) (api.LockUserResponseObject, error) {
	u, err := s.Flows.SetUserState(ctx, callerOf(ctx).MerchantID, r.ID, db.UserLocked)
	return api.LockUser200JSONResponse{UserFoundJSONResponse: userFound(u)}, err
}

func (s *rest1) UnlockUser(ctx context.Context, r api.UnlockUserRequestObject) (api.UnlockUserResponseObject, error) {
	u, err := s.Flows.SetUserState(ctx, callerOf(ctx).MerchantID, r.ID, db.UserActive)
	return api.UnlockUser200JSONResponse{UserFoundJSONResponse: userFound(u)}, err
}

func (s *rest1) DeactivateUser(ctx context.Context, r api.DeactivateUserRequestObject) (api.DeactivateUserResponseObject, error) {
	u, err := s.Flows.SetUserState(ctx, callerOf(ctx).MerchantID, r.ID, db.UserDeactivated)
	return api.DeactivateUser200JSONResponse{UserFoundJSONResponse: userFound(u)}, err
}

func (s *rest1) ListUserDevices(ctx context.Context, r api.ListUserDevicesRequestObject) (api.ListUserDevicesResponseObject, error) {
	out := api.ListUserDevices200JSONResponse{Items: []api.Device{}}
	err := s.DB.View(ctx, func(tx *db.Tx) error {
		if _, err := identity.UserIn(tx, callerOf(ctx).MerchantID, r.ID); err != nil {
			return err
		}
		all, err := tx.DevicesOf(r.ID)
		for i := len(all) - 1; i >= 0; i-- {
			out.Items = append(out.Items, deviceBody(all[i], false))
		}
		return err
	})
	return out, err
}

func (s *rest1) ListUserTransactions(ctx context.Context, r api.ListUserTransactionsRequestObject) (api.ListUserTransactionsResponseObject, error) {
	if _, err := s.Users.User(ctx, callerOf(ctx).MerchantID, r.ID); err != nil {
		return nil, err
	}
	out, err := s.transactions(ctx, r.ID, "", r.Params.Cursor, r.Params.Limit)
	return api.ListUserTransactions200JSONResponse{TransactionsJSONResponse: out}, err
}
