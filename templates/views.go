// Package templates holds the pages a browser is shown: one view struct of
// plain values for each, and the markup that presents it.
//
// Pages decide nothing. A caller has authorised, checked and worded what a view
// holds; a page escapes it, chooses the sentence for the state, and lays it out.
// Every page works under a policy of `default-src 'none'; style-src 'self';
// script-src 'self'; img-src 'self' data:; connect-src 'self'`: no inline style,
// no inline script, no foreign address. Words are in texts.go.
package templates

import (
	"net/url"
	"time"

	"github.com/a-h/templ"
)

// Page is what every page has.
type Page struct {
	// Lang is the language to speak, a key of texts.go; anything else is English.
	Lang string
	// RequestID is shown at the foot of the page so that a person can quote it.
	RequestID string
}

// InteractionState is what the login page has to say.
type InteractionState string

const (
	StateIdentify    InteractionState = "identify"    // asks who the user is
	StateWaiting     InteractionState = "waiting"     // the phone has been asked
	StateDeclined    InteractionState = "declined"    // the user said no
	StateReported    InteractionState = "reported"    // the user said it was not them
	StateExpired     InteractionState = "expired"     // nobody answered in time
	StateLocked      InteractionState = "locked"      // no phone may answer any more
	StateBlocked     InteractionState = "blocked"     // too many failures, see BlockedUntil
	StateNoDevice    InteractionState = "no_device"   // no phone is registered
	StateUnavailable InteractionState = "unavailable" // our fault, worth another try
	StateCancelled   InteractionState = "cancelled"   // stopped in the browser
	StateUnfit       InteractionState = "unfit"       // the phone is not accepted for what it says of itself
	StateSuperseded  InteractionState = "superseded"  // a newer request of the same client took its place
	StateDone        InteractionState = "done"        // approved, go on to FinishURL
)

// InteractionView is the login page /i/{ID} and its live region.
//
// Forms go to POST /i/{ID}/identify (csrf, identifier), /i/{ID}/retry (csrf,
// and change=1 when the user wants to give another identifier) and
// /i/{ID}/cancel (csrf).
type InteractionView struct {
	Page
	ID         string
	CSRF       string
	Merchant   string      // the account that asks
	ClientName string      // the application that asks
	Approves   bool        // Facts are to be approved, beside the login
	Facts      [][2]string // labels and values of what is to be approved; empty leaves them out
	Browser    string      // in words of flows, in English, such as "Firefox on Linux"; empty leaves the line out
	Time       time.Time   // when it was asked
	State      InteractionState
	// Identifier is what was typed, masked if the caller wants it so. In the
	// state identify it fills the form.
	Identifier string
	// CanChange offers to give another identifier.
	CanChange bool
	// BadName is said at the identifier's field in the state identify.
	BadName bool
	// MatchCode is the number to type on the phone; empty when none is asked.
	MatchCode    string
	BlockedUntil time.Time // only for blocked and declined; zero leaves the time out
	ExpiresAt    time.Time
	SecondsLeft  int // until ExpiresAt; 0 or less shows no countdown
	// FinishURL is a path of this server at which the browser goes on when the
	// state is done. Anything but a local path is not rendered.
	FinishURL string
}

// ErrorView is the page for everything that cannot be told to a client. It has
// no link: an unverified address must never become one.
type ErrorView struct {
	Page
	Status  int
	Title   string // empty takes a general one
	Message string // one plain sentence
	Detail  string // for a developer: error code, field; may be empty
}

// RegisterView is /r, the target of a registration link. The ticket is in the
// fragment, which only the browser sees; a script puts it into the command.
type RegisterView struct {
	Page
	// Command comes before the quoted link; empty takes
	// "bin/mobileid phone --state alice.json register".
	Command string
}

// DemoState is how far the registration on the demo page is.
type DemoState string

