package provider

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/operation"
	"mobileid/internal/view"
)

// AuthorizeRequest is an authorize request that was checked (OIDC Core section
// 3.1.2.1). What concerns the user is for the caller to enforce: Prompt, MaxAge,
// LoginHint, MinACR.
type AuthorizeRequest struct {
	Client *db.Client // shared: do not change
	// Form is the request, normalised: park it as Form.Encode() and hand it to
	// ResumeAuthorize.
	Form         url.Values
	Scopes       []string
	Prompt       []string
	MaxAge       *time.Duration
	LoginHint    string
	IDTokenHint  string // as it was given
	HintedUserID string // whom id_token_hint or claims names: nobody else may answer
	MinACR       string // the least that acr_values and claims accept; "": the client's default
	UILocales    []string
	// Details are the typed data of the request (RFC 9396); nil if there are none.
	// They need an operation of their own, however fresh the login.
	Details     *view.Details
	RedirectURI string // verified: where the browser goes next

	answer answer
	claims claimsRequest
	client *client
}

// AuthorizeError says why an authorize request is refused.
type AuthorizeError struct {
	// Page: the redirect URI is not to be trusted, so the error is shown on a
	// page of ours and never redirected (RFC 6749 section 4.1.2.1).
	Page              bool
	Code, Description string
	Status            int // of the page; 0: what goes with the code

	answer answer
}

func (e *AuthorizeError) Error() string { return e.Code + ": " + e.Description }

// parameters are those of an authorize request that mean something here. All
// others are ignored (RFC 6749 section 3.1).
func parameters() []string {
	return []string{
		"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce",
		"code_challenge", "code_challenge_method", "prompt", "max_age", "login_hint", "id_token_hint", "acr_values", "ui_locales",
		"claims", "display", paramDetails,
	}
}

// prompts are the values of prompt (OIDC Core section 3.1.2.1).
func prompts() []string { return []string{"none", "login", "consent", "select_account"} }

// unsupported maps parameters that would change the request's meaning to the
// error that refuses them. fosite must never see the first two: it fetches
// request_uri without a limit and accepts unsigned request objects.
func unsupported() [][2]string {
	return [][2]string{
		{"request", "request_not_supported"},
		{"request_uri", "request_uri_not_supported"},
		{"registration", "registration_not_supported"},
	}
}

// ParseAuthorize reads and checks an authorize request, GET or POST. The error
// is an *AuthorizeError, or one of the server's own.
func (p *Provider) ParseAuthorize(ctx context.Context, r *http.Request) (*AuthorizeRequest, error) {
	page := func(description string) error {
		return &AuthorizeError{Page: true, Code: codeInvalidRequest, Description: description}
	}
	if len(r.URL.RawQuery) > maxBody {
		return nil, page("the request is too long")
	}
	form, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, page("the query is malformed")
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		body, err := readBody(r)
		if err != nil {
			e := asProtocol(err)
			return nil, &AuthorizeError{Page: true, Code: codeInvalidRequest, Description: e.description, Status: e.status}
		}
		for k, v := range body {
			form[k] = append(form[k], v...)
		}
	default:
		return nil, page("the method must be GET or POST")
	}
	return p.authorize(ctx, form)
}

// ResumeAuthorize checks a parked request again: the client may have been
// changed or disabled while the user was away.
func (p *Provider) ResumeAuthorize(ctx context.Context, form url.Values) (*AuthorizeRequest, error) {
	return p.authorize(ctx, form)
}

// authorize checks the request. Until client and redirect URI are known to be
// good every error is a page; from then on it goes back to the client.
func (p *Provider) authorize(ctx context.Context, all url.Values) (*AuthorizeRequest, error) {
	page := func(description string) error {
		return &AuthorizeError{Page: true, Code: codeInvalidRequest, Description: describe(description)}
	}
	twice := repeated(all)
	for _, name := range []string{"client_id", "redirect_uri", "response_type", "response_mode", "state"} {
		if len(all[name]) > 1 {
			return nil, page(name + " is given more than once")
		}
	}
	form := url.Values{}
	for _, name := range parameters() {
		if v := all.Get(name); v != "" {
			form.Set(name, v)
		}
	}
	id := form.Get("client_id")
	if id == "" {
		return nil, page("client_id is missing")
	}
	c, err := p.client(ctx, id)
	if err != nil {
		return nil, err
	}
	if c == nil || !c.DisabledAt.IsZero() {
		return nil, &AuthorizeError{Page: true, Code: codeInvalidClient, Description: "client_id names no client of this server"}
	}
	scopes := words(form.Get("scope"))
	target, wrong := redirectTarget(c, form.Get("redirect_uri"), contains(scopes, "openid"))
	if wrong != "" {
		return nil, page(wrong)
	}
	if !form.Has("response_type") {
		return nil, page("response_type is missing")
	}
	req := &AuthorizeRequest{Client: c.Client, client: c, Form: form, Scopes: scopes, answer: answer{uri: target, state: form.Get("state"), mode: "query"}}
	if mode := form.Get("response_mode"); mode == "form_post" {
		if !isWeb(target) { // a form's POST goes to web servers; the error has to come by the query
			return nil, req.fail(codeInvalidRequest, "response_mode form_post needs a redirect_uri of http or https: use query")
		}
		req.answer.mode = mode
	} else if mode != "" && mode != "query" {
		return nil, req.fail(codeInvalidRequest, "response_mode "+mode+" is not supported: use query or form_post")
	}
	for _, u := range unsupported() {
		if all.Get(u[0]) != "" {
			return nil, req.fail(u[1], u[0]+" is not supported")
		}
	}
	if twice != "" {
		return nil, req.fail(codeInvalidRequest, twice+" is given more than once")
	}
	if rt := form.Get("response_type"); rt != "code" {
		return nil, req.fail("unsupported_response_type", "response_type "+rt+" is not supported: use code")
	}
	if !c.mayUse(grantCode) {
		return nil, req.fail(codeUnauthorizedClient, "the client is not registered for grant_type "+grantCode)
	}
	if err := p.readParameters(ctx, req); err != nil {
		return nil, err
	}
	for _, s := range scopes {
		if !contains(c.Settings.Scopes, s) {
			return nil, req.fail(codeInvalidScope, "the client is not registered for scope "+s)
		}
	}
	return req, nil
}

