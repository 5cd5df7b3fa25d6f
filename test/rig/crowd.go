package rig

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/db"
	"mobileid/internal/operation"
	"mobileid/sdk"
	"mobileid/sdk/wire"
)

// Crowd calls fn n times at once and returns what each call gave.
func Crowd[T any](n int, fn func(i int) T) []T {
	out := make([]T, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			out[i] = fn(i)
		})
	}
	close(start)
	all.Wait()
	return out
}

// Tally counts equal words.
type Tally map[string]int

// Count tallies words.
func Count(words []string) Tally {
	t := Tally{}
	for _, w := range words {
		t[w]++
	}
	return t
}

// Is reports whether t counted exactly this.
func (t Tally) Is(want Tally) bool { return maps.Equal(t, want) }

// Word is an answer in one word: its status, and its error code if it has one.
func Word(a Answer, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	for _, member := range []string{"error", "code"} {
		if code := a.Text(member); code != "" {
			return fmt.Sprint(a.Status, " ", code)
		}
	}
	return fmt.Sprint(a.Status)
}

// Sealed is the code of a sealed error, "ok" for none.
func Sealed(err error) string {
	if err == nil {
		return "ok"
	}
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return e.Code
	}
	return "error: " + err.Error()
}

// Refused is the sealed error that err must be.
func (r *Rig) Refused(err error, code string) *wire.Error {
	r.T.Helper()
	e, ok := errors.AsType[*wire.Error](err)
	if !ok || e.Code != code {
		r.T.Fatalf("the phone was told %v, want %s", err, code)
	}
	return e
}

// Answered is what the phone was told about its answer, in one word: the state,
// or the code of a sealed error.
func Answered(reply *wire.AnswerReply, err error) string {
	if err != nil {
		return Sealed(err)
	}
	return reply.State
}

// State is what the phone has stored.
func (r *Rig) State(p *sdk.Phone) *sdk.State {
	r.T.Helper()
	st, err := p.Store.Load()
	r.must(err)
	return st
}

// Device is the phone as the server knows it.
func (r *Rig) Device(p *sdk.Phone) (d db.Device) {
	r.T.Helper()
	id := r.State(p).Device
	r.SQL(func(tx *db.Tx) (err error) {
		d, err = tx.Device(id)
		return err
	})
	return d
}

// Reread is the user as the server knows it now.
func (r *Rig) Reread(u db.User) (now db.User) {
	r.T.Helper()
	r.SQL(func(tx *db.Tx) (err error) {
		now, err = tx.User(u.ID)
		return err
	})
	return now
}

// SetUser moves the user to a state.
func (r *Rig) SetUser(u db.User, state string) {
	r.T.Helper()
	r.SQL(func(tx *db.Tx) error { return tx.SetUserState(u.ID, state) })
}

// SetDevice moves the phone to a state.
func (r *Rig) SetDevice(p *sdk.Phone, state string) {
	r.T.Helper()
	id := r.State(p).Device
	r.SQL(func(tx *db.Tx) error { return tx.SetDeviceState(id, state) })
}

// Decision is the outcome in the operation's row, and whether there is one.
func (r *Rig) Decision(id string) (out operation.Outcome, decided bool) {
	r.T.Helper()
	r.SQL(func(tx *db.Tx) (err error) {
		out, err = operation.OutcomeOf(tx, id)
		decided = err == nil
		if errors.Is(err, db.ErrNotFound) {
			err = nil
		}
		return err
	})
	return out, decided
}

// Copy is a clone of the phone, keys and head and all, as from a backup.
func (r *Rig) Copy(p *sdk.Phone) *sdk.Phone {
	r.T.Helper()
	text, err := os.ReadFile(p.Store.(*sdk.File).Path)
	r.must(err)
	file := &sdk.File{Path: filepath.Join(r.T.TempDir(), "copy.json")}
	r.must(os.WriteFile(file.Path, text, 0o600))
	return &sdk.Phone{Store: file, Keys: file, HTTP: p.HTTP, Now: p.Now, Rand: p.Rand, Platform: p.Platform, Model: p.Model, Stretch: p.Stretch}
}