const (
	DemoStart       DemoState = "start"       // nothing begun: a button
	DemoWaiting     DemoState = "waiting"     // link and code are shown
	DemoCompare     DemoState = "compare"     // a phone came: compare the digits
	DemoActive      DemoState = "active"      // registered
	DemoRefused     DemoState = "refused"     // the user said the digits differ, or too many wrong codes
	DemoExpired     DemoState = "expired"     // nobody came in time
	DemoUnavailable DemoState = "unavailable" // our fault, worth another try
)

// DemoView is the page that registers a phone in the demo, and its live region.
//
// Forms go to POST {Path}/start, {Path}/confirm and {Path}/refuse with csrf and
// id (the registration's); events come from {Path}/events?id={ID}. Without
// JavaScript the page asks GET {Path}?id={ID} again.
type DemoView struct {
	Page
	Path         string // where the page is, a local path such as /demo
	CSRF         string
	ID           string // the registration; empty in the state start
	UserName     string // whose phone it becomes
	State        DemoState
	Link         string          // the whole registration link
	QR           templ.Component // of Link, from QR(); nil leaves it out
	Locator      string          // for typing, with Code
	Code         string
	LinkCommand  string // the exact next command, by link
	CodeCommand  string // the exact next command, by locator and code
	CommitDigits string // eight digits, shown as 1234 5678
	Device       string // what the phone calls itself
	SecondsLeft  int    // 0 or less shows no countdown
	NextURL      string // where a registered user goes to log in: a web address
}

// IndexView is the page at / of the issuer.
type IndexView struct {
	Page
	Issuer       string
	DiscoveryURL string
	ShopURL      string // empty leaves the demo shop out
	DemoURL      string // empty leaves the registration demo out
}

// ReferenceView is /api: the contract of the REST API in words. Texts are prose,
// with code between backquotes.
type ReferenceView struct {
	Page
	Title, Intro string
	SpecURL      string
	TokenCurl    string // how to get an access token
	Groups       []ReferenceGroup
}

// ReferenceGroup are the calls about one kind of thing.
type ReferenceGroup struct {
	Name, Note string
	Calls      []ReferenceCall
}

// ReferenceCall is one operation of the contract. Status is that of its success.
type ReferenceCall struct {
	ID, Method, Path, Summary, Note, Scope string
	BodyType, Status, Curl                 string
	Params, Body, Answer                   []ReferenceMember
}

// ReferenceMember is one parameter or member.
type ReferenceMember struct {
	Name, Type, Note string
	Required         bool
}

// VerifyView is /verify, where evidence is checked in the browser by a script.
type VerifyView struct {
	Page
	Issuer string // of this server, whose keys the script fetches
}

// ConsentView is /consent/{ID}: what an application asks for, in words. Its form
// goes there too (csrf, decision=allow or deny).
type ConsentView struct {
	Page
	ID, CSRF   string
	Merchant   string   // the account that asks
	ClientName string   // the application that asks
	UserName   string   // who is asked; empty leaves the line out
	Scopes     []string // of OAuth
}

func (v ConsentView) action() templ.SafeURL {
	return templ.SafeURL("/consent/" + url.PathEscape(v.ID))
}

// LogoutView asks for a logout that nobody proved to be wanted. Its form goes to
// POST /logout/confirm (csrf, Params).
type LogoutView struct {
	Page
	CSRF       string
	ClientName string // who sent the browser here; empty: not known
	Params     []Param
}

// LoggedOutView is shown after a logout at the issuer.
type LoggedOutView struct {
	Page
	ClientName  string
	ContinueURL string // registered for the client and verified; empty shows no link
}

// Param is one field of a form.
type Param struct{ Name, Value string }

// FormPostView sends an authorization response by form_post (OAuth 2.0 Form
// Post Response Mode). The policy of this answer must allow Action in
// form-action.
type FormPostView struct {
	Page
	Action     string // the verified redirect URI: https, or http on loopback
	ClientName string
	Params     []Param
}
