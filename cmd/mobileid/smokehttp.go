package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"

	"mobileid/cmd/mobileid/shop"
	"mobileid/sdk/wire"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// answer sends req and decodes the JSON answer, which must have the status.
func (s *story) answer(req *http.Request, want int, into any) error {
	res, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	if res.StatusCode != want {
		return fmt.Errorf("%s %s: %s, want %d: %s", req.Method, req.URL.Path, res.Status, want, bytes.TrimSpace(body))
	}
	return json.Unmarshal(body, into)
}

func (s *story) rest(ctx context.Context, method, path string, body any, want int, into any, header ...string) error {
	var payload io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.Issuer+path, payload)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.api)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return s.answer(req, want, into)
}

// form posts to a protocol endpoint as the client.
func (s *story) form(ctx context.Context, c shop.Credentials, path string, form url.Values, want int, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return s.answer(req, want, into)
}

type tokens struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
	Error        string `json:"error"`
}

func (s *story) backendToken(ctx context.Context) error {
	var t tokens
	err := s.form(ctx, s.Backend, "/token", url.Values{"grant_type": {"client_credentials"}}, http.StatusOK, &t)
	s.api = t.AccessToken
	return err
}

func (s *story) createUser(ctx context.Context) error {
	var u struct{ ID string }
	err := s.rest(ctx, "POST", "/api/v1/users", map[string]any{"externalRef": s.ref}, http.StatusCreated, &u)
	s.user = u.ID
	return err
}

// restAuthentication asks by REST, sends the same again as a backend does that lost
// the answer, and waits for the phone.
func (s *story) restAuthentication(ctx context.Context) error {
	var op struct {
		ID, State, Acr, MatchCode string
		Factors                   []string
	}
	first := ""
	for range 2 {
		err := s.rest(ctx, "POST", "/api/v1/authentications", map[string]any{"userId": s.user, "preContext": map[string]any{"content": "Order 4710"}}, http.StatusCreated, &op,
			"Idempotency-Key", s.ref)
		if err != nil {
			return err
		}
		if first == "" {
			first = op.ID
		}
		if op.ID != first {
			return errors.New("the same request under one key started two")
		}
	}
	if err := s.approve(ctx, op.MatchCode); err != nil {
		return err
	}
	if err := s.rest(ctx, "GET", "/api/v1/authentications/"+first+"?wait=10s", nil, http.StatusOK, &op); err != nil {
		return err
	}
	if op.State != "COMPLETED" || len(op.Factors) != 2 || op.Acr == "" {
		return fmt.Errorf("the outcome is %+v", op)
	}
	return nil
}

type ack struct {
	AuthReqID string `json:"auth_req_id"`
	Interval  int    `json:"interval"`
	Match     string `json:"mobileid_match_code"`
}

func (s *story) ask(ctx context.Context, message string) (ack, error) {
	var a ack
	err := s.form(ctx, s.Backend, "/bc-authorize", url.Values{"scope": {"openid"}, "login_hint": {s.ref}, "binding_message": {message}}, http.StatusOK, &a)
	return a, err
}

func (s *story) poll(ctx context.Context, a ack, want int) (tokens, error) {
	var t tokens
	err := s.form(ctx, s.Backend, "/token", url.Values{"grant_type": {cibaGrant}, "auth_req_id": {a.AuthReqID}}, want, &t)
	return t, err
}

func (s *story) cibaApproved(ctx context.Context) error {
	a, err := s.ask(ctx, "Order 4711")
	if err != nil {
		return err
	}
	op, err := s.waiting(ctx)
	if err != nil {
		return err
	}
	if !strings.Contains(string(op.View), "Order 4711") {
		return errors.New("the phone does not show the binding message")
	}
	// The poll is held until the phone has answered.
	polled := make(chan error, 1)
	go func() {
		t, err := s.poll(ctx, a, http.StatusOK)
		if err == nil {
			err = s.verify(ctx, t.IDToken, s.Backend.ID, "")
		}
		polled <- err
	}()
	_, err = s.phone.Approve(ctx, op, smokePIN, a.Match)
	return errors.Join(err, <-polled)
}

func (s *story) wrongPIN(ctx context.Context) error {
	a, err := s.ask(ctx, "Order 4712")
	if err != nil {
		return err
	}
	op, err := s.waiting(ctx)
	if err != nil {
		return err
	}
	_, err = s.phone.Approve(ctx, op, "000001", a.Match)
	if e, ok := errors.AsType[*wire.Error](err); !ok || e.Code != wire.AuthFailed || e.Left == nil || *e.Left != 2 {
		return fmt.Errorf("a wrong PIN: %v, want auth_failed with 2 left", err)
	}
	if err := s.approve(ctx, a.Match); err != nil {
		return err
	}
	_, err = s.poll(ctx, a, http.StatusOK)
	return err
}

func (s *story) cibaDeclined(ctx context.Context) error {
	a, err := s.ask(ctx, "Order 4713")
	if err != nil {
		return err
	}
	op, err := s.waiting(ctx)
	if err != nil {
		return err
	}
	if _, err := s.phone.Decline(ctx, op, false); err != nil {
		return err
	}
	t, err := s.poll(ctx, a, http.StatusBadRequest)
	if err == nil && t.Error != "access_denied" {
		err = fmt.Errorf("error is %q, want access_denied", t.Error)
	}
	return err
}

