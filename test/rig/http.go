package rig

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/db"
	"mobileid/sdk"
	"mobileid/sdk/wire"
)

// Answer is an HTTP answer with its JSON members, if it has any.
type Answer struct {
	Status int
	Header http.Header
	Body   string
	JSON   map[string]any
}

// Text is a string member of the answer.
func (a Answer) Text(name string) string {
	s, _ := a.JSON[name].(string)
	return s
}

func (a Answer) String() string { return fmt.Sprintf("%d %s", a.Status, a.Body) }

// Send sends req and reads the answer; redirects are not followed. It may be
// called from many goroutines.
func (r *Rig) Send(req *http.Request) (Answer, error) {
	c := *r.HTTP
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := c.Do(req)
	if err != nil {
		return Answer{}, err
	}
	body, err := drain(res)
	a := Answer{Status: res.StatusCode, Header: res.Header, Body: string(body)}
	// Not every answer is JSON.
	_ = json.Unmarshal(body, &a.JSON)
	return a, err
}

// TryPost posts a form as the client (client_secret_basic, or none without a secret).
func (r *Rig) TryPost(path string, c node.NewClient, form url.Values) (Answer, error) {
	if c.ClientSecret == "" && c.ClientID != "" {
		form.Set("client_id", c.ClientID)
	}
	req, err := http.NewRequest(http.MethodPost, r.Issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.ClientSecret != "" {
		req.SetBasicAuth(c.ClientID, c.ClientSecret)
	}
	return r.Send(req)
}

// Post is TryPost that must get an answer.
func (r *Rig) Post(path string, c node.NewClient, form url.Values) Answer {
	r.T.Helper()
	a, err := r.TryPost(path, c, form)
	r.must(err)
	return a
}

// Get fetches an address of the server.
func (r *Rig) Get(path string, header ...string) Answer {
	r.T.Helper()
	req, err := http.NewRequest(http.MethodGet, r.Issuer+path, nil)
	r.must(err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	a, err := r.Send(req)
	r.must(err)
	return a
}

// Token is an access token of Backend for the REST API: with all that it may, or
// the scopes given. A server that cannot answer right now, as on a machine that runs
// much else, is asked again.
func (r *Rig) Token(scopes ...string) string {
	r.T.Helper()
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	a := r.Post("/token", r.Backend, form)
	for try := 1; try < 10 && a.Status == http.StatusServiceUnavailable; try++ {
		time.Sleep(500 * time.Millisecond)
		a = r.Post("/token", r.Backend, form)
	}
	if a.Status != http.StatusOK {
		r.T.Fatalf("rig: token: %s", a)
	}
	return a.Text("access_token")
}

// REST calls the REST API as Backend; headers are pairs. A PATCH is a merge patch.
func (r *Rig) REST(method, path string, body any, header ...string) Answer {
	r.T.Helper()
	a, err := r.TryREST(r.Token(), method, path, body, header...)
	r.must(err)
	return a
}

// TryREST calls the REST API with an access token; it may be called from many
// goroutines.
func (r *Rig) TryREST(token, method, path string, body any, header ...string) (Answer, error) {
	var text []byte
	if raw, ok := body.(string); ok {
		text = []byte(raw)
	} else if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return Answer{}, err
		}
	}
	req, err := http.NewRequest(method, r.Issuer+"/api/v1"+path, bytes.NewReader(text))
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return r.Send(req)
}

// Link is a fresh registration link for the user.
func (r *Rig) Link(u db.User) string {
	r.T.Helper()
	return r.registration(u).Text("link")
}

func (r *Rig) registration(u db.User) Answer {
	r.T.Helper()
	// A proofing of its own: the user may have a phone already.
	a := r.REST("POST", "/registrations", map[string]any{"userId": u.ID, "proofing": map[string]any{"reference": rand.Text()}})
	if a.Status != http.StatusCreated {
		r.T.Fatalf("rig: registration: %s", a)
	}
	return a
}

// Ask starts a backchannel request and returns its acknowledgement.
func (r *Rig) Ask(c node.NewClient, u db.User, more ...string) Answer {
	r.T.Helper()
	form := url.Values{"scope": {"openid"}, "login_hint": {u.ExternalRef}}
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	a := r.Post("/bc-authorize", c, form)
	if a.Status != http.StatusOK {
		r.T.Fatalf("rig: bc-authorize: %s", a)
	}
	return a
}

// TryPoll asks the token endpoint for a backchannel request's tokens.
func (r *Rig) TryPoll(c node.NewClient, authReqID string) (Answer, error) {
	return r.TryPost("/token", c, url.Values{"grant_type": {"urn:openid:params:grant-type:ciba"}, "auth_req_id": {authReqID}})
}

// Poll is TryPoll that must get an answer.
func (r *Rig) Poll(c node.NewClient, authReqID string) Answer {
	r.T.Helper()
	a, err := r.TryPoll(c, authReqID)
	r.must(err)
	return a
}

