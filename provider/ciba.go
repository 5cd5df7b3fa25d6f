package provider

import (
	"context"
	"errors"

	"mobileid/flows"
	"mobileid/internal/db"
	"mobileid/internal/fault"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/openid"
)

// cibaHandler is the CIBA grant (CIBA Core section 10.1), poll mode, as a
// handler of fosite.
type cibaHandler struct {
	p        *Provider
	tokens   strategy
	idTokens *openid.IDTokenHandleHelper
}

var _ fosite.TokenEndpointHandler = cibaHandler{}

func (cibaHandler) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool { return false }

func (cibaHandler) CanHandleTokenEndpointRequest(_ context.Context, req fosite.AccessRequester) bool {
	return req.GetGrantTypes().ExactOne(grantCIBA)
}

// HandleTokenEndpointRequest waits for the outcome and takes it as the session.
// That it is there does not make it this request's: the transaction's
// redemption does.
func (h cibaHandler) HandleTokenEndpointRequest(ctx context.Context, req fosite.AccessRequester) error {
	u := unitOf(ctx)
	id := u.form.Get("auth_req_id")
	st, err := h.p.flows.PollBackchannel(ctx, id, u.client.ID, longPoll)
	if err != nil {
		if fault.KindOf(err) == fault.Internal {
			return err
		}
		return unavailable(err)
	}
	switch st.Status {
	case flows.StatusApproved:
	case flows.StatusPending:
		return refuse("authorization_pending", "the user has not answered yet")
	case flows.StatusSlowDown:
		return refuse("slow_down", "polled too fast or twice at once; wait 5 seconds longer between polls")
	case flows.StatusDenied:
		return refuse(codeAccessDenied, "the user or the server denied the request")
	case flows.StatusExpired:
		return refuse("expired_token", "the request ended without an answer; start a new one")
	default:
		return h.unknown(ctx, u, id)
	}
	u.coming = h.p.db.Coming()
	o := st.Outcome
	u.use = &singleUse{kind: kindAuthReqID, hash: requestDigest(u.client.ID, id), given: o.At, expires: st.Expires}
	u.from = &record{
		ClientID: u.client.ID, MerchantID: u.client.MerchantID, GrantID: db.NewSerialID("grt_"),
		UserID: o.UserID, DeviceID: o.DeviceID, OperationID: o.OperationID, Scopes: st.Scopes,
		AuthTime: o.At.UnixMilli(), AMR: o.AMR, ACR: o.ACR, SCA: o.SCA,
	}
	if st.Details != "" || o.DataHash != "" {
		u.from.Details, u.from.ViewHash, u.from.DataHash = st.Details, o.ViewHash, o.DataHash
	}
	req.SetSession(&session{record: *u.from})
	req.SetID(u.from.GrantID)
	for _, s := range st.Scopes {
		req.GrantScope(s)
	}
	return nil
}

// unknown answers for a request that flows does not know, or not from this
// client. If this client redeemed it before, what it gave is revoked.
func (h cibaHandler) unknown(ctx context.Context, u *unit, id string) error {
	use := &singleUse{kind: kindAuthReqID, hash: requestDigest(u.client.ID, id)}
	err := h.p.db.View(ctx, func(tx *db.Tx) error {
		_, err := tx.RedeemedGrant(use.kind, use.hash)
		return err
	})
	switch {
	case err == nil:
		u.use, u.consumable = use, true
	case !errors.Is(err, db.ErrNotFound):
		return unavailable(err)
	}
	return refuse(codeInvalidGrant, "auth_req_id is unknown, was used, or belongs to another client")
}

// requestDigest is how a redeemed auth_req_id is known: together with its
// client, so that another one that shows it finds nothing and ends nothing.
func requestDigest(clientID, id string) string { return digest(clientID + " " + id) }

// PopulateTokenEndpointResponse makes the tokens.
func (h cibaHandler) PopulateTokenEndpointResponse(ctx context.Context, req fosite.AccessRequester, resp fosite.AccessResponder) error {
	token, hash, err := h.tokens.GenerateAccessToken(ctx, req)
	if err != nil {
		return err
	}
	store := storage{h.p}
	if err := store.CreateAccessTokenSession(ctx, hash, req); err != nil {
		return err
	}
	resp.SetAccessToken(token)
	resp.SetTokenType("bearer")
	resp.SetExpiresIn(accessLife)
	resp.SetScopes(req.GetGrantedScopes())
	if unitOf(ctx).client.mayUse(grantToken) {
		refresh, _, err := h.tokens.GenerateRefreshToken(ctx, req)
		if err != nil {
			return err
		}
		if err := store.CreateRefreshTokenSession(ctx, "", hash, req); err != nil {
			return err
		}
		resp.SetExtra("refresh_token", refresh)
	}
	req.GetSession().(*session).claims.AccessTokenHash = h.idTokens.GetAccessTokenHash(ctx, req, resp)
	return h.idTokens.IssueExplicitIDToken(ctx, idTokenLife, req, resp)
}