// Tap is a transport that keeps the requests a phone sends to mid/1's rpc.
type Tap struct {
	Under http.RoundTripper // nil: the default
	mu    sync.Mutex
	sent  []string
}

// RoundTrip implements http.RoundTripper.
func (t *Tap) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasSuffix(req.URL.Path, "/rpc") {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		t.mu.Lock()
		t.sent = append(t.sent, string(body))
		t.mu.Unlock()
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(strings.NewReader(string(body)))
	}
	under := t.Under
	if under == nil {
		under = http.DefaultTransport
	}
	return under.RoundTrip(req)
}

// Last is the last message sent.
func (t *Tap) Last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent[len(t.sent)-1]
}

// Tapped puts a tap into the phone's line.
func (r *Rig) Tapped(p *sdk.Phone) *Tap {
	t := &Tap{Under: r.HTTP.Transport}
	p.HTTP = &http.Client{Timeout: r.HTTP.Timeout, Transport: t}
	return t
}

// RPC posts bytes to mid/1's rpc on a new connection.
func (r *Rig) RPC(body string) Answer {
	r.T.Helper()
	req, err := http.NewRequest(http.MethodPost, r.Issuer+"/mid/v1/rpc", strings.NewReader(body))
	r.must(err)
	req.Header.Set("Content-Type", "application/jose")
	req.Close = true
	a, err := r.Send(req)
	r.must(err)
	return a
}

// Call makes a state-changing call of mid/1 by hand, under the phone's keys and
// head, and returns the reply. change may break the claims before they are
// signed. The phone's own state is not touched: after a reply with a head the
// phone itself is behind.
func (r *Rig) Call(p *sdk.Phone, op string, body []byte, change func(*wire.Claims)) *wire.Reply {
	r.T.Helper()
	sent := r.Seal(p, op, body, change)
	a := r.RPC(sent.JWE)
	if a.Status != http.StatusOK {
		r.T.Fatalf("rig: rpc: %s", a)
	}
	reply, err := wire.OpenReply(sent, []byte(a.Body))
	r.must(err)
	return reply
}

// Seal makes one request of mid/1 by hand.
func (r *Rig) Seal(p *sdk.Phone, op string, body []byte, change func(*wire.Claims)) *wire.Sent {
	r.T.Helper()
	st := r.State(p)
	set, _, err := wire.OpenKeySet(r.Get("/mid/v1/keys?c="+Challenge22).Body, r.Issuer, st.Pin, Challenge22)
	r.must(err)
	tek, err := set.Pick()
	r.must(err)
	dsk, err := p.Keys.Signer(st.KeyRef)
	r.must(err)
	now := r.Now().Unix()
	c := wire.Claims{V: wire.Version, Iss: st.Device, Aud: r.Issuer, Op: op, JTI: token(), Iat: now, Exp: now + wire.RequestLife,
		RK: make([]byte, wire.KeySize), Head: st.Head, Body: body}
	rand.Read(c.RK)
	if change != nil {
		change(&c)
	}
	sent, err := wire.SealRequest(c, dsk, tek, rand.Reader)
	r.must(err)
	sent.Aud = r.Issuer
	return sent
}

// Challenge22 is a challenge for a key set, 16 bytes in base64url.
const Challenge22 = "AAAAAAAAAAAAAAAAAAAAAA"

func token() string {
	var b [16]byte
	rand.Read(b[:])
	return wire.Encode(b[:])
}

// PollUntil is TryPoll that gives up with ctx.
func (r *Rig) PollUntil(ctx context.Context, c node.NewClient, authReqID string) (Answer, error) {
	form := strings.NewReader("grant_type=urn%3Aopenid%3Aparams%3Agrant-type%3Aciba&auth_req_id=" + authReqID)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Issuer+"/token", form)
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(c.ClientID, c.ClientSecret)
	return r.Send(req)
}
