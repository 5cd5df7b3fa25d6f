package web

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"mobileid/flows"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/kv"
	"mobileid/provider"

	"github.com/gorilla/sessions"
)

const (
	ssoIdle      = 30 * time.Minute
	ssoAbsolute  = 12 * time.Hour
	beforeLogin  = flows.InteractionLife + 5*time.Minute
	touchAfter   = 20 * time.Second // how stale the idle time may be
	revokedKind  = "session"
	loginKey     = "login"
	browserKey   = "browser"
	sessionBytes = 32
)

// sessionStore keeps gorilla sessions in kv under the SHA-256 of their id: a
// reader of the store cannot take a session over. It implements sessions.Store.
type sessionStore struct {
	kv   kv.KV
	db   *db.DB
	clk  clock.Clock
	name string
	opts sessions.Options
}

func newSessionStore(store kv.KV, d *db.DB, clk clock.Clock, secure bool) *sessionStore {
	s := &sessionStore{kv: store, db: d, clk: clk, name: "mid",
		opts: sessions.Options{Path: "/", HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode}}
	if secure {
		s.name = "__Host-mid"
	}
	return s
}

func sessionKey(id string) string { return "session/{" + flows.HashSession(id) + "}" }

// Get returns the request's session, the same one each time it is asked.
func (s *sessionStore) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New loads the session that the cookie names. An id that we did not give, or
// whose session is over, withdrawn or kept in the form of another version, gives a new session with no id yet: an id
// planted by somebody else is never taken up.
func (s *sessionStore) New(r *http.Request, name string) (*sessions.Session, error) {
	sess := sessions.NewSession(s, name)
	opts := s.opts
	sess.Options, sess.IsNew = &opts, true
	c, err := r.Cookie(name)
	if err != nil {
		return sess, nil
	}
	if raw, err := base64.RawURLEncoding.DecodeString(c.Value); err != nil || len(raw) != sessionBytes {
		return sess, nil
	}
	val, err := s.kv.Get(r.Context(), sessionKey(c.Value))
	if errors.Is(err, kv.ErrNotFound) {
		return sess, nil
	}
	if err != nil {
		return sess, fault.Wrap(fault.Unavailable, "your session cannot be read; please try again", err)
	}
	have, err := readContent(val)
	if err != nil {
		return sess, nil // of another version
	}
	if l := have.Login; l != nil {
		gone, err := s.revoked(r.Context(), c.Value, l.SID)
		if err != nil || gone {
			return sess, err
		}
		now := s.clk.Now()
		if now.Sub(time.UnixMilli(l.AuthTime)) < ssoAbsolute && now.Sub(time.UnixMilli(l.SeenAt)) < ssoIdle {
			sess.Values[loginKey] = l
		}
	}
	sess.Values[browserKey] = have.Browser
	sess.ID, sess.IsNew = c.Value, false
	return sess, nil
}

// revoked reports whether the session or its login was withdrawn, even if an old
// kv still has it.
func (s *sessionStore) revoked(ctx context.Context, id, sid string) (gone bool, err error) {
	err = s.db.View(ctx, func(tx *db.Tx) (err error) {
		gone, err = tx.EitherRevoked(revokedKind, flows.HashSession(id), provider.RevokedSID, sid)
		return err
	})
	return gone, err
}

// Save stores the session, giving it an id and its cookie if it has none.
func (s *sessionStore) Save(r *http.Request, w http.ResponseWriter, sess *sessions.Session) error {
	ttl := beforeLogin
	var have content
	have.Login, _ = sess.Values[loginKey].(*login)
	if have.Login != nil {
		ttl = ssoIdle
	}
	if have.Browser, _ = sess.Values[browserKey].(string); have.Browser == "" {
		have.Browser = rand.Text()
		sess.Values[browserKey] = have.Browser
	}
	val := have.record()
	if sess.ID == "" {
		raw := make([]byte, sessionBytes)
		rand.Read(raw)
		sess.ID = base64.RawURLEncoding.EncodeToString(raw)
		if err := s.kv.Create(r.Context(), sessionKey(sess.ID), val, ttl); err != nil {
			return fault.Wrap(fault.Unavailable, "your session cannot be stored; please try again", err)
		}
	} else if err := s.overwrite(r.Context(), sess.ID, val, ttl); err != nil {
		return fault.Wrap(fault.Unavailable, "your session cannot be stored; please try again", err)
	}
	http.SetCookie(w, sessions.NewCookie(sess.Name(), sess.ID, sess.Options))
	sess.IsNew = false
	return nil
}

func (s *sessionStore) overwrite(ctx context.Context, id string, val []byte, ttl time.Duration) error {
	old, err := s.kv.Get(ctx, sessionKey(id))
	if err != nil {
		return err
	}
	err = s.kv.Swap(ctx, sessionKey(id), old, val, ttl)
	if errors.Is(err, kv.ErrConflict) {
		return nil // another request of this browser stored it just now
	}
	return err
}

// current is the browser's session.
func (s *sessionStore) current(r *http.Request) (*sessions.Session, *login, error) {
	sess, err := s.Get(r, s.name)
	if err != nil {
		return nil, nil, err
	}
	l, _ := sess.Values[loginKey].(*login)
	return sess, l, nil
}

// browser is how interactions know the browser of the session, across rotations
// of its id; "" if it has none yet.
func browser(sess *sessions.Session) string {
	b, _ := sess.Values[browserKey].(string)
	if b == "" {
		return ""
	}
	return flows.HashSession(b)
}

// touch extends the idle time of a login that is used.
func (s *sessionStore) touch(r *http.Request, w http.ResponseWriter, sess *sessions.Session, l *login) error {
	now := s.clk.Now()
	if now.Sub(time.UnixMilli(l.SeenAt)) < touchAfter {
		return nil
	}
	seen := *l
	seen.SeenAt = now.UnixMilli()
	sess.Values[loginKey] = &seen
	return s.Save(r, w, sess)
}

// logIn makes l the browser's login under a new id. The old id is dead before
// the new one exists: in SQL if anybody was logged in under it, so that a kv
// restored from yesterday does not bring it back.
func (s *sessionStore) logIn(w http.ResponseWriter, r *http.Request, l *login) error {
	sess, old, err := s.current(r)
	if err != nil {
		return err
	}
	if sess.ID != "" {
		if old != nil {
			err := s.db.Update(r.Context(), func(tx *db.Tx) error {
				return tx.Revoke(revokedKind, flows.HashSession(sess.ID), tx.Now().Add(ssoAbsolute))
			})
			if err != nil {
				return fault.Wrap(fault.Unavailable, "your session cannot be stored; please try again", err)
			}
		}
		if err := s.kv.Delete(r.Context(), sessionKey(sess.ID)); err != nil {
			return fault.Wrap(fault.Unavailable, "your session cannot be stored; please try again", err)
		}
	}
	l.SeenAt = s.clk.Now().UnixMilli()
	sess.ID = ""
	sess.Values[loginKey] = l
	return s.Save(r, w, sess)
}
