package chaos

import (
	"strings"
	"testing"
	"time"

	"mobileid/internal/db/dbtest"
	"mobileid/internal/db/dbtest/schema"
	"mobileid/internal/kv/kvtest"
	"mobileid/test/rig"
)

// R10: no hint ever arrives, on Redis or PostgreSQL. Whoever waits at the other
// node reads again after five seconds, and the end of a request comes by the clock.
func TestR10_WaitersAreToldWithoutTheirHints(t *testing.T) {
	for name, on := range map[string]func(t *testing.T) rig.Options{
		"redis": func(t *testing.T) rig.Options {
			redis := kvtest.StartRedis(t)
			redis.CLI("acl", "setuser", "default", "-subscribe", "-psubscribe", "-ssubscribe")
			return rig.Options{DB: schema.Postgres(t), KV: redis.URL(), Nodes: 2}
		},
		"postgres": func(t *testing.T) rig.Options {
			dsn := schema.Postgres(t)
			_, rest, _ := strings.Cut(dsn, "@")
			target, _, _ := strings.Cut(rest, "/")
			proxy := dbtest.StartProxy(t, target)
			proxy.Rule(func(sql string) dbtest.Fate {
				if strings.HasPrefix(sql, "LISTEN") {
					return dbtest.LoseRequest
				}
				return dbtest.Pass
			})
			return rig.Options{DB: dsn, KV: proxy.Through(dsn), Nodes: 2}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rig.Start(t, on(t))
			u, p := r.Person()
			late, _ := r.Person()
			id := r.Ask(r.Backend, u).Text("auth_req_id")
			short := r.Ask(r.Backend, late, "requested_expiry", "10").Text("auth_req_id")
			shown, looking := r.Person() // a browser at the other node shows what becomes of a login
			looking.HTTP = r.At(0).HTTP
			b := r.At(1).Browser()
			page := b.Open(r.AuthorizeURL("login_hint", shown.ExternalRef))
			p.HTTP = r.At(0).HTTP
			type told struct {
				word string
				took time.Duration
			}
			got := rig.Crowd(6, func(i int) told {
				begun := time.Now()
				switch i {
				case 0: // while the other two are held
					time.Sleep(500 * time.Millisecond)
					r.Approve(p, "")
				case 1:
					return told{rig.Word(r.At(1).TryPoll(r.Backend, id)), time.Since(begun)}
				case 4:
					time.Sleep(500 * time.Millisecond)
					r.At(0).Approve(looking, page.Match())
				case 5: // the stream ends with the page's last state
					return told{b.Open(page.URL.String() + "/events").Body, time.Since(begun)}
				case 3:
					time.Sleep(500 * time.Millisecond)
					r.Clock.Advance(10 * time.Second)
				case 2:
					return told{rig.Word(r.At(1).TryPoll(r.Backend, short)), time.Since(begun)}
				}
				return told{}
			})
			// A poll is held for 25 s: what comes long before that came by reading again.
			if a := got[1]; a.word != "200" || a.took > 15*time.Second {
				t.Errorf("approved at the other node: told %s after %v", a.word, a.took)
			}
			// The server would keep the stream for a quarter of an hour, the browser for 40 s.
			if a := got[5]; !strings.Contains(a.word, `data-state="waiting"`) || !strings.Contains(a.word, `data-state="done"`) || a.took > 15*time.Second {
				t.Errorf("the page at the other node shows, after %v: %s", a.took, a.word)
			}
			if a := got[2]; a.word != "400 expired_token" || a.took > 15*time.Second {
				t.Errorf("over: told %s after %v", a.word, a.took)
			}
		})
	}
}
