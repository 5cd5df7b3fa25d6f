package chaos

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	mathrand "math/rand/v2"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/internal/operation"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// someone is a user with a phone, and what the phone knows of wrong PINs.
type someone struct {
	id    string
	ref   string
	phone *sdk.Phone
	wrong int64 // told, over all
	row   int64 // since the last right one
	day   int64 // of failure counts, when it began
}

// person registers a phone for a new user.
func (c *client) person(dir string) *someone {
	s := &someone{ref: "chaos-" + rand.Text()[:12], day: time.Now().Unix() / 86400}
	user := c.rest("/users", map[string]any{"externalRef": s.ref})
	s.id = user.text("id")
	file := &sdk.File{Path: filepath.Join(dir, s.ref+".json")}
	s.phone = &sdk.Phone{Store: file, Keys: file, HTTP: &c.c, Now: time.Now, Rand: rand.Reader, Platform: "cli", Model: "Chaos",
		Pause: func(int) { time.Sleep(30 * time.Millisecond) }, Stretch: rig.StretchOnce()}
	reg := c.rest("/registrations", map[string]any{"userId": s.id})
	if _, err := s.phone.Register(context.Background(), reg.text("link")); err != nil {
		c.t.Errorf("register: %v", err)
	}
	if st, err := s.phone.Finish(context.Background(), pin); err != nil || st.State != wire.RegActive {
		c.t.Errorf("finish: %v %v", st, err)
	}
	return s
}

// history is what one login's client and phone saw.
type history struct {
	client    string
	authReqID string // of a backchannel request; "" of a redirect login
	txn       string
	declined  bool    // that is what the person wants
	calm      bool    // nothing was broken from when its start was acknowledged to its end
	acked     string  // state that the phone was told by its own doing, "gone" if by another's, "" if never
	tokens    []grant // every token set that was issued, but by refreshing
	last      string  // the last word of the token endpoint
	saw       string  // what the phone last failed with
	access    string  // the newest access token, and what renews it
	refresh   string
	// successors are the different refresh tokens that one refresh token gave.
	successors []string
}

// grant is what an ID token says of itself.
type grant struct {
	Txn string
	Aud string
	Iat int64
}

// diary collects histories.
type diary struct {
	mu    sync.Mutex
	lines []history
}

func (d *diary) add(h history) {
	d.mu.Lock()
	d.lines = append(d.lines, h)
	d.mu.Unlock()
}

// login asks, answers and polls through whatever happens to the servers and their
// stores. The client polls while the phone answers, as in life.
func (c *client) login(s *someone, decline bool) history {
	h := history{client: c.srv.Backend.ID, declined: decline}
	h.authReqID = c.ask(url.Values{"scope": {"openid"}, "login_hint": {s.ref}, "requested_expiry": {"120"}})
	begun := c.sky.look()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	over := make(chan struct{})
	go func() {
		defer close(over)
		c.poll(ctx, &h)
	}()
	c.answers(ctx, s, &h, "", over)
	<-over
	h.calm = c.sky.still(begun)
	return h
}

// poll asks for the tokens until it is told an end; sometimes once more when it has
// them.
func (c *client) poll(ctx context.Context, h *history) {
	for greedy := mathrand.IntN(4) == 0; ctx.Err() == nil; {
		a, err := c.form("/token", url.Values{"grant_type": {"urn:openid:params:grant-type:ciba"}, "auth_req_id": {h.authReqID}})
		if err != nil || a.status >= 500 || a.text("error") == "authorization_pending" || a.text("error") == "slow_down" {
			time.Sleep(25 * time.Millisecond)
			continue
		}
		h.last = a.text("error")
		h.given(c.t, a)
		if a.status != 200 || !greedy {
			return
		}
		greedy = false
	}
}

// given notes what the token endpoint gave, if anything.
func (h *history) given(t *testing.T, a answer) {
	if a.status == 200 {
		h.tokens = append(h.tokens, grantOf(t, a.text("id_token")))
		h.access, h.refresh = a.text("access_token"), a.text("refresh_token")
	}
}

// answers answers the operation of h on the phone, sometimes with a wrong PIN
// first, until the phone knows what became of it, or it is nowhere any more. match
// is the number on the login page, "" where there is none.
func (c *client) answers(ctx context.Context, s *someone, h *history, match string, over <-chan struct{}) {
	decline := h.declined
	mistake := !decline && s.row == 0 && s.wrong < 6 && mathrand.IntN(4) == 0
	for h.acked == "" && ctx.Err() == nil {
		gone := false
		select {
		case <-over: // then what is listed now is all there will be
			gone = true
		default:
		}
		ops, err := s.phone.List(ctx)
		if err != nil {
			h.saw = err.Error()
		}
		op := last(ops, h.client)
		if err != nil || op == nil {
			// What was sent may have been carried out although it is not listed any more.
			if err == nil && gone && s.resume(ctx, h, decline) && h.acked == "" {
				h.acked = "gone"
			}
			time.Sleep(20 * time.Millisecond)
			continue
		}
		h.txn = op.Txn
		switch {
		case decline:
			_, err = s.phone.Decline(ctx, op, false)
		case mistake:
			mistake = false
			_, err = s.phone.Approve(ctx, op, "314159", match)
		default:
			_, err = s.phone.Approve(ctx, op, pin, match)
		}
		if err != nil {
			h.saw = "answer: " + err.Error()
		}
		if _, sealed := errors.AsType[*wire.Error](err); err == nil || sealed {
			s.told(h, op.Txn, err, decline)
		}
	}
}

// resume hears what became of an answer whose reply was lost, and reports whether
// nothing is open any more.
func (s *someone) resume(ctx context.Context, h *history, decline bool) bool {
	out, err := s.phone.Resume(ctx)
	if err != nil {
		h.saw = "resume: " + err.Error()
		return false
	}
	if out != nil {
		s.told(h, out.Txn, out.Err, decline)
	}
	return true
}

// last is the newest operation of the client. One that only a lost acknowledgement
// knows of may have been superseded; ours, whose acknowledgement came, is the last.
func last(ops []wire.Operation, client string) *wire.Operation {
	for i := len(ops) - 1; i >= 0; i-- {
		if ops[i].ClientID == client {
			return &ops[i]
		}
	}
	return nil
}

// told notes what the phone was told about its answer.
func (s *someone) told(h *history, txn string, err error, decline bool) {
	e, sealed := errors.AsType[*wire.Error](err)
	switch {
	case err == nil && txn != h.txn:
	case err == nil && decline:
		h.acked = string(operation.Declined)
	case err == nil:
		h.acked, s.row = string(operation.Completed), 0
	case sealed && e.Code == wire.AuthFailed:
		s.wrong++
		s.row++
	case sealed && e.Code == wire.OpGone && txn == h.txn:
		h.acked = "gone"
	}
}

func grantOf(t *testing.T, idToken string) (g grant) {
	parts := strings.Split(idToken, ".")
	if len(parts) != 3 {
		t.Errorf("not an ID token: %q", idToken)
		return g
	}
	raw, err := wire.Decode(parts[1])
	if err = errors.Join(err, json.Unmarshal(raw, &g)); err != nil {
		t.Error(err)
	}
	return g
}
