package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Steps are measured one by one; rows of the table are made of them.
const (
	stepCredentials = "client_credentials"
	stepJWT         = "client_credentials, JWT"
	stepStart       = "bc-authorize"
	stepList        = "op.list"
	stepAnswer      = "op.answer"
	stepPoll        = "poll"
	stepCode        = "code"
	stepDiscovery   = "discovery"
)

// groups are the steps that follow one another for one person: one side takes
// all of a group before the other has its turn.
var groups = [][]string{{stepCredentials}, {stepJWT}, {stepStart, stepList, stepAnswer, stepPoll}, {stepCode}, {stepDiscovery}}

// row is one line of the table: a flow, and what it must cost at most in CPU
// milliseconds and as a multiple of the floor (0: not said).
type row struct {
	name  string
	steps []string
	most  float64
	ratio float64
}

var rows = []row{
	{"client_credentials, opaque", []string{stepCredentials}, 0.065, 1.7},
	{"client_credentials, ES256 JWT", []string{stepJWT}, 0.090, 1.364},
	{"CIBA without the phone", []string{stepStart, stepPoll}, 0.33, 1.5},
	{"  bc-authorize", []string{stepStart}, 0, 0},
	{"  poll with tokens", []string{stepPoll}, 0, 0},
	{"phone lists (op.list)", []string{stepList}, 0.25, 1.47},
	{"phone answers (op.answer)", []string{stepAnswer}, 0.55, 1.375},
	{"whole CIBA login", []string{stepStart, stepList, stepAnswer, stepPoll}, 1.1, 1.4},
	{"code + PKCE, token, userinfo", []string{stepCode}, 0.40, 0},
	{"discovery, JWKS", []string{stepDiscovery}, 0.02, 1.25},
}

// side is one of the servers that are compared.
type side struct {
	name   string
	pids   []int // the server's, and its Redis'
	pool   pool
	settle time.Duration // how long to wait after a batch that leaves work behind
	idle   time.Duration // CPU time that the server takes while it is waited for, and nothing is asked of it
	step   func(name string, n int) batch

	cpu  map[string][]time.Duration // by step: CPU time of one, a value per round
	wall map[string]time.Duration   // by step: of all rounds
	took map[string][][]time.Duration
}

func (s *side) reset() {
	s.cpu, s.wall, s.took = map[string][]time.Duration{}, map[string]time.Duration{}, map[string][][]time.Duration{}
}

func (s *side) used() (sum time.Duration, err error) {
	for _, pid := range s.pids {
		d, err := cpuTime(pid)
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

// settleFor is how long the server may take to finish what it put off: it
// removes delivered outbox items once a second.
const settleFor = 1200 * time.Millisecond

// rest measures what the server takes in the time that is waited for it, whatever it
// was asked before.
func (s *side) rest() error {
	time.Sleep(s.settle) // what is left of the last batch
	var each []time.Duration
	for range 3 {
		before, err := s.used()
		if err != nil {
			return err
		}
		time.Sleep(s.settle)
		after, err := s.used()
		if err != nil {
			return err
		}
		each = append(each, after-before)
	}
	s.idle = median(each)
	return nil
}

// run measures one step once; a step that the side does not have is left out.
func (s *side) run(ctx context.Context, name string, n int) error {
	b := s.step(name, n)
	if b.n == 0 {
		return nil
	}
	for i := range b.n {
		if b.prepare == nil {
			break
		}
		if err := b.prepare(i); err != nil {
			return fmt.Errorf("%s: %s: %w", s.name, name, err)
		}
	}
	before, err := s.used()
	if err != nil {
		return err
	}
	begun := time.Now()
	took, err := s.pool.each(ctx, b.n, b.do)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", s.name, name, err)
	}
	s.wall[name] += time.Since(begun)
	if b.settle {
		time.Sleep(s.settle)
		before += s.idle
	}
	after, err := s.used()
	if err != nil {
		return err
	}
	s.cpu[name] = append(s.cpu[name], (after-before)/time.Duration(b.n))
	s.took[name] = append(s.took[name], took)
	for i := range b.n {
		if b.finish == nil {
			break
		}
		if err := b.finish(i); err != nil {
			return fmt.Errorf("%s: %s: %w", s.name, name, err)
		}
	}
	return nil
}

// compare runs rounds of all steps, on the sides in turn and each of them as often
// first as the others, after one round that does not count.
func compare(ctx context.Context, sides []*side, rounds, count int) error {
	for r := range rounds + 1 {
		if r <= 1 {
			for _, s := range sides {
				s.reset()
			}
		}
		if r == 1 {
			for _, s := range sides {
				if err := s.rest(); err != nil {
					return err
				}
			}
		}
		first := r % len(sides)
		order := append(slices.Clone(sides[first:]), sides[:first]...)
		for _, group := range groups {
			for _, s := range order {
				for _, name := range group {
					if err := s.run(ctx, name, count); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// figure is what one side reached in one row.
type figure struct {
	cpu      time.Duration // the median of the rounds
	rounds   []time.Duration
	rate     float64 // flows a second
	p50, p99 time.Duration
}

// figure is the zero figure for a row with a step that the side does not have.
func (s *side) figure(r row) figure {
	var f figure
	for _, name := range r.steps {
		if len(s.cpu[name]) == 0 {
			return f
		}
	}
	var wall time.Duration
	var took []time.Duration
	f.rounds = make([]time.Duration, len(s.cpu[r.steps[0]]))
	for k, name := range r.steps {
		wall += s.wall[name]
		at := 0
		for round, all := range s.took[name] {
			f.rounds[round] += s.cpu[name][round]
			for _, d := range all {
				if k == 0 {
					took = append(took, 0)
				}
				took[at] += d
				at++
			}
		}
	}
	f.cpu = median(f.rounds)
	f.rate = float64(len(took)) / wall.Seconds()
	f.p50, f.p99 = percentile(took, 0.5), percentile(took, 0.99)
	return f
}

// over is the median of the rounds' ratios to another side's figure, 0 where one
// of them has none.
func (f figure) over(other figure) float64 {
	if f.cpu == 0 || other.cpu == 0 {
		return 0
	}
	ratios := make([]float64, len(f.rounds))
	for i := range ratios {
		ratios[i] = float64(f.rounds[i]) / float64(other.rounds[i])
	}
	return median(ratios)
}

func median[T int64 | float64 | time.Duration](of []T) T {
	sorted := slices.Sorted(slices.Values(of))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	} else {
		return sorted[n/2]
	}
}
