package chaos

import (
	"net/url"
	"testing"
	"time"

	"mobileid/internal/db/dbtest/schema"
	"mobileid/internal/kv/kvtest"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// R6: an older Redis comes back, with everything pending that has been decided
// since, and everything unused that has been used. SQL refuses all of it.
func TestR6_AnOlderRedisBringsNothingBackThatWasDecidedOrUsed(t *testing.T) {
	for name, on := range map[string]func(t *testing.T) rig.Options{
		"redis":                           func(*testing.T) rig.Options { return rig.Options{} },
		"two nodes on postgres and redis": func(t *testing.T) rig.Options { return rig.Options{DB: schema.Postgres(t), Nodes: 2} },
	} {
		t.Run(name, func(t *testing.T) {
			redis, o := kvtest.StartRedis(t), on(t)
			o.KV = redis.URL()
			r := rig.Start(t, o)
			replays := prepare(t, r)
			snapshot := redis.Snapshot()
			for _, p := range replays {
				p.use()
			}
			redis.Restore(snapshot)
			_, p := r.Person() // calls may fail until every node has new connections
			_, err := p.List(t.Context())
			for deadline := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(deadline); _, err = p.List(t.Context()) {
				time.Sleep(50 * time.Millisecond)
			}
			for _, p := range replays {
				if got := p.again(); got != p.want {
					t.Errorf("%s: told %q, want %q", p.name, got, p.want)
				}
			}
		})
	}
}

// replay is something that is waiting, how it is used up, and how it is tried again.
type replay struct {
	name  string
	use   func()
	again func() string
	want  string
}

// prepare has one of everything wait.
func prepare(t *testing.T, r *rig.Rig) (all []replay) {
	add := func(name string, use func(), again func() string, want string) {
		all = append(all, replay{name, use, again, want})
	}
	gone := func(p *sdk.Phone, op *wire.Operation) func() string {
		return func() string {
			if now, err := p.List(t.Context()); err != nil || len(now) == 0 || now[0].Txn != op.Txn {
				t.Errorf("the older Redis does not offer %s: %v", op.Txn, err)
			}
			_, err := p.Approve(t.Context(), op, rig.PIN, "")
			return r.Refused(err, wire.OpGone).State
		}
	}

	u, p := r.Person()
	approved, op := r.Ask(r.Backend, u).Text("auth_req_id"), r.Waiting(p)
	var token string
	add("an approval", func() {
		r.Approve(p, "")
		token = r.Poll(r.Backend, approved).Text("access_token")
	}, gone(p, op), "COMPLETED")
	add("a redeemed auth_req_id", func() {}, func() string { return rig.Word(r.TryPoll(r.Backend, approved)) }, "400 invalid_grant")
	add("what it had given", func() {}, func() string {
		return rig.Word(r.Get("/userinfo", "Authorization", "Bearer "+token), nil)
	}, "401 invalid_token")

	u2, p2 := r.Person()
	declined, op2 := r.Ask(r.Backend, u2).Text("auth_req_id"), r.Waiting(p2)
	add("a decline", func() {
		if _, err := p2.Decline(t.Context(), op2, false); err != nil {
			t.Fatal(err)
		}
	}, gone(p2, op2), "DECLINED")
	add("a declined auth_req_id", func() {}, func() string { return rig.Word(r.TryPoll(r.Backend, declined)) }, "400 access_denied")

	u3, p3 := r.Person()
	b3 := r.Browser()
	page3 := b3.Open(r.AuthorizeURL("login_hint", u3.ExternalRef))
	add("a cancelled login", func() {
		b3.Submit(page3.URL.String()+"/cancel", url.Values{"csrf": {page3.CSRF()}})
	}, gone(p3, r.Waiting(p3)), "CANCELLED")

	u4, p4 := r.Person()
	r.Ask(r.Backend, u4)
	add("a superseded request", func() { r.Ask(r.Backend, u4) }, gone(p4, r.Waiting(p4)), "SUPERSEDED")

	u5, p5 := r.Person()
	code := r.Login(r.Browser(), u5, p5).Get("code")
	var won rig.Answer
	add("a redeemed code", func() { won = r.Redeem(code) }, func() string { return rig.Word(r.TryRedeem(code)) }, "400 invalid_grant")
	add("the refresh token that it gave", func() {}, func() string { return rig.Word(r.TryRefresh(won.Text("refresh_token"))) }, "400 invalid_grant")

	u6, p6 := r.Person()
	b6 := r.Browser()
	page6 := b6.Open(r.AuthorizeURL("login_hint", u6.ExternalRef))
	r.Approve(p6, page6.Match())
	finish := func() string {
		if at := b6.Open(page6.URL.String()); at.Left != nil {
			return "code " + at.Left.Query().Get("code")
		} else {
			return rig.Word(at.Answer, nil)
		}
	}
	add("a finished login page", func() { finish() }, finish, "404")

	u7, p7 := r.Person()
	b7 := r.Browser()
	hint := r.Redeem(r.Login(b7, u7, p7).Get("code")).Text("id_token")
	add("a session that was logged out", func() {
		b7.Open(r.Issuer + "/logout?" + url.Values{"id_token_hint": {hint}}.Encode())
	}, func() string {
		if at := b7.Open(r.AuthorizeURL("prompt", "none")); at.Left != nil {
			return at.Left.Query().Get("error")
		}
		return "a page"
	}, "login_required")

	u8, p8 := r.Person()
	revoked := r.Redeem(r.Login(r.Browser(), u8, p8).Get("code")).Text("access_token")
	add("a revoked access token", func() { r.Post("/revoke", r.Web, url.Values{"token": {revoked}}) }, func() string {
		return rig.Word(r.Get("/userinfo", "Authorization", "Bearer "+revoked), nil)
	}, "401 invalid_token")

	link := r.Link(r.User())
	enrol := func() string { _, err := r.Phone().Register(t.Context(), link); return rig.Sealed(err) }
	add("a registration link", func() { enrol() }, enrol, wire.ActivationFailed)
	typed := r.REST("POST", "/registrations", map[string]any{"userId": r.User().ID, "activationCode": true})
	enrolTyped := func() string {
		_, err := r.Phone().RegisterTyped(t.Context(), r.Issuer, typed.Text("locator"), typed.Text("activationCode"))
		return rig.Sealed(err)
	}
	add("a typed activation code", func() { enrolTyped() }, enrolTyped, wire.ActivationFailed)
	return all
}
