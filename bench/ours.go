package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"mobileid/sdk/wire"
)

const (
	// verifier and challenge are a PKCE pair (RFC 7636 appendix B).
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	cibaGrant = "urn:openid:params:grant-type:ciba"
	browsers  = 16 // that are logged in
)

// ours is the server under test, with people whose phones are in our hands.
type ours struct {
	demo
	host, backend, shop, jwt string // host:port; Authorization lines
	phones                   []*phone
	refs                     []string
	cookies                  []string

	ops  []wire.Operation // by phone, while one waits
	ids  []string         // auth_req_id
	msgs [][]byte
	out  [][]byte
}

func basic(c credentials) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(c.ID+":"+c.Secret))
}

// newOurs gives the demo's merchant people with phones and logs some browsers in.
func newOurs(ctx context.Context, p pool, d demo, people int) (*ours, error) {
	o := &ours{demo: d, host: hostOf(d.Issuer), backend: basic(d.Backend), shop: basic(d.Shop), jwt: basic(d.JWT),
		phones: make([]*phone, people), refs: make([]string, people), cookies: make([]string, min(people, browsers)),
		ops: make([]wire.Operation, people), ids: make([]string, people), msgs: make([][]byte, people), out: make([][]byte, people)}
	if err := o.lengths(p[0]); err != nil {
		return nil, err
	}
	tek, err := sealKey(p[0], d.Issuer)
	if err != nil {
		return nil, err
	}
	a, err := p[0].want(http.StatusOK, o.clientCredentials(o.backend, "mobileid.users mobileid.devices"))
	if err != nil {
		return nil, err
	}
	bearer := "Authorization: Bearer " + member(a.body, "access_token")
	if _, err := p.each(ctx, people, func(c *conn, i int) error { return o.enrol(c, tek, bearer, i) }); err != nil {
		return nil, fmt.Errorf("registration: %w", err)
	}
	if _, err := p.each(ctx, len(o.cookies), o.logIn); err != nil {
		return nil, fmt.Errorf("login: %w", err)
	}
	return o, nil
}

func (o *ours) enrol(c *conn, tek wire.SealKey, bearer string, i int) error {
	o.refs[i] = fmt.Sprintf("load-%d", i)
	post := func(path string, body any, into any) error {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		a, err := c.want(http.StatusCreated, request("POST", o.host, path, text, bearer, "Content-Type: application/json"))
		if err != nil {
			return err
		}
		return json.Unmarshal(a.body, into)
	}
	var made struct{ ID, Link string }
	if err := post("/api/v1/users", map[string]string{"externalRef": o.refs[i]}, &made); err != nil {
		return err
	}
	if err := post("/api/v1/registrations", map[string]string{"userId": made.ID}, &made); err != nil {
		return err
	}
	p, err := register(c, tek, made.Link)
	o.phones[i] = p
	return err
}

var matchOnPage = regexp.MustCompile(`class="match"[^>]*>\s*<strong>([0-9]+)</strong>`)

// logIn takes browser i through the redirect login with phone i.
func (o *ours) logIn(c *conn, i int) error {
	a, err := c.want(http.StatusSeeOther, o.authorize("", "login_hint="+url.QueryEscape(o.refs[i])))
	if err != nil {
		return err
	}
	page := a.header.Get("Location")
	cookie := cookieOf(a)
	if a, err = c.want(http.StatusOK, request("GET", o.host, page, nil, cookie)); err != nil {
		return err
	}
	match := matchOnPage.FindSubmatch(a.body)
	if match == nil {
		return errors.New("the login page shows no number")
	}
	if err := o.list(c, i); err != nil {
		return err
	}
	if err := o.listed(i); err != nil {
		return err
	}
	msg, err := o.phones[i].approval(&o.ops[i], string(match[1]))
	if err != nil {
		return err
	}
	if err := o.phones[i].call(c, msg, new(wire.AnswerReply)); err != nil {
		return err
	}
	if a, err = c.want(http.StatusSeeOther, request("GET", o.host, page, nil, cookie)); err != nil {
		return err
	}
	o.cookies[i] = cookieOf(a)
	return nil
}

func cookieOf(a answer) string {
	pair, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
	return "Cookie: " + pair
}

// batch is one flow, or a part of one, many times. do is measured; prepare and
// finish, which do the phones' own cryptography, are not.
type batch struct {
	n       int
	prepare func(i int) error
	do      func(c *conn, i int) error
	finish  func(i int) error
	settle  bool // the server finishes something a moment later: wait for it
}

