package contested

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"mobileid/internal/db"
	"mobileid/internal/operation"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// deed is what somebody did to an operation, as the judge sees it.
type deed struct {
	op   string         // the operation
	what string         // answer, ask, poll or row
	move operation.Move // of an answer: approve or decline
}

// word is what came back: a state, or one of these.
const (
	done    = "done"    // an answer: it was this one that decided
	unknown = "unknown" // the reply was lost: it may have been done, at any time from then on
	denied  = "denied"  // a poll: over, and not approved
	late    = "late"    // a poll, once its time is over: expired, or approved before and fetched too late (CIBA Core section 11)
)

// effects is the life of one operation as a sequential program: the states that
// may follow when the deed, done in this state, is told that word. None: it cannot
// be told that. The end of its time may come with any deed.
func effects(s operation.State, in deed, told string) []operation.State {
	if told == unknown {
		if s.Terminal() {
			return []operation.State{s, expired(s)}
		}
		to, _ := operation.Next(s, in.move)
		return []operation.State{s, to, expired(s)}
	}
	switch in.what {
	case "answer":
		if told == done && !s.Terminal() {
			to, _ := operation.Next(s, in.move)
			return []operation.State{to}
		}
		return when(told == string(expired(s)), expired(s))
	case "ask": // a newer request of the same client supersedes
		if to, ok := operation.Next(s, operation.Supersede); ok {
			return []operation.State{to, expired(s)}
		}
		return []operation.State{s}
	case "poll":
		switch told {
		case string(operation.Pending), string(operation.Completed):
			return when(told == string(s), s)
		case late:
			return when(s == operation.Completed || expired(s) == operation.Expired, expired(s))
		case denied:
			return when(s.Terminal() && s != operation.Completed && s != operation.Expired, s)
		}
	}
	return when(told == string(expired(s)), expired(s))
}

func when(so bool, s operation.State) []operation.State {
	if so {
		return []operation.State{s}
	}
	return nil
}

// expired is s if it is final, and otherwise what the end of its time makes of it.
func expired(s operation.State) operation.State {
	if to, ok := operation.Next(s, operation.Expire); ok {
		return to
	}
	return s
}

var life = (&porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		by := map[string][]porcupine.Operation{}
		for _, o := range history {
			by[o.Input.(deed).op] = append(by[o.Input.(deed).op], o)
		}
		for _, part := range by {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() []any { return []any{operation.Pending} },
	Step: func(state, input, output any) (next []any) {
		for _, s := range effects(state.(operation.State), input.(deed), output.(string)) {
			next = append(next, s)
		}
		return next
	},
}).ToModel()

// diary is what all who took part saw.
type diary struct {
	mu    sync.Mutex
	begin time.Time
	over  atomic.Bool // the time of the operations that are led through their life may be over
	all   []porcupine.Operation
	lost  int // replies to polls: they tell nothing, and all that such a poll can do is what the next deed can, too
}

func (d *diary) now() int64 { return time.Since(d.begin).Nanoseconds() }

// note writes down a deed that began at call and was told now.
func (d *diary) note(who int, in deed, call int64, told string) {
	o := porcupine.Operation{ClientId: who, Input: in, Call: call, Output: told, Return: d.now()}
	if told == unknown {
		o.Return = math.MaxInt64
	}
	d.mu.Lock()
	d.all = append(d.all, o)
	d.mu.Unlock()
}

func (d *diary) tally() rig.Tally {
	words := rig.Tally{}
	for _, o := range d.all {
		words[o.Input.(deed).what+" "+o.Output.(string)]++
	}
	return words
}

// lossy loses one request in twenty and one reply in ten.
type lossy struct{ under http.RoundTripper }

var errLost = errors.New("lost on the way")

func (l lossy) RoundTrip(req *http.Request) (*http.Response, error) {
	dice := rand.IntN(20)
	if dice == 0 {
		return nil, errLost
	}
	res, err := l.under.RoundTrip(req)
	if err == nil && dice < 3 {
		res.Body.Close()
		return nil, errLost
	}
	return res, err
}

// over is the rig behind a network that loses things.
func over(r *rig.Rig) *rig.Rig {
	out, client := *r, *r.HTTP
	if client.Transport == nil {
		client.Transport = http.DefaultTransport
	}
	client.Transport = lossy{client.Transport}
	out.HTTP = &client
	return &out
}

// someone is a user with two phones, each on its own node, and bad reception.
type someone struct {
	user   db.User
	phones []*sdk.Phone
}

