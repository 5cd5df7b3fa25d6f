// Package shop is the demo's relying party: an ordinary web shop that logs its
// customers in by standard OpenID Connect with a library that is not ours, and a
// merchant's backend that registers phones by the REST API. It knows nothing of
// the server but its issuer and its own credentials.
package shop

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"mobileid/static"
	"mobileid/templates"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// Credentials are one client's.
type Credentials struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

// Config is what the shop needs.
type Config struct {
	Issuer   string
	URL      string // where browsers reach the shop
	Name     string
	Web      Credentials // logs people in
	Backend  Credentials // registers phones, asks by backchannel
	UserID   string      // whose phone the demo registers
	UserName string      // its external reference
	DataDir  string      // where demo.json is, for the commands that the pages show
	CAFile   string      // root that the commands must trust; "": what the system trusts
	HTTP     http.RoundTripper
	Log      *slog.Logger
}

// Shop is the relying party.
type Shop struct {
	Config
	http *http.Client
	api  *http.Client // with the backend's access token

	mu       sync.Mutex // guards what follows, and every visit
	provider *oidc.Provider
	visits   map[string]*visit
}

// visit is one browser's session at the shop.
type visit struct {
	seen    time.Time
	csrf    string             // never changes
	logins  map[string]pending // by state
	account *claims            // who is logged in
	phone   *registration      // started here; the API tells link and code once
	notice  [2]string          // what went wrong with the last login, and its code
}

type pending struct{ nonce, verifier string }

type claims struct {
	Subject  string   `json:"sub"`
	Issuer   string   `json:"iss"`
	ACR      string   `json:"acr"`
	AMR      []string `json:"amr"`
	AuthTime int64    `json:"auth_time"`
	Txn      string   `json:"txn"`
	SID      string   `json:"sid"`
}

const (
	cookieName = "shop"
	mostVisits = 1000
	mostLogins = 10
	visitLife  = time.Hour
)

// New makes the shop.
func New(c Config) *Shop {
	cc := clientcredentials.Config{ClientID: c.Backend.ID, ClientSecret: c.Backend.Secret, TokenURL: c.Issuer + "/token",
		Scopes: []string{"mobileid.devices"}, AuthStyle: oauth2.AuthStyleInHeader}
	s := &Shop{Config: c, http: &http.Client{Transport: c.HTTP, Timeout: 30 * time.Second}, visits: map[string]*visit{}}
	s.api = cc.Client(s.client(context.Background()))
	return s
}

// client makes the libraries use the shop's HTTP client, which trusts the issuer.
func (s *Shop) client(ctx context.Context) context.Context { return oidc.ClientContext(ctx, s.http) }

// Handler serves the shop.
func (s *Shop) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/static/", static.Handler())
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("GET /login", s.login)
	mux.HandleFunc("GET /callback", s.callback)
	mux.HandleFunc("GET /account", s.showAccount)
	mux.HandleFunc("GET /ciba", s.ciba)
	mux.HandleFunc("GET /phone", s.phone)
	mux.HandleFunc("GET /phone/events", s.phoneEvents)
	post := http.NewCrossOriginProtection()
	for path, h := range map[string]http.HandlerFunc{"/logout": s.logout, "/phone/start": s.phoneStart, "/phone/confirm": s.phoneConfirm, "/phone/refuse": s.phoneRefuse} {
		mux.Handle("POST "+path, post.Handler(h))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		mux.ServeHTTP(w, r)
	})
}

// of returns the browser's visit, a new one if it has none.
func (s *Shop) of(w http.ResponseWriter, r *http.Request) *visit {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if c, err := r.Cookie(cookieName); err == nil {
		if v := s.visits[c.Value]; v != nil && now.Sub(v.seen) < visitLife {
			v.seen = now
			return v
		}
	}
	for id, v := range s.visits {
		if now.Sub(v.seen) >= visitLife || len(s.visits) >= mostVisits {
			delete(s.visits, id)
		}
	}
	id := rand.Text()
	v := &visit{seen: now, csrf: rand.Text(), logins: map[string]pending{}}
	s.visits[id] = v
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: strings.HasPrefix(s.URL, "https:")})
	return v
}

func (s *Shop) frame(v *visit) templates.Shop {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := templates.Shop{Page: templates.Page{Lang: "en"}, Name: s.Name, CSRF: v.csrf}
	if v.account != nil {
		f.LoggedIn = v.account.Subject
	}
	return f
}

func (s *Shop) home(w http.ResponseWriter, r *http.Request) {
	v := s.of(w, r)
	s.mu.Lock()
	notice := v.notice
	v.notice = [2]string{}
	s.mu.Unlock()
	show(w, r, templates.ShopHome(templates.ShopHomeView{Shop: s.frame(v), Notice: notice[0], Detail: notice[1], Products: []templates.Product{
		{Name: "Stoneware mug", Note: "Fired in Bergen", Price: "24.00 EUR", Icon: "mug"},
		{Name: "Reading lamp", Note: "Warm light, brass", Price: "129.00 EUR", Icon: "lamp"},
		{Name: "Canvas bag", Note: "For the market", Price: "39.00 EUR", Icon: "bag"},
	}}))
}

// relyingParty discovers the issuer once.
func (s *Shop) relyingParty(ctx context.Context) (*oidc.Provider, *oauth2.Config, error) {
	s.mu.Lock()
	p := s.provider
	s.mu.Unlock()
	if p == nil {
		var err error
		// The provider keeps the context for fetching keys later.
		if p, err = oidc.NewProvider(s.client(context.WithoutCancel(ctx)), s.Issuer); err != nil {
			return nil, nil, err
		}
		s.mu.Lock()
		s.provider = p
		s.mu.Unlock()
	}
	return p, &oauth2.Config{ClientID: s.Web.ID, ClientSecret: s.Web.Secret, Endpoint: p.Endpoint(), RedirectURL: s.URL + "/callback",
		Scopes: []string{oidc.ScopeOpenID}}, nil
}

