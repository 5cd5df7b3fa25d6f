package chaos

import (
	"strings"
	"testing"
	"time"

	"mobileid/internal/db/dbtest"
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
			return rig.Options{DB: dbtest.Postgres(t), KV: redis.URL(), Nodes: 2}
		},
		"postgres": func(t *testing.T) rig.Options {
			dsn := dbtest.Postgres(t)
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
			p.HTTP = r.At(0).HTTP
			type told struct {
				word string
				took time.Duration
			}
			got := rig.Crowd(4, func(i int) told {
				begun := time.Now()
				switch i {
				case 0: // while the other two are held
					time.Sleep(500 * time.Millisecond)
					r.Approve(p, "")
				case 1:
					return told{rig.Word(r.At(1).TryPoll(r.Backend, id)), time.Since(begun)}
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
			if a := got[2]; a.word != "400 expired_token" || a.took > 15*time.Second {
				t.Errorf("over: told %s after %v", a.word, a.took)
			}
		})
	}
}
