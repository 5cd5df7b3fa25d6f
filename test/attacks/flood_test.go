package attacks

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"mobileid/cmd/mobileid/node"
	"mobileid/config"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// defaults are the limits that a server has unless it is told otherwise, for a
// peer that is a proxy and never exempt.
func defaults(t *testing.T) rig.Options {
	t.Helper()
	c, err := config.Load(config.Sources{Env: []string{"MOBILEID_LIMITS__EXEMPT=none"}})
	if err != nil {
		t.Fatal(err)
	}
	return rig.Options{Limits: c.Limits, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
}

// answered sends a request until it is answered, five times at the most: of a thousand
// at once on a busy machine some send their header later than the server waits for it,
// and are hung up on.
func answered(r *rig.Rig, req *http.Request) (a rig.Answer, err error) {
	for range 5 {
		if a, err = r.Send(req); err == nil {
			return a, nil
		}
		body, again := req.GetBody()
		if again != nil {
			return a, again
		}
		req.Body = body
	}
	return a, err
}

// There is no password to hash here: client secrets are 256 random bits under one
// SHA-256, and a PIN is proven by a MAC. What a flood of guesses could cost is a
// request each, which the limits bound.
func TestH7_AThousandGuessesAtOnceCostLittleAndNobodyElseNotices(t *testing.T) {
	r := rig.Start(t, defaults(t))
	u, victim := r.Person()
	other, otherPhone := r.Person()
	token := func(from string, c node.NewClient, secret string) string {
		req, err := http.NewRequest(http.MethodPost, r.Issuer+"/token", strings.NewReader("grant_type=client_credentials"))
		if err != nil {
			return err.Error()
		}
		req.Header.Set("Content-Type", urlencoded)
		req.Header.Set("Authorization", basic(c, secret))
		req.Header.Set("X-Forwarded-For", from)
		a, err := answered(r, req)
		if err == nil && a.Status == http.StatusTooManyRequests && a.Header.Get("Retry-After") == "" {
			return "429 without Retry-After"
		}
		return rig.Word(a, err)
	}
	// One wrong PIN, a thousand times the same message.
	r.Ask(r.Backend, u)
	tap := r.Tapped(victim)
	_, err := victim.Approve(t.Context(), r.Waiting(victim), rig.WrongPIN, "")
	r.Refused(err, wire.AuthFailed)
	guess := tap.Last()

	before := usage()
	var others sync.WaitGroup
	others.Go(func() {
		for range 10 {
			if got := token("198.51.100.1", r.Backend, r.Backend.ClientSecret); got != "200" {
				t.Errorf("the client itself, elsewhere: %s", got)
			}
			if a, err := r.TryPost("/bc-authorize", r.Backend, map[string][]string{"scope": {"openid"}, "login_hint": {other.ExternalRef}}); err != nil || a.Status != http.StatusOK {
				t.Errorf("another user: %s, %v", a, err)
				return
			}
			ops, err := otherPhone.List(t.Context())
			if err != nil || len(ops) == 0 {
				t.Errorf("another phone sees %d operations, %v", len(ops), err)
				return
			}
			if _, err := otherPhone.Approve(t.Context(), &ops[0], rig.PIN, ""); err != nil {
				t.Errorf("another phone: %v", err)
			}
		}
	})
	const n = 1000
	var pins []string
	others.Go(func() {
		pins = rig.Crowd(n, func(int) string {
			req, err := http.NewRequest(http.MethodPost, r.Issuer+"/mid/v1/rpc", strings.NewReader(guess))
			if err != nil {
				return err.Error()
			}
			req.Header.Set("Content-Type", "application/jose")
			req.Header.Set("X-Forwarded-For", "203.0.113.9")
			a, err := answered(r, req)
			return rig.Word(a, err)
		})
	})
	told := rig.Count(rig.Crowd(n, func(i int) string { return token("203.0.113.7", r.Backend, fmt.Sprint("guess-", i)) }))
	others.Wait()

	if told["401 invalid_client"] > 40 || told["401 invalid_client"]+told["429 temporarily_unavailable"] != n {
		t.Errorf("the guesses were told %v", told)
	}
	for word := range rig.Count(pins) {
		if !strings.HasPrefix(word, "200") && !strings.HasPrefix(word, "429") && !strings.HasPrefix(word, "4") {
			t.Errorf("the copies of a wrong PIN were told %v", rig.Count(pins))
			break
		}
	}
	if d := r.Device(victim); d.Failures != 1 {
		t.Errorf("the wrong PIN was counted %d times", d.Failures)
	}
	if after := usage(); int64(after.heap)-int64(before.heap) > 64<<20 {
		t.Errorf("the heap grew by %d MiB", (after.heap-before.heap)>>20)
	}
}
