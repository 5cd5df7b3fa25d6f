package web

import (
	"errors"
	"math"
	"net/http"
	"strconv"

	"mobileid/internal/fault"
	"mobileid/internal/limit"
	"mobileid/sdk/wire"
)

// Limits are those that HTTP asks; a nil one lets everything through.
type Limits struct {
	Authorize *limit.Limit // per address block: authorize requests
	Identify  *limit.Limit // per address block: forms that ask a phone
	Failures  *limit.Limit // per address block: access tokens that are none at the REST API; provider counts clients, and tokens at userinfo
	Junk      *limit.Limit // per address block: messages to mid/1 that no known phone signed
	Client    *limit.Limit // per client: REST calls; provider counts backchannel requests
	Token     *limit.Limit // per client: token requests, which provider counts
	Keys      *limit.Limit // per address block: requests for the keys of mid/1, each of which is signed
}

// badToken is the id under which bad access tokens of an address block count.
// No client has it.
const badToken = "token"

// limited counts each request of an address block before it is handled.
func (s *Server) limited(x *limit.Limit, h func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := x.Take(r.Context(), s.clientIP(r), ""); err != nil {
			return err
		}
		return h(w, r)
	}
}

// tooMany is a limit's refusal in the words of the route's callers.
func tooMany(w http.ResponseWriter, k kind, over *limit.Exceeded) error {
	if k == device {
		w.Header().Set("Retry-After", seconds(over.Wait.Seconds()))
		return &wire.Outer{Code: wire.OuterRateLimited, Cause: over}
	}
	return &fault.Error{Kind: fault.RateLimited, Message: "too many requests came from here; please wait a moment", Cause: over, RetryAfter: over.Wait}
}

func seconds(s float64) string { return strconv.Itoa(int(math.Ceil(s))) }

// errEncoded is the cause of refusing a body with a Content-Encoding: unpacking
// one is work that the sender does not pay for.
var errEncoded = errors.New("encoded body")

// bodyStatus is the status of an error that says more about the body than its
// kind does.
func bodyStatus(err error, otherwise int) int {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge
	}
	if errors.Is(err, errEncoded) {
		return http.StatusUnsupportedMediaType
	}
	if errors.Is(err, errNoVersion) {
		return http.StatusPreconditionRequired
	}
	return otherwise
}
