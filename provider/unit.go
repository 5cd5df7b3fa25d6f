package provider

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/db"
)

// unit is the unit of work of one request. fosite reads and writes it through
// storage as if it were the database; what it gathered is carried out by commit:
// one read of kv before, one transaction, one write to kv after.
type unit struct {
	p      *Provider
	client *client
	grant  *grantType
	form   url.Values

	use     *singleUse // what this request redeems: a code or an auth_req_id
	rotate  *rotation  // or the refresh token it uses
	from    *record    // what was redeemed or rotated stands for
	session *session   // from, as the handlers work on it

	access     string  // digest of the new access token
	accessRec  *record // and what it stands for
	code       string  // digest of the new code
	codeRec    *record
	familyID   string // of a new family of refresh tokens
	familyRec  []byte
	consumable bool // use names a real value: a failure from here on burns it

	coming *db.Coming // once it is known that commit will write
}

// singleUse is a value that may be redeemed once.
type singleUse struct {
	kind, hash string
	given      time.Time // when the client got it, or whom it waited for answered
	expires    time.Time
}

// rotation is the use of one generation of a refresh token.
type rotation struct {
	family     db.Family
	generation int64
}

type unitKey struct{}

// begin puts u into ctx for fosite's callbacks.
func (u *unit) begin(ctx context.Context) context.Context {
	return context.WithValue(ctx, unitKey{}, u)
}

// unitOf returns the request's unit of work; every call of fosite has one.
func unitOf(ctx context.Context) *unit { return ctx.Value(unitKey{}).(*unit) }

// commit carries out what the request gathered. The answer may be sent only
// when it returns nil; an error is one to send instead.
func (u *unit) commit(ctx context.Context) error {
	if u.use != nil || u.rotate != nil {
		var refused *protocolError
		err := u.p.db.Update(u.coming.With(ctx), func(tx *db.Tx) (err error) {
			if u.use != nil {
				refused, err = u.redeem(tx)
			} else {
				refused, err = u.refresh(tx)
			}
			return err
		})
		if err != nil {
			return unavailable(err)
		}
		if refused != nil {
			return refused
		}
	}
	if u.access == "" {
		return nil
	}
	now := u.p.clk.Now()
	u.accessRec.IssuedAt, u.accessRec.Expires = now.UnixMilli(), now.Add(accessLife).UnixMilli()
	// After the transaction: a token without its grant must never be found. If
	// this write fails, a code is spent and the flow starts again; a refresh
	// token gives the same successor within its grace.
	if err := u.p.kv.Create(ctx, accessKey(u.access), u.accessRec.encode(), accessLife); err != nil {
		return unavailable(err)
	}
	return nil
}

// redeem spends the single use and makes the grant, in one transaction. It
// returns the refusal to send; what it wrote by then stands.
func (u *unit) redeem(tx *db.Tx) (*protocolError, error) {
	r := u.from
	err := tx.Redeem(u.use.kind, u.use.hash, r.GrantID, u.use.expires)
	if errors.Is(err, db.ErrConflict) {
		return refuse(codeInvalidGrant, spent(u.use.kind)), u.p.revokeReused(tx, u.use)
	}
	if err != nil {
		return nil, err
	}
	if !tx.Now().Before(u.use.expires) {
		code := codeInvalidGrant
		if u.use.kind == kindAuthReqID {
			code = "expired_token" // CIBA Core section 11, approved or not
		}
		return refuse(code, "the "+name(u.use.kind)+" has expired"), nil
	}
	ok, err := tx.MayIssue(r.ClientID, r.UserID, r.DeviceID, r.authTime(), u.use.given)
	if err != nil {
		return nil, err
	}
	if !ok {
		return refuse(codeInvalidGrant, "the user, the device or the client was locked or removed since"), nil
	}
	if refused, err := u.withdrawn(tx); refused != nil || err != nil {
		return refused, err
	}
	if refused, err := u.approval(tx); refused != nil || err != nil {
		return refused, err
	}
	err = tx.InsertGrant(db.Grant{
		ID: r.GrantID, MerchantID: r.MerchantID, ClientID: r.ClientID, UserID: r.UserID, DeviceID: r.DeviceID,
		OperationID: r.OperationID, SID: r.SID, Offline: contains(r.Scopes, "offline_access"), CreatedAt: tx.Now(),
	})
	if err != nil {
		return nil, fmt.Errorf("provider: grant: %w", err)
	}
	if u.familyID != "" {
		err := tx.InsertFamily(db.Family{
			ID: u.familyID, GrantID: r.GrantID, ClientID: r.ClientID, Generation: 1,
			ExpiresAt: tx.Now().Add(refreshLife), Record: u.familyRec,
		})
		if err != nil {
			return nil, fmt.Errorf("provider: family: %w", err)
		}
	}
	return nil, u.p.audit.Append(tx, audit.Record{
		Act: "grant.created", Merchant: r.MerchantID, User: r.UserID, Device: r.DeviceID, Client: r.ClientID,
		Operation: r.OperationID, Session: r.SID, Details: map[string]string{"grant": r.GrantID, "by": u.use.kind},
	})
}

