package provider

import (
	"context"
	"errors"
	"net/url"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/kv"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/handler/pkce"
)

// storage is fosite's view of the unit of work in ctx. Of a code it reads one
// record for what fosite keeps in three; deleting and invalidating are the
// transaction's business, so those calls do nothing.
type storage struct {
	p *Provider
}

var _ interface {
	oauth2.CoreStorage
	oauth2.TokenRevocationStorage
	pkce.PKCERequestStorage
	openid.OpenIDConnectRequestStorage
} = storage{}

// errNotUsed answers calls that no handler of ours makes.
var errNotUsed = errors.New("provider: fosite called what is not composed")

// CreateAuthorizeCodeSession notes what the new code stands for.
func (storage) CreateAuthorizeCodeSession(ctx context.Context, hash string, req fosite.Requester) error {
	u := unitOf(ctx)
	r := req.GetSession().(*session).record
	r.Scopes = req.GetGrantedScopes()
	r.RedirectURI = req.GetRequestForm().Get("redirect_uri")
	u.code, u.codeRec = hash, &r
	return nil
}

// GetAuthorizeCodeSession reads the code's record, once a request. That it is
// there proves nothing: the transaction's redemption does.
func (s storage) GetAuthorizeCodeSession(ctx context.Context, hash string, _ fosite.Session) (fosite.Requester, error) {
	u := unitOf(ctx)
	if u.from == nil {
		if err := s.readCode(ctx, u, hash); err != nil {
			return nil, err
		}
	}
	return u.requester(), nil
}

func (s storage) readCode(ctx context.Context, u *unit, hash string) error {
	u.use = &singleUse{kind: kindCode, hash: hash}
	val, err := s.p.kv.Get(ctx, codeKey(hash))
	if errors.Is(err, kv.ErrNotFound) {
		return s.goneCode(ctx, u)
	}
	if err != nil {
		return unavailable(err)
	}
	r, err := decodeRecord(val)
	if err != nil {
		return err
	}
	u.from, u.consumable = r, true
	u.use.given, u.use.expires = time.UnixMilli(r.IssuedAt), r.expires()
	return nil
}

// goneCode answers for a code whose record is no more: a late replay still ends
// what the code gave.
func (s storage) goneCode(ctx context.Context, u *unit) error {
	err := s.p.db.View(ctx, func(tx *db.Tx) error {
		_, err := tx.RedeemedGrant(u.use.kind, u.use.hash)
		return err
	})
	if errors.Is(err, db.ErrNotFound) {
		return refuse(codeInvalidGrant, "the authorization code is unknown or has expired")
	}
	if err != nil {
		return unavailable(err)
	}
	u.consumable = true
	return refuse(codeInvalidGrant, spent(kindCode))
}

func (storage) InvalidateAuthorizeCodeSession(context.Context, string) error { return nil }

// CreatePKCERequestSession adds the challenge to the code's record.
func (storage) CreatePKCERequestSession(ctx context.Context, _ string, req fosite.Requester) error {
	unitOf(ctx).codeRec.Challenge = req.GetRequestForm().Get("code_challenge")
	return nil
}

func (storage) GetPKCERequestSession(context.Context, string, fosite.Session) (fosite.Requester, error) {
	return nil, errNotUsed // proofHandler has the record
}

func (storage) DeletePKCERequestSession(context.Context, string) error { return errNotUsed }

func (storage) CreateOpenIDConnectSession(context.Context, string, fosite.Requester) error {
	return nil
}

// GetOpenIDConnectSession returns the code's record, with the session that the
// handlers work on.
func (storage) GetOpenIDConnectSession(_ context.Context, _ string, req fosite.Requester) (fosite.Requester, error) {
	return req, nil
}

func (storage) DeleteOpenIDConnectSession(context.Context, string) error { return nil }

// CreateAccessTokenSession notes what the new access token stands for: only
// what those who are shown one ask.
func (storage) CreateAccessTokenSession(ctx context.Context, hash string, req fosite.Requester) error {
	u := unitOf(ctx)
	if hash == "" {
		return nil // a JWT
	}
	r := req.GetSession().(*session)
	u.access = hash
	u.accessRec = &record{
		ClientID: u.client.ID, MerchantID: u.client.MerchantID, GrantID: r.GrantID, UserID: r.UserID,
		Scopes: req.GetGrantedScopes(), AuthTime: r.AuthTime, ACR: r.ACR, AMR: r.AMR, SID: r.SID, InfoClaims: r.InfoClaims, Details: r.Details,
	}
	return nil
}

func (storage) GetAccessTokenSession(context.Context, string, fosite.Session) (fosite.Requester, error) {
	return nil, errNotUsed
}

func (storage) DeleteAccessTokenSession(context.Context, string) error { return errNotUsed }

// CreateRefreshTokenSession notes what a new family stands for. A family that
// exists keeps its record: a refresh token's scope never changes (RFC 6749
// section 6).
func (storage) CreateRefreshTokenSession(ctx context.Context, _, _ string, req fosite.Requester) error {
	u := unitOf(ctx)
	if u.rotate != nil {
		return nil
	}
	r := req.GetSession().(*session).record
	r.Scopes = req.GetGrantedScopes()
	r.Nonce, r.RedirectURI, r.Challenge = "", "", "" // the first ID token's and the code's
	r.Expires = 0
	u.familyRec = r.encode()
	return nil
}

// GetRefreshTokenSession returns what the refresh token stands for, narrowed to
// the scopes asked for; refreshHandler has read it.
func (storage) GetRefreshTokenSession(ctx context.Context, _ string, _ fosite.Session) (fosite.Requester, error) {
	return unitOf(ctx).requester(), nil
}

func (storage) DeleteRefreshTokenSession(context.Context, string) error { return errNotUsed }

func (storage) RotateRefreshToken(context.Context, string, string) error { return nil }

func (storage) RevokeRefreshToken(context.Context, string) error { return errNotUsed }

func (storage) RevokeAccessToken(context.Context, string) error { return errNotUsed }

// requester dresses the record that is redeemed or rotated as the request that
// made it, with one session for all who ask. Its client is compared with the one
// that authenticated.
func (u *unit) requester() *fosite.Request {
	c := u.client
	if u.from.ClientID != c.ID {
		c = &client{Client: &db.Client{ID: u.from.ClientID}}
	}
	form := url.Values{}
	if u.from.RedirectURI != "" {
		form.Set("redirect_uri", u.from.RedirectURI)
	}
	if u.session == nil {
		u.session = &session{record: *u.from}
	}
	return &fosite.Request{
		ID: u.from.GrantID, Client: c, RequestedScope: u.from.Scopes, GrantedScope: u.from.Scopes,
		Form: form, Session: u.session,
	}
}
