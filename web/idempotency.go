package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/fault"
)

const (
	idempotencyKey = "Idempotency-Key"
	// keyLife is how long a key names its request, serveLease how long the request
	// may take before the next who comes with it serves it again.
	keyLife    = 24 * time.Hour
	serveLease = 10 * time.Second
	// keyWait is how long a request waits for the one that came before it.
	keyWait  = 20 * time.Second
	keyAgain = 50 * time.Millisecond
)

// kept is an answer as it is kept for whoever sends the request again. It may hold
// activation secrets, so it is sealed.
type kept struct {
	Status int               `json:"status"`
	Header map[string]string `json:"header"`
	Body   []byte            `json:"body"`
}

// answer is an http.ResponseWriter that holds the answer back until it is kept.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(code int)        { a.status = code }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// once serves a request under an Idempotency-Key. What it makes gets an id that is
// in SQL before anything is made; whoever comes with the same request makes the
// same thing, or is given the answer that was kept. A request that had no effect
// leaves the key free.
func (s *Server) once(w http.ResponseWriter, r *http.Request, c *call, who *caller, body []byte, serve func(http.ResponseWriter) error) error {
	in := db.Idempotent{ClientID: who.ClientID, Name: hashOf(r.Header.Get(idempotencyKey)), Request: hashOf(c.pattern, r.URL.Path, string(body)), ResourceID: db.NewID(c.keyed)}
	if c.keyed == "op_" {
		in.ResourceID = db.NewSerialID(c.keyed)
	}
	now, err := s.beginOnce(r.Context(), in)
	if err != nil {
		return err
	}
	if now.Answer != nil {
		return s.tell(w, now)
	}
	who.newID = now.ResourceID
	out := &answer{header: w.Header().Clone(), status: http.StatusOK}
	if err := serve(out); err != nil {
		return errors.Join(err, s.leave(r.Context(), now, err))
	}
	have := kept{Status: out.status, Header: map[string]string{}, Body: out.body.Bytes()}
	for _, name := range []string{"Content-Type", "Location", "Etag"} {
		if v := out.header.Get(name); v != "" {
			have.Header[name] = v
		}
	}
	text, err := json.Marshal(have)
	if err != nil {
		return err
	}
	now.Answer = s.Box.Seal(keptFor(now), text)
	err = s.DB.Update(context.WithoutCancel(r.Context()), func(tx *db.Tx) error { return tx.AnswerIdempotent(now) })
	if errors.Is(err, db.ErrConflict) {
		// Somebody took over meanwhile and made the same thing; what was kept counts.
		if now, err = s.beginOnce(r.Context(), in); err == nil && now.Answer == nil {
			err = fault.New(fault.Unavailable, "the request is being served; try again with the same key")
		}
	}
	if err != nil {
		return err
	}
	return s.tell(w, now)
}

// beginOnce waits until the request is the caller's to serve or has its answer.
func (s *Server) beginOnce(ctx context.Context, in db.Idempotent) (db.Idempotent, error) {
	for waited := time.Duration(0); ; waited += keyAgain {
		var now db.Idempotent
		var mine bool
		err := s.DB.Update(ctx, func(tx *db.Tx) (err error) {
			now, mine, err = tx.BeginIdempotent(in, serveLease, keyLife)
			return err
		})
		switch {
		case errors.Is(err, db.ErrNotFound): // freed since it was met
		case err != nil:
			return now, err
		case now.Request != in.Request:
			return now, fault.New(fault.IdempotencyMismatch, "this Idempotency-Key named another request within the last 24 hours")
		case mine || now.Answer != nil:
			return now, nil
		}
		if waited >= keyWait {
			return now, &fault.Error{Kind: fault.Unavailable, Message: "the request is being served; try again with the same key", RetryAfter: time.Second}
		}
		select {
		case <-time.After(keyAgain):
		case <-ctx.Done():
			return now, ctx.Err()
		}
	}
}

// leave gives the request up: its key is free if it had no effect, and names the
// same thing if that is not known.
func (s *Server) leave(ctx context.Context, in db.Idempotent, why error) error {
	return s.DB.Update(context.WithoutCancel(ctx), func(tx *db.Tx) error {
		if k := fault.KindOf(why); k == fault.Internal || k == fault.Unavailable {
			return tx.LeaveIdempotent(in)
		}
		return tx.ForgetIdempotent(in)
	})
}

func (s *Server) tell(w http.ResponseWriter, in db.Idempotent) error {
	text, err := s.Box.Open(keptFor(in), in.Answer)
	if err != nil {
		return err
	}
	var have kept
	if err := json.Unmarshal(text, &have); err != nil {
		return err
	}
	for name, v := range have.Header {
		w.Header().Set(name, v)
	}
	w.WriteHeader(have.Status)
	_, err = w.Write(have.Body)
	return hungUp(err)
}

func keptFor(in db.Idempotent) string { return "answer " + in.ClientID + " " + in.Name }

// hashOf is a text that tells the parts apart and nothing of them.
func hashOf(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		n := len(p)
		h.Write([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		h.Write([]byte(p))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