// withdrawn refuses a code whose login was ended since, or whose consent was
// withdrawn: what the user took back gives nothing any more.
func (u *unit) withdrawn(tx *db.Tx) (*protocolError, error) {
	r := u.from
	if r.SID != "" {
		gone, err := tx.IsRevoked(RevokedSID, r.SID)
		if err != nil {
			return nil, err
		}
		if gone {
			return refuse(codeInvalidGrant, "the user has logged out since"), nil
		}
	}
	if u.use.kind == kindCode && u.client.Settings.ThirdParty {
		ok, err := covered(tx, r.UserID, r.ClientID, consents(r.Scopes, r.IDClaims, r.InfoClaims))
		if err != nil {
			return nil, err
		}
		if !ok {
			return refuse(codeInvalidGrant, "the user has withdrawn the consent since"), nil
		}
	}
	return nil, nil
}

// refresh moves the family on. A token that was used before is either the lost
// reply of a moment ago, which gets the same successor again, or stolen: then
// the whole grant ends, and stays ended although the answer is an error
// (RFC 9700 section 4.14.2).
func (u *unit) refresh(tx *db.Tx) (*protocolError, error) {
	f, r := u.rotate.family, u.from
	live, err := tx.GrantLive(f.GrantID, r.authTime())
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return nil, err
	}
	if !live {
		return refuse(codeInvalidGrant, "the refresh token was revoked"), nil
	}
	if !tx.Now().Before(f.ExpiresAt) {
		return refuse(codeInvalidGrant, "the refresh token has expired"), nil
	}
	err = tx.RotateFamily(f.ID, u.rotate.generation, tx.Now().Add(refreshLife))
	if !errors.Is(err, db.ErrConflict) {
		return nil, err
	}
	now, err := tx.Family(f.ID)
	if err != nil {
		return nil, err
	}
	// The successor is the newest generation, so nobody has used it yet.
	if now.Generation == u.rotate.generation+1 && tx.Now().Sub(now.RotatedAt) <= grace {
		return nil, nil
	}
	return refuse(codeInvalidGrant, "the refresh token was used before; everything it gave is revoked"),
		u.p.revokeGrant(tx, f.GrantID, "refresh_token_reused")
}

// burn spends a real code that was presented wrongly: there is no second try
// with it, and if it had been redeemed, what it gave is revoked.
func (u *unit) burn(ctx context.Context) error {
	err := u.p.db.Update(ctx, func(tx *db.Tx) error {
		err := tx.Redeem(u.use.kind, u.use.hash, "", u.use.expires)
		if errors.Is(err, db.ErrConflict) {
			return u.p.revokeReused(tx, u.use)
		}
		return err
	})
	if err != nil {
		return unavailable(err)
	}
	return nil
}

// revokeReused ends the grant that a value gave which is now shown again
// (RFC 6749 section 4.1.2, CIBA Core section 11).
func (p *Provider) revokeReused(tx *db.Tx, use *singleUse) error {
	grantID, err := tx.RedeemedGrant(use.kind, use.hash)
	if errors.Is(err, db.ErrNotFound) || err == nil && grantID == "" {
		return nil
	}
	if err != nil {
		return err
	}
	return p.revokeGrant(tx, grantID, use.kind+"_reused")
}

// revokeGrant ends the grant and puts it on record, once.
func (p *Provider) revokeGrant(tx *db.Tx, grantID, reason string) error {
	g, err := tx.EndGrant(grantID)
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.audit.Append(tx, audit.Record{
		Act: "grant.revoked", Merchant: g.MerchantID, User: g.UserID, Device: g.DeviceID, Client: g.ClientID,
		Operation: g.OperationID, Session: g.SID, Details: map[string]string{"grant": grantID, "reason": reason},
	})
}

// RevokedSID is the kind under which the sid of a login that ended is withdrawn.
const RevokedSID = "sid"

// Kinds of single use; separate name spaces, in SQL as in kv.
const (
	kindCode      = "code"
	kindAuthReqID = "auth_req_id"
	kindApproval  = "approval" // of typed data, by operation
)

func name(kind string) string {
	if kind == kindCode {
		return "authorization code"
	}
	return kind
}

func spent(kind string) string { return "the " + name(kind) + " was used before" }

func accessKey(hash string) string { return "at/{" + hash + "}" }
func codeKey(hash string) string   { return "code/{" + hash + "}" }
