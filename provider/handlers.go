package provider

import (
	"context"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
)

// codeTokenHandler is fosite's ID token for a code, left out where openid was
// not granted and without the stack trace of a handler that does not apply.
type codeTokenHandler struct {
	*openid.OpenIDConnectExplicitHandler
}

func (codeTokenHandler) HandleTokenEndpointRequest(context.Context, fosite.AccessRequester) error {
	return fosite.ErrUnknownRequest
}

func (h codeTokenHandler) PopulateTokenEndpointResponse(ctx context.Context, req fosite.AccessRequester, resp fosite.AccessResponder) error {
	if !contains(req.GetGrantedScopes(), "openid") {
		return nil
	}
	return h.OpenIDConnectExplicitHandler.PopulateTokenEndpointResponse(ctx, req, resp)
}

// refreshHandler reads the refresh token's family before fosite's handler goes
// on. Whether the token is still the newest is for the transaction to say.
type refreshHandler struct {
	*oauth2.RefreshTokenGrantHandler
}

func (h refreshHandler) HandleTokenEndpointRequest(ctx context.Context, req fosite.AccessRequester) error {
	u := unitOf(ctx)
	family, generation, err := u.p.familyOf(ctx, u.form.Get("refresh_token"))
	if err != nil {
		return err
	}
	if family == nil {
		return refuse(codeInvalidGrant, "the refresh token is unknown or has expired")
	}
	// Before anything is concluded from its use: another client that got hold of
	// the token can neither use it nor end its owner's session.
	if family.ClientID != u.client.ID {
		return refuse(codeInvalidGrant, "the refresh token was issued to another client")
	}
	if u.from, err = decodeRecord(family.Record); err != nil {
		return err
	}
	u.rotate = &rotation{*family, generation}
	if asked := req.GetRequestedScopes(); len(asked) > 0 {
		// fosite ignores a narrower scope (RFC 6749 section 6).
		for _, s := range asked {
			if !contains(u.from.Scopes, s) {
				return refuse(codeInvalidScope, "scope "+s+" was not granted; a refresh cannot add to the grant")
			}
		}
		u.from.Scopes = asked
	}
	return h.RefreshTokenGrantHandler.HandleTokenEndpointRequest(ctx, req)
}

// refreshTokenHandler is fosite's ID token for a refresh, likewise.
type refreshTokenHandler struct {
	*openid.OpenIDConnectRefreshHandler
}

func (h refreshTokenHandler) HandleTokenEndpointRequest(ctx context.Context, req fosite.AccessRequester) error {
	if !contains(req.GetGrantedScopes(), "openid") {
		return fosite.ErrUnknownRequest
	}
	return h.OpenIDConnectRefreshHandler.HandleTokenEndpointRequest(ctx, req)
}

func (h refreshTokenHandler) PopulateTokenEndpointResponse(ctx context.Context, req fosite.AccessRequester, resp fosite.AccessResponder) error {
	if !contains(req.GetGrantedScopes(), "openid") {
		return nil
	}
	return h.OpenIDConnectRefreshHandler.PopulateTokenEndpointResponse(ctx, req, resp)
}

// clientHandler is fosite's client_credentials with scopes granted: those asked
// for, or all the client has that mean something without a user.
type clientHandler struct {
	*oauth2.ClientCredentialsGrantHandler
}

func (h clientHandler) HandleTokenEndpointRequest(ctx context.Context, req fosite.AccessRequester) error {
	if err := h.ClientCredentialsGrantHandler.HandleTokenEndpointRequest(ctx, req); err != nil {
		return err
	}
	for _, s := range req.GetRequestedScopes() {
		if aboutUser(s) {
			return refuse(codeInvalidScope, "scope "+s+" needs a user, and client_credentials has none")
		}
		req.GrantScope(s)
	}
	if len(req.GetRequestedScopes()) == 0 {
		for _, s := range unitOf(ctx).client.Settings.Scopes {
			if !aboutUser(s) {
				req.GrantScope(s)
			}
		}
	}
	return nil
}
