package web

import (
	"bytes"
	"net/http"
	"sync"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/fault"
	"mobileid/templates"
)

const (
	mostStreams = 5 // of one browser
	beat        = 5 * time.Second
	streamLife  = 15 * time.Minute
	writeLimit  = 10 * time.Second
)

// streams counts the event streams of each browser and ends them at a drain.
type streams struct {
	mu     sync.Mutex
	open   map[string]int
	ended  chan struct{}
	closed bool
}

func newStreams() *streams { return &streams{open: map[string]int{}, ended: make(chan struct{})} }

func (s *streams) enter(browser string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.open[browser] >= mostStreams {
		return false
	}
	s.open[browser]++
	return true
}

func (s *streams) leave(browser string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[browser]--; s.open[browser] == 0 {
		delete(s.open, browser)
	}
}

func (s *streams) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.ended)
	}
}

// interactionEvents streams the login page's live region: on connect, whenever
// it changes, and a comment now and then so that proxies keep the line open.
// Hints may be lost, so the state is read every few seconds whatever happens.
func (s *Server) interactionEvents(w http.ResponseWriter, r *http.Request) error {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return fault.New(fault.Forbidden, "events are for our own pages")
	}
	in, err := s.mine(r)
	if err != nil {
		return err
	}
	if !s.streams.enter(in.Browser) {
		return &fault.Error{Kind: fault.RateLimited, Message: "too many event streams", RetryAfter: beat}
	}
	defer s.streams.leave(in.Browser)
	hint, stop := s.Flows.WatchLogin(&in)
	defer stop()

	rc := http.NewResponseController(w)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	tick := time.NewTicker(beat)
	defer tick.Stop()
	end := time.NewTimer(streamLife)
	defer end.Stop()
	var last templates.InteractionState
	for {
		st, err := s.Flows.LoginState(r.Context(), &in)
		if err != nil {
			return nil // the browser asks again
		}
		v, err := s.view(r, &in, st)
		if err != nil {
			return nil
		}
		var out bytes.Buffer
		if v.State == last {
			out.WriteString(": still there\n\n")
		} else {
			last = v.State
			if err := templates.LiveEvent(r.Context(), &out, templates.InteractionLive(v)); err != nil {
				return nil
			}
		}
		// The runtime holds it against the machine's time, whatever clock a test has set.
		if err := rc.SetWriteDeadline(clock.System{}.Now().Add(writeLimit)); err != nil {
			return nil
		}
		if _, err := w.Write(out.Bytes()); err != nil || rc.Flush() != nil || v.State != templates.StateWaiting {
			return nil
		}
		select {
		case <-hint:
		case <-tick.C:
		case <-end.C:
			return nil
		case <-s.streams.ended:
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
}