// redirectTarget is where the answer goes, or what is wrong with the request.
func redirectTarget(c *client, asked string, openid bool) (target, wrong string) {
	registered := c.Settings.RedirectURIs
	if asked == "" {
		switch {
		case openid:
			return "", "redirect_uri is missing" // OIDC Core section 3.1.2.1
		case len(registered) != 1:
			return "", "redirect_uri is missing, and the client has not registered exactly one"
		}
		return registered[0], ""
	}
	for _, uri := range registered {
		if matchRedirect(uri, asked) {
			return asked, ""
		}
	}
	return "", "redirect_uri is not one that the client registered"
}

// fail is an error that goes back to the client.
func (req *AuthorizeRequest) fail(code, description string) error {
	return &AuthorizeError{Code: code, Description: describe(description), answer: req.answer}
}

// readParameters checks what concerns the code and the user. It is kept from
// fosite, which enforces max_age and prompt too late and wrongly.
func (p *Provider) readParameters(ctx context.Context, req *AuthorizeRequest) error {
	form := req.Form
	if err := req.readChallenge(); err != nil {
		return err
	}
	req.Prompt = words(form.Get("prompt"))
	for _, v := range req.Prompt {
		if !contains(prompts(), v) {
			return req.fail(codeInvalidRequest, "prompt has an unknown value "+v)
		}
		if v == "none" && len(req.Prompt) > 1 {
			return req.fail(codeInvalidRequest, "prompt=none cannot be combined")
		}
	}
	if s := form.Get("max_age"); s != "" {
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			return req.fail(codeInvalidRequest, "max_age must be a number of seconds")
		}
		age := time.Duration(n) * time.Second
		req.MaxAge = &age
	}
	req.LoginHint = form.Get("login_hint")
	req.UILocales = words(form.Get("ui_locales"))
	req.MinACR = leastACR(form.Get("acr_values"))
	req.RedirectURI = req.answer.uri
	if hint := form.Get("id_token_hint"); hint != "" {
		user, err := p.hintedUser(ctx, hint, req.Client.ID)
		if err != nil {
			return err
		}
		if user == "" {
			return req.fail(codeInvalidRequest, "id_token_hint is not an ID token of this server for this client")
		}
		req.IDTokenHint, req.HintedUserID = hint, user
	}
	if err := p.flows.CheckMethods(ctx, req.Client); fault.Is(err, fault.Forbidden) {
		return req.fail(codeUnmet, "the client's App allows no method that phones can prove")
	} else if err != nil {
		return err
	}
	if err := p.readDetails(ctx, req); err != nil {
		return err
	}
	return p.readClaims(ctx, req, form.Get("claims"))
}

// readClaims adds what the claims parameter demands of the login.
func (p *Provider) readClaims(ctx context.Context, req *AuthorizeRequest, text string) error {
	if !contains(req.Scopes, "openid") {
		return nil
	}
	var wrong string
	if req.claims, wrong = readClaims(text, req.Client.Settings.Scopes); wrong != "" {
		return req.fail(codeInvalidRequest, wrong)
	}
	hardware := false
	if req.claims.essential {
		var err error
		if hardware, err = p.hardware(ctx); err != nil {
			return unavailable(err)
		}
	}
	least, known := req.claims.least(operation.Served(hardware))
	if !known {
		return req.fail(codeUnmet, "no login here reaches the acr that claims insists on")
	}
	if operation.Rank(least) > operation.Rank(req.MinACR) {
		req.MinACR = least
	}
	if sub := req.claims.sub; sub != "" {
		if req.HintedUserID != "" && req.HintedUserID != sub {
			return req.fail(codeInvalidRequest, "claims and id_token_hint name different users")
		}
		req.HintedUserID = sub
	}
	return nil
}

const base64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// leastACR is the weakest of the values that the client accepts; unknown ones
// are voluntary wishes and ignored (OIDC Core section 3.1.2.1).
func leastACR(values string) string {
	least := ""
	for _, v := range words(values) {
		if r := operation.Rank(v); r >= 0 && (least == "" || r < operation.Rank(least)) {
			least = v
		}
	}
	return least
}

// refused turns an error of fosite into one for the client; one of the stores
// stays the server's own.
func (req *AuthorizeRequest) refused(err error) error {
	e := asProtocol(err)
	if e.status >= 500 {
		return fmt.Errorf("provider: authorize: %w", e)
	}
	return req.fail(e.code, e.description)
}