// answer answers once, and asks until it knows what became of it.
func (d *diary) answer(t *testing.T, who int, p *sdk.Phone, op *wire.Operation, in deed) {
	call := d.now()
	var err error
	if in.move == operation.Decline {
		_, err = p.Decline(t.Context(), op, false)
	} else {
		_, err = p.Approve(t.Context(), op, rig.PIN, "")
	}
	if err == nil {
		d.note(who, in, call, done)
		return
	}
	if e, ok := errors.AsType[*wire.Error](err); ok && e.Code == wire.OpGone {
		d.note(who, in, call, e.State)
		return
	}
	for {
		out, err := p.Resume(t.Context())
		switch {
		case err != nil && t.Context().Err() == nil:
			continue // it is lost again
		case err != nil, out == nil, errors.Is(out.Err, sdk.ErrNotDone):
			return // nothing was sent, or it never counts
		}
		e, gone := errors.AsType[*wire.Error](out.Err)
		switch {
		case out.Err == nil:
			d.note(who, in, call, done)
		case gone && e.Code == wire.OpGone:
			d.note(who, in, call, e.State)
		default:
			t.Errorf("an answer that was lost on the way: %v", out.Err)
		}
		return
	}
}

// poll asks for the tokens until it is told an end; it hangs up on polls that are held.
func (d *diary) poll(t *testing.T, who int, r *rig.Rig, id string, in deed) {
	for {
		call := d.now()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		a, err := r.PollUntil(ctx, r.Backend, id)
		cancel()
		if err != nil || a.Status == http.StatusServiceUnavailable {
			d.mu.Lock()
			d.lost++
			d.mu.Unlock()
			continue
		}
		told := map[string]string{"200": "COMPLETED", "400 invalid_grant": "COMPLETED", "400 access_denied": denied, "400 expired_token": "EXPIRED",
			"400 authorization_pending": "PENDING", "400 slow_down": "PENDING"}[rig.Word(a, nil)]
		if told == "" {
			t.Errorf("a poll is told %s", a)
			return
		}
		if told == "EXPIRED" && d.over.Load() {
			told = late
		}
		d.note(who, in, call, told)
		if told != "PENDING" {
			return
		}
	}
}

// live leads one operation for each person through its life, all at once. If ends,
// the time of all is over at some moment of it.
func (d *diary) live(t *testing.T, r *rig.Rig, all []someone, ends bool) {
	ops := make([]deed, len(all))
	ids := make([]string, len(all))
	shown := make([][]*wire.Operation, len(all))
	for i, s := range all {
		ids[i] = r.Ask(r.Backend, s.user, "requested_expiry", "60").Text("auth_req_id")
		shown[i] = make([]*wire.Operation, len(s.phones))
		for k, p := range s.phones {
			for shown[i][k] == nil { // lists are lost too
				if list, err := p.List(t.Context()); err == nil {
					shown[i][k] = &list[0]
				}
			}
		}
		ops[i].op = shown[i][0].Txn
	}
	const close = 3 * time.Millisecond
	d.over.Store(false)
	r.Clock.Advance(60*time.Second - close)
	bad := over(r)
	rig.Crowd(5*len(all)+1, func(n int) (none struct{}) {
		if n == 5*len(all) { // for all of them at once, or too late for any
			if time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond); ends {
				d.over.Store(true)
				r.Clock.Advance(close)
			}
			return none
		}
		i, in, who := n/5, ops[n/5], n
		time.Sleep(time.Duration(rand.IntN(15)) * time.Millisecond)
		switch role := n % 5; role {
		case 0, 1:
			in.what, in.move = "answer", []operation.Move{operation.Approve, operation.Decline}[rand.IntN(2)]
			d.answer(t, who, all[i].phones[role], shown[i][role], in)
		case 2, 3:
			in.what = "poll"
			d.poll(t, who, bad, ids[i], in)
		case 4:
			if rand.IntN(2) == 0 {
				return none
			}
			in.what, in.move = "ask", operation.Supersede
			call := d.now()
			a, err := bad.TryPost("/bc-authorize", r.Backend, url.Values{"scope": {"openid"}, "login_hint": {all[i].user.ExternalRef}})
			switch w := rig.Word(a, err); {
			case err != nil:
				d.note(who, in, call, unknown)
			case w == "200":
				d.note(who, in, call, done)
			case w != "403 access_denied": // the user has just declined
				t.Errorf("the newer request: %s", w)
			}
		}
		return none
	})
	for i := range ops {
		in, call := ops[i], d.now()
		in.what = "row"
		out, decided := r.Decision(in.op)
		if !decided {
			t.Errorf("%s was never decided", in.op)
			continue
		}
		d.note(5*len(all)+1, in, call, string(out.State))
	}
	r.Clock.Advance(4 * time.Minute) // what superseded is over too, and nobody is cooled down
}

