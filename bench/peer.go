package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// preparePeer installs the peer into its folder unless what is there is what the
// lock file says. An error is why the bench goes on without it.
func preparePeer(ctx context.Context, dir string) error {
	lock, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return err
	}
	if _, err := exec.LookPath("node"); err != nil {
		return errors.New("node is not installed")
	}
	mark := filepath.Join(dir, "node_modules", ".installed-lock")
	if have, err := os.ReadFile(mark); err == nil && bytes.Equal(have, lock) {
		return nil
	}
	cmd := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w: %.500s", err, out)
	}
	return os.WriteFile(mark, lock, 0o644)
}

// peerFixture is what the peer says when it listens.
type peerFixture struct {
	Issuer      string `json:"issuer"`
	ID          string `json:"client_id"`
	Secret      string `json:"client_secret"`
	RedirectURI string `json:"redirect_uri"`
}

// startPeer starts it with its records in memory, or in the Redis at that address.
func startPeer(ctx context.Context, cores int, dir, redis string) (*process, peerFixture, error) {
	var fix peerFixture
	p, err := start(cores, append(plainEnv(), "NODE_ENV=production"), "node", filepath.Join(dir, "server.js"), redis)
	if err != nil {
		return nil, fix, err
	}
	err = p.await(ctx, "the peer", func() bool {
		for line := range strings.Lines(p.log.String()) {
			if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &fix) == nil {
				return true
			}
		}
		return false
	})
	if err != nil {
		p.stop()
		return nil, fix, err
	}
	return p, fix, nil
}

// peerLoad sends the peer what ours is sent, as far as the peer has it: nobody
// but ours has a phone.
type peerLoad struct {
	peerFixture
	host, auth, cookie string
	ids                []string
}

func newPeerLoad(c *conn, fix peerFixture, people int) (*peerLoad, error) {
	p := &peerLoad{peerFixture: fix, host: hostOf(fix.Issuer), auth: basic(credentials{fix.ID, fix.Secret}), ids: make([]string, people)}
	return p, p.logIn(c)
}

// logIn takes a browser through the peer's redirects to a session.
func (p *peerLoad) logIn(c *conn) error {
	next := p.authorize("")
	jar := map[string]string{}
	for range 5 {
		a, err := c.want(http.StatusSeeOther, next)
		if err != nil {
			return err
		}
		for _, line := range a.header.Values("Set-Cookie") {
			pair, _, _ := strings.Cut(line, ";")
			name, value, _ := strings.Cut(pair, "=")
			jar[name] = value
		}
		to := a.header.Get("Location")
		if strings.HasPrefix(to, p.RedirectURI) {
			if jar["_session"] == "" || !strings.Contains(to, "code=") {
				return fmt.Errorf("the peer did not log the browser in: %s", to)
			}
			p.cookie = "Cookie: _session=" + jar["_session"]
			return nil
		}
		var pairs []string
		for name, value := range jar {
			pairs = append(pairs, name+"="+value)
		}
		next = request("GET", p.host, strings.TrimPrefix(to, p.Issuer), nil, "Cookie: "+strings.Join(pairs, "; "))
	}
	return errors.New("the peer redirects without end")
}

func (p *peerLoad) authorize(more string, headers ...string) []byte {
	q := url.Values{"client_id": {p.ID}, "redirect_uri": {p.RedirectURI}, "response_type": {"code"}, "scope": {"openid"},
		"state": {"st4te"}, "nonce": {"n0nce"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"}}
	return request("GET", p.host, "/auth?"+q.Encode()+more, nil, headers...)
}

func (p *peerLoad) step(name string, n int) batch {
	people := len(p.ids)
	switch name {
	case stepCredentials:
		req := form(p.host, "/token", p.auth, url.Values{"grant_type": {"client_credentials"}, "scope": {"mobileid.users"}})
		return batch{n: n, do: func(c *conn, _ int) error { return ok(c, req) }}
	case stepStart:
		return batch{n: people, do: func(c *conn, i int) error {
			a, err := c.want(http.StatusOK, form(p.host, "/backchannel", p.auth,
				url.Values{"scope": {"openid"}, "login_hint": {fmt.Sprintf("load-%d", i)}, "binding_message": {"Order 4711"}}))
			p.ids[i] = member(a.body, "auth_req_id")
			return err
		}}
	case stepPoll:
		return batch{n: people, do: func(c *conn, i int) error {
			a, err := c.want(http.StatusOK, form(p.host, "/token", p.auth, url.Values{"grant_type": {cibaGrant}, "auth_req_id": {p.ids[i]}}))
			if err == nil && member(a.body, "id_token") == "" {
				err = errors.New("no ID token")
			}
			return err
		}}
	case stepCode:
		return batch{n: n, do: p.codeFlow}
	case stepDiscovery:
		return batch{n: n, do: func(c *conn, i int) error {
			path := "/.well-known/openid-configuration"
			if i%2 == 1 {
				path = "/jwks"
			}
			return ok(c, request("GET", p.host, path, nil))
		}}
	}
	return batch{}
}

func (p *peerLoad) codeFlow(c *conn, _ int) error {
	a, err := c.want(http.StatusSeeOther, p.authorize("&prompt=none", p.cookie))
	if err != nil {
		return err
	}
	_, rest, found := strings.Cut(a.header.Get("Location"), "code=")
	code, _, _ := strings.Cut(rest, "&")
	if !found {
		return fmt.Errorf("no code: %s", a.header.Get("Location"))
	}
	a, err = c.want(http.StatusOK, form(p.host, "/token", p.auth, url.Values{"grant_type": {"authorization_code"}, "code": {code},
		"code_verifier": {verifier}, "redirect_uri": {p.RedirectURI}}))
	if err != nil {
		return err
	}
	return ok(c, request("GET", p.host, "/me", nil, "Authorization: Bearer "+member(a.body, "access_token")))
}
