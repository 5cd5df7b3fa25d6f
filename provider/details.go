package provider

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"mobileid/flows"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/operation"
	"mobileid/internal/view"
)

// paramDetails is the parameter of RFC 9396 section 2.
const paramDetails = flows.ParamDetails

// approvalLife is how long an approval is remembered as used: longer than any
// code or auth_req_id that it could be shown with.
const approvalLife = time.Hour

// clientDetails reads the authorization details of a request: what is wrong with
// them is invalid_authorization_details and names the member.
func (p *Provider) clientDetails(ctx context.Context, c *db.Client, text string) (*view.Details, error) {
	if text == "" {
		return nil, nil
	}
	d, err := view.ParseDetails(paramDetails, []byte(text), c.Settings.DetailsTypes)
	if err == nil {
		err = p.flows.CheckDetails(ctx, c, paramDetails, d)
	}
	if e, ok := errors.AsType[*fault.Error](err); ok && e.Kind == fault.Invalid {
		return nil, refuse(codeInvalidDetails, e.Message)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return d, nil
}

// readDetails is clientDetails of an authorize request.
func (p *Provider) readDetails(ctx context.Context, req *AuthorizeRequest) (err error) {
	req.Details, err = p.clientDetails(ctx, req.Client, req.Form.Get(paramDetails))
	if err != nil {
		return req.refused(err)
	}
	return nil
}

// hashDetails is the hash that a phone signs over typed data.
func hashDetails(canonical string) string {
	sum := sha256.Sum256([]byte(canonical))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// startedFor reports whether out is the approval of exactly what the request asks
// for, and by whom it says.
func (req *AuthorizeRequest) startedFor(out *operation.Outcome, a *Authenticated) bool {
	return out.Approved() && out.ClientID == req.Client.ID && out.UserID == a.UserID && out.DataHash == hashDetails(string(req.Details.Canonical))
}

// approvedDetails adds to r what the operation says about the request's details,
// or refuses if it is not the approval of these.
func (p *Provider) approvedDetails(ctx context.Context, req *AuthorizeRequest, a *Authenticated, r *record) error {
	if req.Details == nil {
		return nil
	}
	var out operation.Outcome
	err := p.db.View(ctx, func(tx *db.Tx) (err error) {
		out, err = operation.OutcomeOf(tx, a.OperationID)
		return err
	})
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return unavailable(err)
	}
	if err != nil || !req.startedFor(&out, a) {
		return req.fail(codeAccessDenied, "the user has not approved these authorization details")
	}
	r.Details, r.ViewHash, r.DataHash = string(req.Details.Canonical), out.ViewHash, out.DataHash
	return nil
}

// approval refuses details that are not, byte for byte, what the phone signed, and
// spends the approval: it gives one grant (PSD2 RTS articles 4(1) and 5(1)).
func (u *unit) approval(tx *db.Tx) (*protocolError, error) {
	r := u.from
	if r.Details == "" && r.DataHash == "" {
		return nil, nil
	}
	out, err := operation.OutcomeOf(tx, r.OperationID)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return nil, err
	}
	if err != nil || !out.Approved() || out.ClientID != r.ClientID || out.UserID != r.UserID || out.ViewHash != r.ViewHash ||
		out.DataHash != r.DataHash || out.DataHash != hashDetails(r.Details) {
		return refuse(codeInvalidGrant, "the authorization details are not those that the user approved"), nil
	}
	err = tx.Redeem(kindApproval, r.OperationID, r.GrantID, tx.Now().Add(approvalLife))
	if errors.Is(err, db.ErrConflict) {
		return refuse(codeInvalidGrant, "what the user approved was used before"), nil
	}
	return nil, err
}

// localesOf reads ui_locales.
func localesOf(text string) []string { return strings.Fields(text) }