// X13 and I2: whatever is told to phones and clients, by whichever node and over
// whichever network, fits one life of the operation.
func TestX13_TheLifeOfAnOperationIsLinearizable(t *testing.T) {
	t.Parallel()
	rig.Contested(t, func(t *testing.T, r *rig.Rig) {
		bad := over(r)
		all := make([]someone, 4)
		for i := range all {
			u, first := r.Person()
			all[i] = someone{u, []*sdk.Phone{first, r.Registered(u)}}
			for _, p := range all[i].phones {
				p.HTTP, p.Pause = bad.HTTP, func(int) {}
			}
		}
		d := &diary{begin: time.Now()}
		for round := range 5 {
			d.live(t, r, all, round%3 == 1)
		}
		words := d.tally()
		t.Log(words)
		if words["answer done"] == 0 || d.lost == 0 {
			t.Error("too little happened to judge by")
		}
		if got := porcupine.CheckOperationsTimeout(life, d.all, 20*time.Second); got != porcupine.Ok {
			t.Errorf("linearizability check: %v", got)
		}
	})
}

// A judge that finds nothing proves nothing.
func TestTheJudgeFindsWhatCannotHaveBeen(t *testing.T) {
	t.Parallel()
	type line struct {
		what       string
		move       operation.Move
		call, back int64
		told       string
	}
	const never = math.MaxInt64
	for name, c := range map[string]struct {
		lines []line
		want  porcupine.CheckResult
	}{
		"two answers, one decides":                    {[]line{{"answer", operation.Approve, 0, 9, done}, {"answer", operation.Decline, 1, 5, "COMPLETED"}}, porcupine.Ok},
		"two answers, both decide":                    {[]line{{"answer", operation.Approve, 0, 9, done}, {"answer", operation.Decline, 1, 5, done}}, porcupine.Illegal},
		"the loser is told the wrong end":             {[]line{{"answer", operation.Approve, 0, 9, done}, {"answer", operation.Decline, 1, 5, "EXPIRED"}}, porcupine.Illegal},
		"pending after it was decided":                {[]line{{"answer", operation.Approve, 0, 3, done}, {"poll", "", 4, 5, "PENDING"}}, porcupine.Illegal},
		"pending while it is decided":                 {[]line{{"answer", operation.Approve, 0, 5, done}, {"poll", "", 4, 6, "PENDING"}}, porcupine.Ok},
		"tokens without an answer":                    {[]line{{"poll", "", 0, 1, "COMPLETED"}}, porcupine.Illegal},
		"tokens after a decline":                      {[]line{{"answer", operation.Decline, 0, 1, done}, {"poll", "", 2, 3, "COMPLETED"}}, porcupine.Illegal},
		"tokens before the answer that gave them":     {[]line{{"poll", "", 0, 1, "COMPLETED"}, {"answer", operation.Approve, 2, 3, done}}, porcupine.Illegal},
		"a lost answer takes effect late":             {[]line{{"answer", operation.Approve, 0, never, unknown}, {"poll", "", 2, 3, "PENDING"}, {"poll", "", 4, 5, "COMPLETED"}}, porcupine.Ok},
		"a lost answer takes effect, and another too": {[]line{{"answer", operation.Approve, 0, never, unknown}, {"poll", "", 2, 3, "COMPLETED"}, {"row", "", 4, 5, "DECLINED"}}, porcupine.Illegal},
		"expired, and then approved":                  {[]line{{"poll", "", 0, 1, "EXPIRED"}, {"answer", operation.Approve, 2, 3, done}}, porcupine.Illegal},
		"superseded, and then approved":               {[]line{{"ask", operation.Supersede, 0, 1, done}, {"answer", operation.Approve, 2, 3, done}}, porcupine.Illegal},
		"approved, told denied":                       {[]line{{"answer", operation.Approve, 0, 1, done}, {"poll", "", 0, 3, denied}}, porcupine.Illegal},
		"approved, told expired in time":              {[]line{{"answer", operation.Approve, 0, 1, done}, {"poll", "", 2, 3, "EXPIRED"}}, porcupine.Illegal},
		"approved, fetched too late":                  {[]line{{"answer", operation.Approve, 0, 1, done}, {"poll", "", 2, 3, late}}, porcupine.Ok},
		"declined, told that it is late":              {[]line{{"answer", operation.Decline, 0, 1, done}, {"poll", "", 2, 3, late}}, porcupine.Illegal},
		"the row says otherwise":                      {[]line{{"answer", operation.Decline, 0, 1, done}, {"row", "", 2, 3, "CANCELLED"}}, porcupine.Illegal},
	} {
		var all []porcupine.Operation
		for i, l := range c.lines {
			all = append(all, porcupine.Operation{ClientId: i, Input: deed{"op_1", l.what, l.move}, Call: l.call, Return: l.back, Output: l.told})
		}
		if got := porcupine.CheckOperationsTimeout(life, all, time.Second); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
