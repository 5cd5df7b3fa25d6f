package web

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"

	"mobileid/sdk/wire"
)

// jose is the media type of mid/1's messages.
const jose = "application/jose"

// Values that the answers of mid/1 share: they are replaced and never written to.
var joseType, noStore = []string{jose}, []string{"no-store"}

// midKeys is GET /mid/v1/keys?c=<challenge>.
func (s *Server) midKeys(w http.ResponseWriter, r *http.Request) error {
	jws, err := s.Channel.Keys(r.Context(), r.URL.Query().Get("c"))
	if err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"], h["Cache-Control"] = joseType, noStore
	_, err = io.WriteString(w, jws)
	return hungUp(err)
}

// midRPC is POST /mid/v1/rpc: one sealed message in, one sealed message out. What
// no known phone sealed counts against its address block; the channel counts
// what opens and is a stranger's all the same.
func (s *Server) midRPC(w http.ResponseWriter, r *http.Request) error {
	if err := s.Limits.Junk.Full(s.clientIP(r), ""); err != nil {
		return err
	}
	err := s.rpc(w, r)
	if _, junk := errors.AsType[*wire.Outer](err); junk {
		if over := s.Limits.Junk.Take(r.Context(), s.clientIP(r), ""); over != nil {
			return over
		}
	}
	return err
}

// usualMessage is how long most messages are at most: no memory is had ready for
// what is only announced.
const usualMessage = 8 << 10

func (s *Server) rpc(w http.ResponseWriter, r *http.Request) error {
	if kind := r.Header.Get("Content-Type"); kind != jose {
		if mt, _, err := mime.ParseMediaType(kind); err != nil || mt != jose {
			return &wire.Outer{Code: wire.OuterMalformed, Cause: errors.New("content type is not " + jose)}
		}
	}
	var body bytes.Buffer
	body.Grow(int(min(max(r.ContentLength, 0), usualMessage)) + bytes.MinRead)
	if _, err := body.ReadFrom(r.Body); err != nil {
		return &wire.Outer{Code: wire.OuterMalformed, Cause: err}
	}
	reply, err := s.Channel.RPC(r.Context(), body.Bytes(), s.clientIP(r))
	if err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"], h["Cache-Control"] = joseType, noStore
	_, err = w.Write(reply)
	return hungUp(err)
}

// hungUp forgets an error of writing an answer: its reader is gone.
func hungUp(error) error { return nil }
