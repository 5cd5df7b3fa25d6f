package chaos

import (
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mobileid/internal/db/dbtest"
	"mobileid/internal/kv/kvtest"
)

// rounds is how often each fault strikes: CHAOS_ROUNDS, as `make chaos` sets it,
// or twice.
func rounds(t *testing.T) int {
	n := 2
	if text := os.Getenv("CHAOS_ROUNDS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 {
			t.Fatalf("CHAOS_ROUNDS must be a positive number, not %q", text)
		}
	}
	return n
}

// long reports whether this is the long form, which may take its time.
func long() bool { return os.Getenv("CHAOS_ROUNDS") != "" }

// storm is people who log in on two nodes, one login after the other, while
// something breaks.
type storm struct {
	*cluster
	t       *testing.T
	clients [2]*client
	site    *site // of the same merchant
	people  []*someone
	victim  *someone // is locked and unlocked all the time
	hook    *hook
	sky     sky
	all     diary
	dsn     string
	rounds  int
	turn    int
}

func startStorm(t *testing.T, dbURL, kvURL string, second ...string) *storm {
	t.Helper()
	s := &storm{t: t, cluster: startCluster(t, dbURL, kvURL, second...), dsn: dbURL, rounds: rounds(t), hook: startHook(t)}
	for i, id := range s.backends() {
		s.clients[i] = s.client(id)
		s.clients[i].sky = &s.sky
	}
	s.site = s.clients[0].as(s.shop(), callback)
	s.clients[0].listen(s.hook)
	for range 5 {
		s.people = append(s.people, s.clients[0].person(t.TempDir()))
	}
	s.victim = s.clients[0].person(t.TempDir())
	return s
}

// during lets the faults strike, one round after the other, and holds all that was
// told against the database. People log in by both ways in turn. The second client
// is declined, each time by somebody else: the user is not to be asked by it for
// half a minute then.
func (s *storm) during(name string, fault func()) { s.strike(name, s.rounds, fault) }

// once is during with one round.
func (s *storm) once(name string, fault func()) { s.strike(name, 1, fault) }

func (s *storm) strike(name string, rounds int, fault func()) {
	s.t.Run(name, func(t *testing.T) {
		before := len(s.all.lines)
		s.turn++
		var calm atomic.Bool
		var wg sync.WaitGroup
		for i, p := range s.people {
			wg.Go(func() {
				for n := i; ; n++ {
					over := calm.Load()
					if n%2 == 0 {
						s.all.add(s.clients[0].login(p, false))
					} else {
						s.all.add(s.site.login(p))
					}
					if over {
						return
					}
					if n == i && i == s.turn%len(s.people) {
						s.all.add(s.clients[1].login(p, true))
					}
				}
			})
		}
		wg.Go(func() {
			for over := false; !over; {
				over = calm.Load()
				all, wrong := s.site.locked(s.clients[0], s.victim)
				for _, h := range all {
					s.all.add(h)
				}
				for _, w := range wrong {
					t.Error(w)
				}
			}
		})
		for range rounds {
			pause(300)
			s.sky.during(fault)
		}
		pause(300)
		calm.Store(true)
		wg.Wait()
		j := openJudge(t, s.dsn)
		got := j.histories(t.Context(), s.all.lines, s.everybody())
		j.report(t)
		t.Log(len(s.all.lines)-before, "logins; all so far:", got)
		if least := s.turn * len(s.people); got["calm"] < least {
			t.Errorf("only %d logins met no fault, want at least %d", got["calm"], least)
		}
	})
}

func (s *storm) everybody() []*someone { return append([]*someone{s.victim}, s.people...) }

// settled checks, once nothing breaks any more, that everything was told and
// everything is in the audit. Live nodes are given time to tell and to seal.
func (s *storm) settled(t *testing.T) {
	j := openJudge(t, s.dsn)
	eventually(t, "everything is told", func() error { return s.hook.taken(t.Context(), j) })
	eventually(t, "the outbox is empty", func() error {
		var n int
		q := `SELECT COUNT(*) FROM outbox`
		if !long() {
			q += ` WHERE attempts = 0` // what a killed node had just taken up is leased for 30 s
		}
		err := j.raw.QueryRowContext(t.Context(), q).Scan(&n)
		if err == nil && n > 0 {
			err = fmt.Errorf("%d items", n)
		}
		return err
	})
	eventually(t, "the audit is sealed", func() error { return j.chain(t.Context(), s.dir) })
	owed, err := j.owed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	j.all(t.Context(), s.dir, s.all.lines, s.everybody(), owed, s.hook.messages())
	j.report(t)
}

// pause waits for a random time, up to most milliseconds.
func pause(most int) { time.Sleep(time.Duration(50+mathrand.IntN(most)) * time.Millisecond) }

// X1 to X4: whatever is killed under load, and however it comes back.
func TestFaultsUnderLoadDecideNothingTwiceAndLoseNothingAcknowledged(t *testing.T) {
	for _, on := range []struct {
		name  string
		redis bool
	}{{"postgres and redis", true}, {"postgres", false}} {
		t.Run(on.name, func(t *testing.T) {
			t.Parallel()
			pg := dbtest.StartPostgres(t, dbtest.Options{Fsync: true})
			kvURL := pg.URL()
			var redis *kvtest.RedisServer
			if on.redis {
				redis = kvtest.StartRedis(t)
				kvURL = redis.URL()
			}
			s := startStorm(t, pg.URL(), kvURL)
			s.during("X1 one node is killed", func() {
				n := s.nodes[mathrand.IntN(2)]
				s.kill(n)
				pause(200)
				s.start(n)
			})
			if on.redis {
				s.during("X2 both nodes are killed", func() {
					for _, n := range s.nodes {
						s.kill(n)
					}
					for _, n := range s.nodes {
						s.start(n)
					}
				})
				s.during("X3 Redis is killed and comes back empty", func() {
					redis.Kill()
					pause(300)
					redis.Start()
				})
			}
			strike := 0
			s.during("X4 PostgreSQL is stopped at once and killed", func() {
				if strike++; strike%2 == 1 {
					pg.Stop()
				} else {
					pg.Kill()
				}
				pause(300)
				pg.Start(t)
			})
			s.settled(t)
		})
	}
}

// X6: a replica that lags takes over in the middle of the load, once, and as often as
// everything else in the long form. What Redis forgot or brought back changes no
// decision.
func TestX6_AReplicaThatLagsTakesOverUnderLoad(t *testing.T) {
	t.Parallel()
	redis := kvtest.StartRedisSentinel(t)
	s := startStorm(t, dbtest.Postgres(t), redis.URL())
	if !long() {
		s.rounds = 1
	}
	for round := range s.rounds {
		if round > 0 {
			redis.Rejoin(t)
		}
		behind := 0
		s.once(fmt.Sprint("the master is killed, ", round), func() {
			redis.Lag()
			for deadline := time.Now().Add(4 * time.Second); behind == 0 && time.Now().Before(deadline); {
				pause(500)
				behind = redis.Behind()
			}
			redis.FailOver(t)
		})
		if behind <= 0 {
			t.Error("the replica did not lag")
		}
		t.Log(behind, "bytes were lost")
	}
	s.settled(t)
}