// verify checks an ID token as a relying party does, with a library of others.
func (s *story) verify(ctx context.Context, raw, clientID, nonce string) error {
	id, err := s.rp.Verifier(&oidc.Config{ClientID: clientID, SupportedSigningAlgs: []string{oidc.ES256}}).Verify(ctx, raw)
	if err != nil {
		return err
	}
	var c struct {
		ACR string   `json:"acr"`
		AMR []string `json:"amr"`
		Txn string   `json:"txn"`
	}
	if err := id.Claims(&c); err != nil {
		return err
	}
	if id.Subject != s.user || id.Nonce != nonce || c.ACR != "urn:mobileid:acr:web" || !strings.Contains(strings.Join(c.AMR, " "), "pin") || c.Txn == "" {
		return fmt.Errorf("the ID token says sub %s, nonce %q, acr %s, amr %v, txn %q", id.Subject, id.Nonce, c.ACR, c.AMR, c.Txn)
	}
	return nil
}

var (
	matchOnPage = regexp.MustCompile(`class="match"[^>]*>\s*<strong>([0-9]+)</strong>`)
	errLeaving  = errors.New("the answer to the client")
)

// login walks through the redirect login as a browser without JavaScript, with
// the phone beside it, and returns the code and its PKCE verifier.
func (s *story) login(ctx context.Context, nonce string) (code, verifier string, err error) {
	verifier = oauth2.GenerateVerifier()
	rp := oauth2.Config{ClientID: s.Shop.ID, Endpoint: s.rp.Endpoint(), RedirectURL: s.ShopURL + "/callback", Scopes: []string{"openid", "offline_access"}}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", "", err
	}
	browser := &http.Client{Jar: jar, Transport: s.http.Transport, Timeout: s.http.Timeout, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), s.ShopURL) {
			return errLeaving
		}
		return nil
	}}
	page, err := browser.Get(rp.AuthCodeURL("st4te", oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("login_hint", s.ref)))
	if err != nil {
		return "", "", err
	}
	html, err := io.ReadAll(page.Body)
	page.Body.Close()
	match := matchOnPage.FindSubmatch(html)
	if err != nil || match == nil {
		return "", "", fmt.Errorf("the login page (%s) shows no number: %w", page.Status, errors.Join(err))
	}
	if err := s.approve(ctx, string(match[1])); err != nil {
		return "", "", err
	}
	_, err = browser.Get(page.Request.URL.String())
	left, ok := errors.AsType[*url.Error](err)
	if !ok || !errors.Is(err, errLeaving) {
		return "", "", fmt.Errorf("the login page did not go on: %w", errors.Join(err))
	}
	to, err := url.Parse(left.URL)
	if err != nil {
		return "", "", err
	}
	q := to.Query()
	if q.Get("code") == "" || q.Get("state") != "st4te" || q.Get("iss") != s.Issuer {
		return "", "", fmt.Errorf("the answer to the client: %s %s", q.Get("error"), q.Get("error_description"))
	}
	return q.Get("code"), verifier, nil
}

func (s *story) redeem(ctx context.Context, code, verifier string, want int) (tokens, error) {
	var t tokens
	err := s.form(ctx, s.Shop, "/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {verifier},
		"redirect_uri": {s.ShopURL + "/callback"}}, want, &t)
	return t, err
}

func (s *story) userinfo(ctx context.Context, accessToken string, want int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Issuer+"/userinfo", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+accessToken)
	if want != http.StatusOK {
		return s.answer(req, want, new(any))
	}
	var u struct{ Sub string }
	if err := s.answer(req, want, &u); err != nil || u.Sub != s.user {
		return fmt.Errorf("userinfo says sub %q: %w", u.Sub, errors.Join(err))
	}
	return nil
}

func (s *story) redirectLogin(ctx context.Context) error {
	code, verifier, err := s.login(ctx, "n0nce")
	if err != nil {
		return err
	}
	t, err := s.redeem(ctx, code, verifier, http.StatusOK)
	if err != nil {
		return err
	}
	return errors.Join(s.verify(ctx, t.IDToken, s.Shop.ID, "n0nce"), s.userinfo(ctx, t.AccessToken, http.StatusOK))
}

func (s *story) codeTwice(ctx context.Context) error {
	code, verifier, err := s.login(ctx, "again")
	if err != nil {
		return err
	}
	first, err := s.redeem(ctx, code, verifier, http.StatusOK)
	if err != nil {
		return err
	}
	second, err := s.redeem(ctx, code, verifier, http.StatusBadRequest)
	if err == nil && second.Error != "invalid_grant" {
		err = fmt.Errorf("the second use is %q, want invalid_grant", second.Error)
	}
	return errors.Join(err, s.userinfo(ctx, first.AccessToken, http.StatusUnauthorized))
}

func (s *story) refresh(ctx context.Context) error {
	code, verifier, err := s.login(ctx, "third")
	if err != nil {
		return err
	}
	t0, err := s.redeem(ctx, code, verifier, http.StatusOK)
	if err != nil {
		return err
	}
	use := func(token string, want int) (tokens, error) {
		var t tokens
		err := s.form(ctx, s.Shop, "/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, want, &t)
		return t, err
	}
	t1, err := use(t0.RefreshToken, http.StatusOK)
	if err != nil {
		return err
	}
	t2, err := use(t1.RefreshToken, http.StatusOK)
	if err != nil {
		return err
	}
	if err := s.userinfo(ctx, t2.AccessToken, http.StatusOK); err != nil {
		return err
	}
	if _, err := use(t0.RefreshToken, http.StatusBadRequest); err != nil { // two generations old
		return err
	}
	_, err = use(t2.RefreshToken, http.StatusBadRequest)
	return err
}