func (s *Shop) login(w http.ResponseWriter, r *http.Request) {
	v := s.of(w, r)
	_, rp, err := s.relyingParty(r.Context())
	if err != nil {
		s.fail(w, r, v, "The login service cannot be reached.", err)
		return
	}
	state := rand.Text()
	p := pending{nonce: rand.Text(), verifier: oauth2.GenerateVerifier()}
	s.mu.Lock()
	if len(v.logins) >= mostLogins {
		v.logins = map[string]pending{}
	}
	v.logins[state] = p
	s.mu.Unlock()
	opts := []oauth2.AuthCodeOption{oidc.Nonce(p.nonce), oauth2.S256ChallengeOption(p.verifier)}
	if hint := r.URL.Query().Get("login_hint"); hint != "" {
		opts = append(opts, oauth2.SetAuthURLParam("login_hint", hint))
	}
	http.Redirect(w, r, rp.AuthCodeURL(state, opts...), http.StatusSeeOther)
}

func (s *Shop) callback(w http.ResponseWriter, r *http.Request) {
	v := s.of(w, r)
	q := r.URL.Query()
	s.mu.Lock()
	p, mine := v.logins[q.Get("state")]
	delete(v.logins, q.Get("state"))
	s.mu.Unlock()
	if !mine {
		s.fail(w, r, v, "This login was not started here, or is over.", errors.New("unknown state"))
		return
	}
	if q.Get("iss") != s.Issuer {
		s.fail(w, r, v, "The answer came from somebody else.", errors.New("iss is "+q.Get("iss")))
		return
	}
	if code := q.Get("error"); code != "" {
		s.fail(w, r, v, "You were not logged in.", fmt.Errorf("%s: %s", code, q.Get("error_description")))
		return
	}
	c, err := s.redeem(r.Context(), q.Get("code"), p)
	if err != nil {
		s.fail(w, r, v, "The login could not be verified.", err)
		return
	}
	s.mu.Lock()
	v.account = c
	s.mu.Unlock()
	http.Redirect(w, r, "/account", http.StatusSeeOther)
}

// redeem exchanges the code and verifies the ID token.
func (s *Shop) redeem(ctx context.Context, code string, p pending) (*claims, error) {
	provider, rp, err := s.relyingParty(ctx)
	if err != nil {
		return nil, err
	}
	tokens, err := rp.Exchange(s.client(ctx), code, oauth2.VerifierOption(p.verifier))
	if err != nil {
		return nil, err
	}
	raw, _ := tokens.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: s.Web.ID, SupportedSigningAlgs: []string{oidc.ES256}}).Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(p.nonce)) != 1 {
		return nil, errors.New("the nonce is not ours")
	}
	if err := id.VerifyAccessToken(tokens.AccessToken); err != nil {
		return nil, err
	}
	var c claims
	return &c, id.Claims(&c)
}

// fail goes home with a notice.
func (s *Shop) fail(w http.ResponseWriter, r *http.Request, v *visit, notice string, err error) {
	s.Log.InfoContext(r.Context(), "shop login failed", "error", err)
	s.mu.Lock()
	v.notice = [2]string{notice, err.Error()}
	s.mu.Unlock()
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *Shop) showAccount(w http.ResponseWriter, r *http.Request) {
	v := s.of(w, r)
	s.mu.Lock()
	c := v.account
	s.mu.Unlock()
	if c == nil {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	show(w, r, templates.ShopAccount(templates.ShopAccountView{Shop: s.frame(v), Subject: c.Subject, ACR: c.ACR, AMR: c.AMR,
		AuthTime: time.Unix(c.AuthTime, 0), Txn: c.Txn, Issuer: c.Issuer, Claims: []templates.Param{{Name: "sid", Value: c.SID}}}))
}

func (s *Shop) logout(w http.ResponseWriter, r *http.Request) {
	v := s.of(w, r)
	if r.PostFormValue("csrf") == v.csrf {
		s.mu.Lock()
		v.account = nil
		s.mu.Unlock()
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// ciba shows how a backend asks the same phone without a browser.
func (s *Shop) ciba(w http.ResponseWriter, r *http.Request) {
	v := s.of(w, r)
	trust := ""
	if s.CAFile != "" {
		trust = "--cacert '" + s.CAFile + "' "
	}
	credentials := trust + `-u "$(jq -r '.backend|.client_id+":"+.client_secret' ` + s.DataDir + `/demo.json)"`
	show(w, r, templates.ShopBackchannel(templates.ShopBackchannelView{Shop: s.frame(v), Steps: []templates.Step{
		{Title: "Ask", Note: "The answer holds the auth_req_id; the phone shows the message. The command reads the back end's secret with jq, which you may have to install.",
			Command: "curl -s " + credentials + " " + s.Issuer + "/bc-authorize -d scope=openid -d login_hint=" + s.UserName + ` -d 'binding_message=Order 4711'`},
		{Title: "Answer on the phone", Note: "It shows who asks and what for, and takes your PIN.",
			Command: s.command() + "answer"},
		{Title: "Fetch the tokens", Note: "The request is held until the phone has answered, or 25 seconds.",
			Command: "curl -s " + credentials + " " + s.Issuer + "/token -d grant_type=urn:openid:params:grant-type:ciba -d auth_req_id=AUTH_REQ_ID"},
	}}))
}

func show(w http.ResponseWriter, r *http.Request, c templates.Component) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	// The browser that hung up is the only one who would miss the page.
	_ = c.Render(r.Context(), w)
}
