package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// floorLoad sends the floor server what ours is sent, in the floor's form.
type floorLoad struct {
	fixture
	host string
	ids  []string
}

func newFloorLoad(c *conn, host string, people int) (*floorLoad, error) {
	f := &floorLoad{host: host, ids: make([]string, people)}
	a, err := c.want(http.StatusOK, request("GET", host, "/fixture", nil))
	if err != nil {
		return nil, err
	}
	return f, json.Unmarshal(a.body, &f.fixture)
}

func (f *floorLoad) step(name string, n int) batch {
	people := len(f.ids)
	switch name {
	case stepCredentials:
		req := form(f.host, "/token", f.Client, url.Values{"grant_type": {"client_credentials"}, "scope": {"mobileid.users"}})
		return batch{n: n, do: func(c *conn, _ int) error { return ok(c, req) }}
	case stepJWT:
		req := form(f.host, "/token-jwt", f.Client, url.Values{"grant_type": {"client_credentials"}, "scope": {"mobileid.users"}})
		return batch{n: n, do: func(c *conn, _ int) error { return ok(c, req) }}
	case stepStart:
		return batch{n: people, do: func(c *conn, i int) error {
			a, err := c.want(http.StatusOK, form(f.host, "/start", f.Client, url.Values{"scope": {"openid"}, "login_hint": {"load"}, "binding_message": {"Order 4711"}}))
			f.ids[i] = member(a.body, "auth_req_id")
			return err
		}}
	case stepList:
		req := request("POST", f.host, "/list", f.List)
		return batch{n: people, do: func(c *conn, _ int) error { return ok(c, req) }}
	case stepAnswer:
		req := request("POST", f.host, "/answer", f.Answer)
		return batch{n: people, do: func(c *conn, _ int) error { return ok(c, req) }}
	case stepPoll:
		return batch{n: people, do: func(c *conn, i int) error {
			return ok(c, form(f.host, "/redeem", f.Client, url.Values{"grant_type": {cibaGrant}, "value": {f.ids[i]}}))
		}}
	case stepCode:
		return batch{n: n, do: f.codeFlow}
	}
	docs := [...][]byte{request("GET", f.host, "/doc", nil), request("GET", f.host, "/keys", nil)}
	return batch{n: n, do: func(c *conn, i int) error { return ok(c, docs[i%2]) }}
}

func (f *floorLoad) codeFlow(c *conn, _ int) error {
	a, err := c.want(http.StatusSeeOther, request("GET", f.host, "/authorize?redirect_uri=http%3A%2F%2Flocalhost%2Fcallback&state=st4te&code_challenge="+challenge, nil, "Cookie: mid=session"))
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(a.header.Get("Location"), "code=")
	code, _, _ := strings.Cut(rest, "&")
	a, err = c.want(http.StatusOK, form(f.host, "/redeem", f.Client, url.Values{"grant_type": {"authorization_code"}, "value": {code}, "code_verifier": {verifier}}))
	if err != nil {
		return err
	}
	token := member(a.body, "access_token")
	if token == "" {
		return errors.New("no access token")
	}
	return ok(c, request("GET", f.host, "/userinfo", nil, "Authorization: Bearer "+token))
}
