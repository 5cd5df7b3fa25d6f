package provider

import (
	"net/http"
	"sync"
	"testing"

	"mobileid/internal/clock"
	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"
)

// racers is how many requests are sent at once.
const racers = 32

// race sends the same request from all racers at once, in turn to two nodes,
// and returns the answers.
func (h *house) race(request func() *http.Request) []reply {
	nodes := []*Provider{h.p, h.provider(clock.System{})}
	out := make([]reply, racers)
	start := new(sync.WaitGroup)
	start.Add(1)
	var all sync.WaitGroup
	for i := range racers {
		r := request()
		all.Go(func() {
			start.Wait()
			out[i] = call(nodes[i%2].Token, r)
		})
	}
	start.Done()
	all.Wait()
	return out
}

// oneWinner checks that one answer has tokens and all others are invalid_grant.
func oneWinner(t *testing.T, all []reply) (winner reply) {
	t.Helper()
	won := 0
	for _, r := range all {
		if r.StatusCode == http.StatusOK {
			won++
			winner = r
			continue
		}
		r.refuses(t, 400, codeInvalidGrant)
	}
	if won != 1 {
		t.Fatalf("%d winners", won)
	}
	return winner
}

func eachStore(t *testing.T, test func(t *testing.T, h *house)) {
	kvtest.Each(t, func(t *testing.T, s kv.KV) {
		h := &house{t: t}
		h.open(s, clock.System{})
		test(t, h)
	})
}

func TestA12_OfManyRedemptionsOfACodeOneWins(t *testing.T) {
	eachStore(t, func(t *testing.T, h *house) {
		for range 5 {
			v := form("grant_type", grantCode, "code", h.code(), "redirect_uri", "https://shop.example.com/cb", "code_verifier", verifier)
			w := oneWinner(t, h.race(func() *http.Request { return h.as("cli_web", "/token", v) }))
			if h.alive(w.str("access_token")) {
				t.Error("A11: the code was shown again, and its token lives on")
			}
		}
	})
}

func TestC14_OfManyRedemptionsOfABackchannelRequestOneWins(t *testing.T) {
	eachStore(t, func(t *testing.T, h *house) {
		for range 5 {
			id := h.ciba()
			h.approve(id)
			w := oneWinner(t, h.race(func() *http.Request {
				return h.as("cli_web", "/token", form("grant_type", grantCIBA, "auth_req_id", id))
			}))
			if h.alive(w.str("access_token")) {
				t.Error("redeemed again, and its token lives on")
			}
		}
	})
}

func TestB5_OfManyUsesOfARefreshTokenOneSuccessorComes(t *testing.T) {
	eachStore(t, func(t *testing.T, h *house) {
		token := h.tokens().str("refresh_token")
		for range 5 {
			next := ""
			for _, r := range h.race(func() *http.Request {
				return h.as("cli_web", "/token", form("grant_type", grantToken, "refresh_token", token))
			}) {
				if r.StatusCode != http.StatusOK || !h.alive(r.str("access_token")) {
					t.Fatalf("4.15: a loser of the race within the grace: %d %s", r.StatusCode, r.text)
				}
				if got := r.str("refresh_token"); next == "" {
					next = got
				} else if got != next {
					t.Fatalf("two successors: %s and %s", got, next)
				}
			}
			token = next
		}
	})
}

func TestB5_AnOldRefreshTokenAmongManyUsesEndsTheGrantForAll(t *testing.T) {
	eachStore(t, func(t *testing.T, h *house) {
		r0 := h.tokens()
		r1 := h.use(r0.str("refresh_token"))
		r2 := h.use(r1.str("refresh_token"))
		for _, r := range h.race(func() *http.Request {
			return h.as("cli_web", "/token", form("grant_type", grantToken, "refresh_token", r0.str("refresh_token")))
		}) {
			r.refuses(t, 400, codeInvalidGrant)
		}
		if h.alive(r2.str("access_token")) {
			t.Error("the access token lives on")
		}
		h.use(r2.str("refresh_token")).refuses(t, 400, codeInvalidGrant)
	})
}
