package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"mobileid/test/program"
	"mobileid/test/rig"
)

// site is a client that logs people in by redirect.
type site struct {
	*client
	callback string
}

// as is the same server for a client with redirects.
func (c *client) as(id program.Client, callback string) *site {
	own := &program.Server{Demo: program.Demo{Issuer: c.srv.Issuer, Backend: id}}
	return &site{&client{t: c.t, srv: own, c: http.Client{Timeout: c.c.Timeout, Transport: c.c.Transport}, sky: c.sky}, callback}
}

var (
	matchOnPage = regexp.MustCompile(`class="match"[^>]*>\s*<strong>([0-9]+)</strong>`)
	stateOnPage = regexp.MustCompile(`data-state="([a-z-]+)"`)
)

// visit opens an address in the browser, until it is answered by something that is
// not a failure of the moment. left is set once the browser has left the server.
func visit(ctx context.Context, b *http.Client, address string) (html, at string, left url.Values, status int) {
	for ctx.Err() == nil {
		res, err := b.Get(address)
		if err != nil || res.StatusCode >= 500 {
			if err == nil {
				res.Body.Close()
			}
			time.Sleep(25 * time.Millisecond)
			continue
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			continue
		}
		if to, err := res.Location(); err == nil {
			return "", "", to.Query(), res.StatusCode
		}
		return string(body), res.Request.URL.String(), nil, res.StatusCode
	}
	return "", "", nil, 0
}

// login logs somebody in by redirect in a new browser, uses the code, twice at
// once now and then, and renews the tokens.
func (c *site) login(s *someone) history {
	h := history{client: c.srv.Backend.ID}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	jar, err := cookiejar.New(nil)
	if err != nil {
		c.t.Error(err)
	}
	b := &http.Client{Jar: jar, Timeout: c.c.Timeout, Transport: c.c.Transport, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(r.URL.String(), c.srv.Issuer+"/") {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	q := url.Values{"client_id": {h.client}, "redirect_uri": {c.callback}, "response_type": {"code"}, "scope": {"openid offline_access"}, "state": {"s"},
		"code_challenge": {rig.Challenge}, "code_challenge_method": {"S256"}, "login_hint": {s.ref}}
	var page string
	var m []string
	for m == nil && ctx.Err() == nil { // without a number: "please try again"
		var html string
		html, page, _, _ = visit(ctx, b, c.srv.Issuer+"/authorize?"+q.Encode())
		m = matchOnPage.FindStringSubmatch(html)
	}
	if m == nil {
		c.t.Errorf("no login page within a minute, last %s", page)
		return h
	}
	begun := c.sky.look()
	over := make(chan struct{})
	go func() {
		defer close(over)
		for ctx.Err() == nil {
			html, _, left, status := visit(ctx, b, page)
			switch state := stateOnPage.FindStringSubmatch(html); {
			case left.Get("code") != "":
				c.redeem(&h, left.Get("code"))
				return
			case left != nil:
				h.last = left.Get("error")
				return
			case status != http.StatusOK:
				h.last = fmt.Sprint(status)
				return
			case state != nil && state[1] != "waiting":
				h.last = "page: " + state[1]
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	c.answers(ctx, s, &h, m[1], over)
	<-over
	h.calm = c.sky.still(begun)
	return h
}

// redeem uses a code. Nobody may send it again, and who does loses what it gave:
// every third time two at once try.
func (c *site) redeem(h *history, code string) {
	tries := 1
	if mathrand.IntN(3) == 0 {
		tries = 2
	}
	got := make([]answer, tries)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			a, err := c.form("/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {c.callback}, "code_verifier": {rig.Verifier}})
			if err != nil {
				a = answer{status: http.StatusServiceUnavailable}
			}
			got[i] = a
		})
	}
	wg.Wait()
	for _, a := range got {
		h.given(c.t, a)
		h.last = fmt.Sprint(a.status, a.text("error"))
	}
	if tries == 1 && len(h.tokens) == 1 {
		c.renew(h)
	}
}

// renew uses the refresh token, by two at once, until both have heard something.
func (c *site) renew(h *history) {
	first := h.refresh
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			a, err := c.definite(func() (answer, error) {
				return c.form("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first}})
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				c.t.Error(err)
			}
			if a.status != http.StatusOK {
				h.last = "refresh: " + a.text("error")
				return
			}
			h.access, h.refresh = a.text("access_token"), a.text("refresh_token")
			if !slices.Contains(h.successors, h.refresh) {
				h.successors = append(h.successors, h.refresh)
			}
		})
	}
	wg.Wait()
}

// definite repeats what may be repeated until its fate is known.
func (c *client) definite(send func() (answer, error)) (answer, error) {
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if a, err := send(); err == nil && a.status < 500 && a.status != http.StatusTooManyRequests {
			return a, nil
		}
	}
	return answer{}, errors.New("no definite answer in 60 s")
}

// locked has somebody log in and approve a request, locks the user, and holds that
// nothing of it works once the lock has returned (I7). wrong is what did.
func (c *site) locked(back *client, s *someone) (all []history, wrong []string) {
	h := c.login(s)
	waits := history{client: back.srv.Backend.ID}
	waits.authReqID = back.ask(url.Values{"scope": {"openid"}, "login_hint": {s.ref}, "requested_expiry": {"120"}})
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	over := make(chan struct{})
	close(over) // nobody polls: if it is not listed it is lost
	back.answers(ctx, s, &waits, "", over)
	back.change("/users/" + s.id + "/lock")
	form := func(c *client, path string, of url.Values) func() (answer, error) {
		return func() (answer, error) { return c.form(path, of) }
	}
	for name, try := range map[string]func() (answer, error){
		"the refresh token": form(c.client, "/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {h.refresh}}),
		"the access token": func() (answer, error) {
			return c.once(http.MethodPost, "/userinfo", h.access, "application/x-www-form-urlencoded", nil)
		},
		"what was approved": form(back, "/token", url.Values{"grant_type": {"urn:openid:params:grant-type:ciba"}, "auth_req_id": {waits.authReqID}}),
		"a new request":     form(back, "/bc-authorize", url.Values{"scope": {"openid"}, "login_hint": {s.ref}}),
	} {
		if a, err := c.definite(try); err != nil || a.status == http.StatusOK {
			wrong = append(wrong, fmt.Sprintf("%s of a locked user: %d %v", name, a.status, err))
		}
	}
	back.change("/users/" + s.id + "/unlock")
	return []history{h, waits}, wrong
}