// Waiting is the one operation that waits for the phone.
func (r *Rig) Waiting(p *sdk.Phone) *wire.Operation {
	r.T.Helper()
	ops, err := p.List(r.T.Context())
	r.must(err)
	if len(ops) != 1 {
		r.T.Fatalf("rig: %d operations wait for the phone, want 1", len(ops))
	}
	return &ops[0]
}

// Approve answers the one waiting operation with yes.
func (r *Rig) Approve(p *sdk.Phone, match string) {
	r.T.Helper()
	_, err := p.Approve(r.T.Context(), r.Waiting(p), PIN, match)
	r.must(err)
}

// Browser is one without JavaScript, with its cookies. It stops before it would
// leave the server.
type Browser struct {
	*http.Client
	r *Rig
}

// Browser returns a new browser.
func (r *Rig) Browser() *Browser {
	r.T.Helper()
	jar, err := cookiejar.New(nil)
	r.must(err)
	b := &Browser{r: r, Client: &http.Client{Jar: jar, Timeout: r.HTTP.Timeout, Transport: r.HTTP.Transport}}
	b.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(req.URL.String(), r.Issuer+"/") {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return b
}

// Page is where a browser came to: a page of the server, or the address outside
// to which it would have gone.
type Page struct {
	Answer
	URL  *url.URL
	Left *url.URL // nil: still on the server
}

// Open fetches an address of the server and follows its redirects.
func (b *Browser) Open(address string) Page {
	b.r.T.Helper()
	res, err := b.Get(address)
	b.r.must(err)
	return b.page(res)
}

// Submit posts a form from a page of the server.
func (b *Browser) Submit(address string, form url.Values) Page {
	b.r.T.Helper()
	req, err := http.NewRequest(http.MethodPost, address, strings.NewReader(form.Encode()))
	b.r.must(err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", b.r.Issuer)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	res, err := b.Do(req)
	b.r.must(err)
	return b.page(res)
}

func (b *Browser) page(res *http.Response) Page {
	b.r.T.Helper()
	body, err := drain(res)
	b.r.must(err)
	p := Page{Answer: Answer{Status: res.StatusCode, Header: res.Header, Body: string(body)}, URL: res.Request.URL}
	if at, err := res.Location(); err == nil {
		p.Left = at
	} else if !errors.Is(err, http.ErrNoLocation) {
		b.r.must(err)
	}
	return p
}

var (
	matchOnPage = regexp.MustCompile(`class="match"[^>]*>\s*<strong>([0-9]+)</strong>`)
	csrfOnPage  = regexp.MustCompile(`name="csrf" value="([^"]+)"`)
)

// Match is the number that the login page shows, "" if none.
func (p Page) Match() string { return first(matchOnPage.FindStringSubmatch(p.Body)) }

// CSRF is the token of the page's forms.
func (p Page) CSRF() string { return first(csrfOnPage.FindStringSubmatch(p.Body)) }

func first(m []string) string {
	if len(m) < 2 {
		return ""
	}
	return m[1]
}

// Verifier and its S256 challenge are RFC 7636 appendix B's.
const (
	Verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	Challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// AuthorizeURL is an authorize request of Web; more are pairs that are set, or
// removed by "".
func (r *Rig) AuthorizeURL(more ...string) string {
	q := url.Values{"client_id": {r.Web.ClientID}, "redirect_uri": {Callback}, "response_type": {"code"}, "scope": {"openid offline_access"},
		"state": {"st4te"}, "nonce": {"n0nce"}, "code_challenge": {Challenge}, "code_challenge_method": {"S256"}}
	for i := 0; i+1 < len(more); i += 2 {
		if more[i+1] == "" {
			q.Del(more[i])
		} else {
			q.Set(more[i], more[i+1])
		}
	}
	return r.Issuer + "/authorize?" + q.Encode()
}

// Login logs the user in by redirect and returns the answer's parameters.
func (r *Rig) Login(b *Browser, u db.User, p *sdk.Phone, more ...string) url.Values {
	r.T.Helper()
	page := b.Open(r.AuthorizeURL(append([]string{"login_hint", u.ExternalRef}, more...)...))
	r.Approve(p, page.Match())
	page = b.Open(page.URL.String())
	if page.Left == nil {
		r.T.Fatalf("rig: the login page did not go on: %s", page.Answer)
	}
	return page.Left.Query()
}

// TryRedeem exchanges a code as Web.
func (r *Rig) TryRedeem(code string) (Answer, error) {
	return r.TryPost("/token", r.Web, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {Callback}, "code_verifier": {Verifier}})
}

// Redeem is TryRedeem that must get an answer.
func (r *Rig) Redeem(code string) Answer {
	r.T.Helper()
	a, err := r.TryRedeem(code)
	r.must(err)
	return a
}

// TryRefresh uses a refresh token as Web.
func (r *Rig) TryRefresh(token string) (Answer, error) {
	return r.TryPost("/token", r.Web, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}
