package web

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"mobileid/internal/fault"
	"mobileid/internal/kv"
)

// A browser sends our cookie (SameSite=Lax) with whatever GET leads it here, and
// with no POST of another site. So no POST of /authorize or /logout is acted on: it
// would be taken for one of a browser that we do not know, and the cookie that such a
// browser gets would replace the login of this one. Every one goes on as a GET.

const (
	// longestGet is how long a query may be: addresses of 8 KiB go through everywhere.
	longestGet = 6 << 10
	// parkedLife is how long a longer request is kept: a browser follows the redirect
	// at once, and may load the address again.
	parkedLife = 5 * time.Minute
)

// longRequest is a request that no address has room for. It is bound to nothing else,
// as the address that it stands in for would not be.
type longRequest struct {
	Path string `json:"path"`
	Form string `json:"form"`
}

// asGET sends the browser to path with the form as its query, or with the name under
// which the form is kept.
func (s *Server) asGET(w http.ResponseWriter, r *http.Request, path, form string) error {
	if len(form) >= longestGet {
		id := rand.Text()
		if err := s.long.Create(r.Context(), id, longRequest{path, form}, parkedLife); err != nil {
			return fault.Wrap(fault.Unavailable, "the request cannot be kept; please try again", err)
		}
		form = "parked=" + id
	}
	http.Redirect(w, r, path+"?"+form, http.StatusSeeOther)
	return nil
}

// parkedForm is the form that asGET kept for the address of r; nil if r has
// parameters of its own.
func (s *Server) parkedForm(r *http.Request) (url.Values, error) {
	id, ours := strings.CutPrefix(r.URL.RawQuery, "parked=")
	if !ours || r.Method != http.MethodGet || strings.Contains(id, "&") {
		return nil, nil
	}
	kept, err := s.long.Get(r.Context(), id)
	if errors.Is(err, kv.ErrNotFound) || err == nil && kept.Path != r.URL.Path {
		return nil, fault.New(fault.NotFound, "this request is over; please start again")
	}
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "the request cannot be read; please try again", err)
	}
	return url.ParseQuery(kept.Form)
}
