// Package provider is what OAuth 2.0, OpenID Connect and CIBA say: it reads
// their requests, authenticates clients, issues and verifies codes and tokens,
// and writes their answers. fosite carries the grants inside; a strict intake,
// the storage and everything that leaves the server are ours.
//
// Who the user is, and whether they agree, is decided below (flows) and asked
// for above (web).
package provider

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"mobileid/flows"
	"mobileid/internal/audit"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/egress"
	"mobileid/internal/keys"
	"mobileid/internal/kv"
	"mobileid/internal/limit"
	"mobileid/internal/view"

	"github.com/ory/fosite"
)

// Lifetimes.
const (
	codeLife    = time.Minute         // authorization code
	accessLife  = 5 * time.Minute     // access token
	idTokenLife = 10 * time.Minute    // ID token
	refreshLife = 30 * 24 * time.Hour // refresh token, anew with each rotation
	// grace is how long a refresh token that was just used still gives the same
	// successor, for a client that lost the reply.
	grace = 10 * time.Second
	// longPoll is how long a token request of CIBA is held (CIBA Core section
	// 7.3 leaves it to the server); proxies cut at 30 s.
	longPoll = 25 * time.Second
	// ClientFresh is how old a node's view of a client may be. Whoever changes a
	// client must wait that long before calling the change complete.
	ClientFresh = 2 * time.Second
)

// Backchannel is the part of flows that is needed here; *flows.Flows is it.
type Backchannel interface {
	CheckMethods(ctx context.Context, client *db.Client) error
	CheckDetails(ctx context.Context, client *db.Client, name string, d *view.Details) error
	StartBackchannel(ctx context.Context, s flows.BackchannelStart) (flows.BackchannelAck, error)
	PollBackchannel(ctx context.Context, authReqID, clientID string, wait time.Duration) (flows.BackchannelState, error)
}

// Options is what a Provider works with. All fields but the last three are needed.
type Options struct {
	Issuer   string // URL without a slash at the end
	DB       *db.DB
	KV       kv.KV
	Keys     *keys.Ring
	Box      *keys.Box
	Flows    Backchannel
	Audit    *audit.Writer
	Egress   *egress.Client // for back-channel logout and jwks_uri
	Clock    clock.Clock
	Log      *slog.Logger
	ClientIP func(*http.Request) string
	// FormPost writes the page that posts params to action by itself (OAuth 2.0
	// Form Post Response Mode).
	FormPost func(w http.ResponseWriter, action string, params url.Values)
	// Scopes are further scopes that some endpoint understands, to be advertised.
	Scopes []string
	// Failures limits failed authentications of a client, and access tokens that
	// are none, from an address block; Requests the backchannel requests of a
	// client, Tokens its token requests.
	Failures, Requests, Tokens *limit.Limit
	// Anchored says that makers are trusted who attest that phones' keys are in hardware.
	Anchored bool
	// Issued is told the grant type of every answer with tokens. It may be nil.
	Issued func(grant string)
}

// Provider is the authorization server. Safe for concurrent use.
type Provider struct {
	issuer   string
	db       *db.DB
	kv       kv.KV
	ring     *keys.Ring
	flows    Backchannel
	audit    *audit.Writer
	egress   *egress.Client
	clk      clock.Clock
	log      *slog.Logger
	clientIP func(*http.Request) string
	formPost func(http.ResponseWriter, string, url.Values)
	failures *limit.Limit
	requests *limit.Limit
	tokens   *limit.Limit
	issued   func(grant string)

	codeHandlers fosite.AuthorizeEndpointHandlers
	grants       map[string]*grantType
	refreshKey   []byte
	clients      clientCache
	remote       remoteCache
	origins      originCache
	metadata     document
	// withHardware is metadata while a login can end in the class of attested hardware.
	withHardware document
	reach        hardwareCache
	anchored     bool
	jwks         jwksCache
}

// New makes a provider.
func New(o Options) (*Provider, error) {
	u, err := url.Parse(o.Issuer)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(o.Issuer, "/") {
		return nil, errors.New("provider: the issuer must be a URL without query, fragment or a slash at the end")
	}
	for _, missing := range []bool{o.DB == nil, o.KV == nil, o.Keys == nil, o.Box == nil, o.Flows == nil, o.Audit == nil, o.Egress == nil,
		o.Clock == nil, o.Log == nil, o.ClientIP == nil, o.FormPost == nil} {
		if missing {
			return nil, errors.New("provider: an option is missing")
		}
	}
	p := &Provider{
		issuer: o.Issuer, db: o.DB, kv: o.KV, ring: o.Keys, flows: o.Flows, audit: o.Audit, egress: o.Egress, clk: o.Clock, log: o.Log,
		clientIP: o.ClientIP, formPost: o.FormPost, failures: o.Failures, requests: o.Requests, tokens: o.Tokens, issued: o.Issued,
		refreshKey: o.Box.Derive("refresh tokens 1"),
	}
	p.clients.byID, p.remote.byID = map[string]*client{}, map[string]*remoteKeys{}
	p.compose()
	p.anchored = o.Anchored
	var err2 error
	p.metadata, err = p.describe(o.Scopes, false)
	p.withHardware, err2 = p.describe(o.Scopes, true)
	return p, errors.Join(err, err2)
}