// step returns the batch of that name, n times where people do not set how often.
func (o *ours) step(name string, n int) batch {
	people := len(o.phones)
	switch name {
	case stepCredentials:
		req := o.clientCredentials(o.backend, "mobileid.users")
		return batch{n: n, do: func(c *conn, _ int) error { return ok(c, req) }}
	case stepJWT:
		req := o.clientCredentials(o.jwt, "mobileid.users")
		return batch{n: n, do: func(c *conn, _ int) error {
			a, err := c.want(http.StatusOK, req)
			if err == nil && strings.Count(member(a.body, "access_token"), ".") != 2 {
				err = errors.New("the access token is no JWT")
			}
			return err
		}}
	case stepStart:
		return batch{n: people, do: o.start, finish: o.started}
	case stepList:
		return batch{n: people, prepare: func(i int) (err error) {
			o.msgs[i], err = o.phones[i].message(wire.OpList, wire.List{})
			return err
		}, do: o.send, finish: o.listed}
	case stepAnswer:
		return batch{n: people, settle: true, prepare: func(i int) (err error) {
			o.msgs[i], err = o.phones[i].approval(&o.ops[i], "")
			return err
		}, do: o.send, finish: func(i int) error { return o.phones[i].read(o.out[i], new(wire.AnswerReply)) }}
	case stepPoll:
		return batch{n: people, do: o.poll}
	case stepCode:
		return batch{n: n, do: o.codeFlow}
	}
	return batch{n: n, do: o.discover}
}

func ok(c *conn, req []byte) error {
	_, err := c.want(http.StatusOK, req)
	return err
}

func (o *ours) clientCredentials(client, scope string) []byte {
	return form(o.host, "/token", client, url.Values{"grant_type": {"client_credentials"}, "scope": {scope}})
}

func (o *ours) start(c *conn, i int) (err error) {
	a, err := c.want(http.StatusOK, form(o.host, "/bc-authorize", o.backend,
		url.Values{"scope": {"openid"}, "login_hint": {o.refs[i]}, "binding_message": {"Order 4711"}}))
	o.out[i] = a.body
	return err
}

func (o *ours) started(i int) error {
	if o.ids[i] = member(o.out[i], "auth_req_id"); o.ids[i] == "" {
		return errors.New("no auth_req_id")
	}
	return nil
}

func (o *ours) poll(c *conn, i int) error {
	a, err := c.want(http.StatusOK, form(o.host, "/token", o.backend, url.Values{"grant_type": {cibaGrant}, "auth_req_id": {o.ids[i]}}))
	if err == nil && !bytes.Contains(a.body, []byte(`"id_token"`)) {
		err = errors.New("no ID token")
	}
	return err
}

func (o *ours) send(c *conn, i int) error {
	a, err := c.want(http.StatusOK, o.msgs[i])
	o.out[i] = a.body
	return err
}

func (o *ours) list(c *conn, i int) (err error) {
	if o.msgs[i], err = o.phones[i].message(wire.OpList, wire.List{}); err != nil {
		return err
	}
	return o.send(c, i)
}

func (o *ours) listed(i int) error {
	var reply wire.ListReply
	if err := o.phones[i].read(o.out[i], &reply); err != nil {
		return err
	}
	if len(reply.Ops) != 1 {
		return fmt.Errorf("%d operations wait for a phone, want 1", len(reply.Ops))
	}
	o.ops[i] = reply.Ops[0]
	return nil
}

func (o *ours) authorize(cookie, more string) []byte {
	q := url.Values{"client_id": {o.Shop.ID}, "redirect_uri": {o.ShopURL + "/callback"}, "response_type": {"code"}, "scope": {"openid"},
		"state": {"st4te"}, "nonce": {"n0nce"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"}}
	path := "/authorize?" + q.Encode() + "&" + more
	if cookie == "" {
		return request("GET", o.host, path, nil)
	}
	return request("GET", o.host, path, nil, cookie)
}

// codeFlow is what a relying party and its user's logged-in browser do.
func (o *ours) codeFlow(c *conn, i int) error {
	a, err := c.want(http.StatusSeeOther, o.authorize(o.cookies[i%len(o.cookies)], "prompt=none"))
	if err != nil {
		return err
	}
	_, rest, found := strings.Cut(a.header.Get("Location"), "code=")
	code, _, _ := strings.Cut(rest, "&")
	if !found {
		return fmt.Errorf("no code: %s", a.header.Get("Location"))
	}
	a, err = c.want(http.StatusOK, form(o.host, "/token", o.shop, url.Values{"grant_type": {"authorization_code"}, "code": {code},
		"code_verifier": {verifier}, "redirect_uri": {o.ShopURL + "/callback"}}))
	if err != nil {
		return err
	}
	return ok(c, request("GET", o.host, "/userinfo", nil, "Authorization: Bearer "+member(a.body, "access_token")))
}

// documents are what step discovery asks for in turn.
func documents() [2]string { return [...]string{"/.well-known/openid-configuration", "/jwks"} }

func (o *ours) discover(c *conn, i int) error {
	return ok(c, request("GET", o.host, documents()[i%2], nil))
}

// lengths holds the documents of the floor server against ours.
func (o *ours) lengths(c *conn) error {
	for i, floor := range [...]int{discoveryBytes, keysBytes} {
		path := documents()[i]
		a, err := c.want(http.StatusOK, request("GET", o.host, path, nil))
		if err != nil {
			return err
		}
		if got := len(a.body); got < floor*9/10 || got > floor*11/10 {
			return fmt.Errorf("%s has %d bytes and the floor server's document %d: set it anew in floor.go", path, got, floor)
		}
	}
	return nil
}

// member is a string member of a JSON object whose values hold no escapes.
func member(body []byte, name string) string {
	_, rest, _ := bytes.Cut(body, []byte(`"`+name+`":"`))
	value, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(value)
}
