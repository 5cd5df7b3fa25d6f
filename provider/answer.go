package provider

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/operation"

	"github.com/ory/fosite"
)

// answer is how an authorize request is answered: where, and in which way.
type answer struct {
	uri, mode, state string
}

// Authenticated is who logged in and how, as it was proven.
type Authenticated struct {
	UserID, DeviceID, OperationID, SID string
	AuthTime                           time.Time // of the decision
	AMR                                []string
	ACR                                string
	SCA                                *operation.SCA
}

// FinishAuthorize issues a code for the user who logged in and sends the browser
// back with it. When it returns an error nothing was written: an
// *AuthorizeError goes to WriteAuthorizeError, any other is the server's own.
// The caller has enforced prompt and max_age.
func (p *Provider) FinishAuthorize(w http.ResponseWriter, r *http.Request, req *AuthorizeRequest, a Authenticated) error {
	if req.HintedUserID != "" && req.HintedUserID != a.UserID {
		return req.fail(codeLoginRequired, "another user than the one that was asked for has answered")
	}
	if operation.Rank(a.ACR) < operation.Rank(req.MinACR) {
		return req.fail(codeUnmet, "the login does not reach the acr that was asked for") // RFC 9470 section 5, too
	}
	acr := req.claims.asAsked(a.ACR)
	if acr == "" {
		return req.fail(codeUnmet, "the login does not reach an acr that claims insists on")
	}
	// Asked for above, by NeedsConsent; this is so that no way around it exists.
	if ok, err := p.consented(r.Context(), req, a.UserID); err != nil {
		return err
	} else if !ok {
		return req.fail(codeConsentRequired, "the user has not allowed the client what it asks for")
	}
	u := &unit{p: p}
	ctx := u.begin(r.Context())
	sess := &session{record: record{
		ClientID: req.Client.ID, MerchantID: req.Client.MerchantID, GrantID: db.NewSerialID("grt_"),
		UserID: a.UserID, DeviceID: a.DeviceID, OperationID: a.OperationID, SID: a.SID,
		AuthTime: a.AuthTime.UnixMilli(), AMR: a.AMR, ACR: acr, SCA: a.SCA, Nonce: req.Form.Get("nonce"),
		IDClaims: req.claims.idToken, InfoClaims: req.claims.userinfo,
	}}
	if err := p.approvedDetails(r.Context(), req, &a, &sess.record); err != nil {
		return err
	}
	code, err := p.issueCode(ctx, req, sess)
	if err != nil {
		return req.refused(err)
	}
	now := p.clk.Now()
	u.codeRec.IssuedAt, u.codeRec.Expires = now.UnixMilli(), now.Add(codeLife).UnixMilli()
	if err := p.kv.Create(ctx, codeKey(u.code), u.codeRec.encode(), codeLife); err != nil {
		return req.refused(unavailable(err))
	}
	p.reply(w, req.answer, url.Values{"code": {code}})
	return nil
}

// codeRequest is fosite's request without what fosite makes of one for storing it.
type codeRequest struct{ *fosite.AuthorizeRequest }

// Sanitize is asked for what may be stored. Our storage takes the session, the
// granted scopes, the redirect URI and the challenge.
func (r codeRequest) Sanitize([]string) fosite.Requester { return r }

// issueCode lets fosite's handlers make the code. This is what NewAuthorizeRequest
// and NewAuthorizeResponse do, less reading and checking the parameters, which is
// done: fosite sees none that it would judge by rules of its own.
func (p *Provider) issueCode(ctx context.Context, req *AuthorizeRequest, sess *session) (string, error) {
	target, err := url.Parse(req.RedirectURI)
	if err != nil {
		return "", err
	}
	ar := codeRequest{fosite.NewAuthorizeRequest()}
	ar.RedirectURI, ar.ResponseTypes, ar.Client, ar.Session = target, fosite.Arguments{"code"}, req.client, sess
	for _, name := range []string{"redirect_uri", "code_challenge", "code_challenge_method"} {
		if v := req.Form[name]; len(v) > 0 {
			ar.Form[name] = v
		}
	}
	ar.RequestedScope, ar.GrantedScope = req.Scopes, req.Scopes
	resp := fosite.NewAuthorizeResponse()
	for _, h := range p.codeHandlers {
		if err := h.HandleAuthorizeEndpointRequest(ctx, ar, resp); err != nil {
			return "", err
		}
	}
	return resp.GetCode(), nil
}

// DenyAuthorize sends the browser back with an error, such as login_required,
// interaction_required or access_denied.
func (p *Provider) DenyAuthorize(w http.ResponseWriter, _ *http.Request, req *AuthorizeRequest, code, description string) {
	p.reply(w, req.answer, url.Values{"error": {code}, "error_description": {describe(description)}})
}

// WriteAuthorizeError sends the browser back with err, or returns false if the
// caller must show a page instead.
func (p *Provider) WriteAuthorizeError(w http.ResponseWriter, _ *http.Request, err error) bool {
	e, ok := errors.AsType[*AuthorizeError](err)
	if !ok || e.Page || e.answer.uri == "" {
		return false
	}
	p.reply(w, e.answer, url.Values{"error": {e.Code}, "error_description": {e.Description}})
	return true
}

// reply sends params to the client by the browser, with state as it was given
// and iss (RFC 9207), by which a client of several servers knows who answers.
// The status is 303: with 307 the browser would post what it holds to the client.
func (p *Provider) reply(w http.ResponseWriter, to answer, params url.Values) {
	params.Set("iss", p.issuer)
	if to.state != "" {
		params.Set("state", to.state)
	}
	noStore(w.Header())
	if to.mode == "form_post" {
		p.formPost(w, to.uri, params)
		return
	}
	// The registered URI stays as it is, byte for byte, its query included.
	sep := "?"
	if strings.Contains(to.uri, "?") {
		sep = "&"
	}
	w.Header().Set("Location", to.uri+sep+params.Encode())
	w.WriteHeader(http.StatusSeeOther)
}
