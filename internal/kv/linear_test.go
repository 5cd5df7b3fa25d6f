package kv_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"mobileid/internal/clock"
	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"
)

// call is one call as its caller saw it, for the linearizability check.
type call struct {
	name     string
	key      string
	old, val string
}

// outcome is what came back: one of kv's errors and, of a read, the value.
type outcome struct {
	err error
	val string
}

// cell is the state of one record; the zero cell is no record.
type cell struct {
	live bool
	val  string
}

// effect is the contract as a sequential program.
func effect(c cell, in call) (outcome, cell) {
	switch in.name {
	case "create":
		if c.live {
			return outcome{err: kv.ErrExists}, c
		}
		return outcome{}, cell{true, in.val}
	case "get":
		if !c.live {
			return outcome{err: kv.ErrNotFound}, c
		}
		return outcome{val: c.val}, c
	case "swap":
		if !c.live || c.val != in.old {
			return outcome{err: kv.ErrConflict}, c
		}
		return outcome{}, cell{true, in.val}
	case "take":
		if !c.live {
			return outcome{err: kv.ErrNotFound}, c
		}
		return outcome{val: c.val}, cell{}
	case "delete":
		return outcome{}, cell{}
	}
	panic(in.name)
}

// model judges each key by itself. A call with an unknown outcome may have had
// its effect or not, and may have it at any time after it began.
var model = (&porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := make(map[string][]porcupine.Operation)
		for _, o := range history {
			key := o.Input.(call).key
			by[key] = append(by[key], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range by {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() []any { return []any{cell{}} },
	Step: func(state, input, output any) []any {
		c, out := state.(cell), output.(outcome)
		want, next := effect(c, input.(call))
		switch {
		case out.err == kv.ErrUnknown:
			return []any{c, next}
		case out == want:
			return []any{next}
		}
		return nil
	},
}).ToModel()

// perform makes the call and reduces what comes back to an outcome. other is an
// error that the contract does not know.
func perform(s kv.KV, in call) (out outcome, other error) {
	ctx := context.Background()
	var val []byte
	var err error
	verb, can := map[string]kv.Verb{"create": kv.Create, "get": kv.Get, "swap": kv.Swap, "delete": kv.Delete}[in.name]
	if can && rand.IntN(2) == 0 { // half of the calls come with another
		c := &kv.Call{Verb: verb, Key: in.key, Old: []byte(in.old), Val: []byte(in.val)}
		if verb == kv.Create {
			c.TTL = time.Minute
		}
		s.Batch(ctx, c, &kv.Call{Verb: kv.Get, Key: "other/{1}"})
		if in.name = "batch"; verb == kv.Get {
			val = c.Val
		}
		err = c.Err
	}
	switch in.name {
	case "create":
		err = s.Create(ctx, in.key, []byte(in.val), time.Minute)
	case "get":
		val, err = s.Get(ctx, in.key)
	case "swap":
		err = s.Swap(ctx, in.key, []byte(in.old), []byte(in.val), kv.KeepTTL)
	case "take":
		val, err = s.Take(ctx, in.key)
	case "delete":
		err = s.Delete(ctx, in.key)
	}
	out.val = string(val)
	for _, known := range []error{kv.ErrExists, kv.ErrNotFound, kv.ErrConflict, kv.ErrUnknown} {
		if errors.Is(err, known) {
			out.err = known
			return out, nil
		}
	}
	return out, err
}

// load says what history's clients do.
type load struct {
	clients int
	during  time.Duration
	pace    time.Duration      // between two calls of a client
	key     func(n int) string // of six
	done    func() bool        // if not nil, ends the load earlier
	outages bool               // calls may find no store; they then had no effect
}

// history lets clients make random calls on a few keys for a time, and on a slow
// machine until there is enough to judge by, each value written once only, and records
// what they saw.
func history(t *testing.T, s kv.KV, clients int, during time.Duration) []porcupine.Operation {
	return load{clients: clients, during: during, key: func(n int) string { return fmt.Sprintf("l/{%d}", n) }}.run(t, s)
}

func (l load) run(t *testing.T, s kv.KV) []porcupine.Operation {
	names := []string{"create", "create", "get", "get", "swap", "swap", "swap", "take", "delete"}
	var mu sync.Mutex
	var all []porcupine.Operation
	begin := time.Now()
	var swapped, taken atomic.Int64
	goesOn := func() bool {
		few := l.done == nil && (swapped.Load() < fewest || taken.Load() < fewest)
		return time.Since(begin) < l.during || few && time.Since(begin) < time.Minute
	}
	var wg sync.WaitGroup
	for client := range l.clients {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(client), 1))
			seen := make(map[string]string)
			for i := 0; goesOn() && (i < 1000 || l.pace > 0) && (l.done == nil || !l.done()); i++ {
				time.Sleep(l.pace)
				in := call{
					name: names[rng.IntN(len(names))],
					key:  l.key(rng.IntN(6)),
					val:  fmt.Sprintf("%d-%d", client, i),
				}
				in.old = seen[in.key]
				op := porcupine.Operation{ClientId: client, Input: in, Call: time.Since(begin).Nanoseconds()}
				out, err := perform(s, in)
				op.Output, op.Return = out, time.Since(begin).Nanoseconds()
				switch {
				case err != nil && l.outages:
					continue
				case err != nil:
					t.Errorf("%+v: %v", in, err)
				case out.err == kv.ErrUnknown:
					op.Return = math.MaxInt64
				case in.name == "get" && out.err == nil:
					seen[in.key] = out.val
				case (in.name == "create" || in.name == "swap") && out.err == nil:
					seen[in.key] = in.val
				}
				switch {
				case in.name == "swap" && out.err == nil:
					swapped.Add(1)
				case in.name == "take" && out.err == nil:
					taken.Add(1)
				}
				mu.Lock()
				all = append(all, op)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return all
}

// fewest is how many swaps and how many takes have to succeed for a judgement.
const fewest = 10

func judge(t *testing.T, all []porcupine.Operation) {
	t.Helper()
	count := make(map[string]int)
	for _, o := range all {
		out := o.Output.(outcome)
		count[fmt.Sprintf("%s: %v", o.Input.(call).name, out.err)]++
	}
	t.Logf("%d calls: %v", len(all), count)
	if count["swap: <nil>"] < fewest || count["take: <nil>"] < fewest {
		t.Error("too little happened to judge by")
	}
	if got := porcupine.CheckOperationsTimeout(model, all, 20*time.Second); got != porcupine.Ok {
		t.Errorf("linearizability check: %v", got)
	}
}

func TestCallsAreLinearizable(t *testing.T) {
	kvtest.Each(t, func(t *testing.T, s kv.KV) {
		judge(t, history(t, s, 8, 600*time.Millisecond))
	})
}

// The same with a network that loses a part of requests and replies: whatever is
// reported as done or refused must still fit one order of events.
func TestCallsAreLinearizableOverALossyNetwork(t *testing.T) {
	server := kvtest.StartRedis(t)
	proxy := startProxy(t, server.Addr())
	s := kvtest.Open(t, proxy.url(""), clock.System{})
	rng := rand.New(rand.NewPCG(7, 7))
	proxy.rule(func(verb string) fate {
		switch verb {
		case "set", "evalsha", "eval", "getdel", "del":
			return []fate{pass, loseRequest, loseReply}[max(0, rng.IntN(40)-37)]
		}
		return pass
	})
	judge(t, history(t, s, 6, 600*time.Millisecond))
}
