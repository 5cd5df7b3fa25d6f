package chaos

import (
	"errors"
	mathrand "math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db"
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

// storm is people who log in on two nodes, one login after the other, while
// something breaks.
type storm struct {
	*cluster
	t       *testing.T
	clients [2]*client
	people  []*someone
	all     diary
	dsn     string
	rounds  int
	turn    int
}

func startStorm(t *testing.T, dbURL, kvURL string, second ...string) *storm {
	t.Helper()
	s := &storm{t: t, cluster: startCluster(t, dbURL, kvURL, second...), dsn: dbURL, rounds: rounds(t)}
	for i, id := range s.backends() {
		s.clients[i] = s.client(id)
	}
	for range 5 {
		s.people = append(s.people, s.clients[0].person(t.TempDir()))
	}
	return s
}

// during lets the faults strike, one round after the other, and holds all that was
// told against the database. The second client is declined, each time by somebody
// else: the user is not to be asked by it for half a minute then.
func (s *storm) during(name string, fault func()) {
	s.t.Run(name, func(t *testing.T) {
		before := len(s.all.lines)
		s.turn++
		var calm atomic.Bool
		var wg sync.WaitGroup
		for i, p := range s.people {
			wg.Go(func() {
				for n := 0; ; n++ {
					over := calm.Load()
					h := s.clients[0].login(p, false)
					s.all.add(h)
					if over {
						// Begun after the last fault: nothing may stand in its way.
						if len(h.tokens) != 1 {
							t.Errorf("a login after it all came to nothing: %+v", h)
						}
						return
					}
					if n == 0 && i == s.turn%len(s.people) {
						s.all.add(s.clients[1].login(p, true))
					}
				}
			})
		}
		for range s.rounds {
			pause(300)
			fault()
		}
		pause(300)
		calm.Store(true)
		wg.Wait()
		d := s.open(t)
		t.Log(len(s.all.lines)-before, "logins; all so far:", reconcile(t, d, s.all.lines, s.people))
	})
}

// settled checks, once nothing breaks any more, that everything was told and
// everything is in the audit.
func (s *storm) settled(t *testing.T) {
	d := s.open(t)
	delivered(t, d)
	sealed(t, d, s.dir, s.all.lines)
}

func (s *storm) open(t *testing.T) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), s.dsn, clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
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

// X6: a replica that lags takes over in the middle of the load. What Redis forgot
// or brought back changes no decision.
func TestX6_ASentinelFailOverUnderLoad(t *testing.T) {
	t.Parallel()
	redis := kvtest.StartRedisSentinel(t)
	s := startStorm(t, dbtest.Postgres(t), redis.URL())
	s.rounds = 1
	s.during("the master is killed", func() {
		redis.Master.Kill()
		eventually(t, "the replica is the master", func() error {
			if info := redis.Replica.CLI("info", "replication"); !strings.Contains(info, "role:master") {
				return errors.New(info)
			}
			return nil
		})
	})
	s.settled(t)
}
