// Package flows is how a request becomes a device operation and an outcome:
// redirect login, backchannel and the merchant's own REST calls. Who may be asked, how often, and what they
// are shown is decided here, below every handler.
package flows

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/identity"
	"mobileid/internal/kv"
	"mobileid/internal/notify"
	"mobileid/internal/operation"
	"mobileid/internal/view"
)

// Config is what Flows needs.
type Config struct {
	DB         *db.DB
	KV         kv.KV
	Users      *identity.Store
	Operations *operation.Engine
	Clock      clock.Clock
	Log        *slog.Logger
	// Wake has a user's phones be woken by push.
	Wake func(context.Context, notify.Wake) error
}

// Flows is the one core behind every way in.
type Flows struct {
	Config
	names        *names
	policies     *policies
	paces        kv.Bucket[pace]
	interactions kv.Bucket[Interaction]
}

// New makes the core.
func New(c Config) *Flows {
	return &Flows{Config: c, names: &names{of: map[string]name{}}, policies: &policies{of: map[string]policy{}},
		paces: kv.NewBucket[pace](c.KV, "ciba"), interactions: kv.NewBucket[Interaction](c.KV, "i")}
}

// ask is one request to one person, before it is known whether there is such a
// person.
type ask struct {
	client *db.Client
	hint   string
	// subject is the id of the user who must answer besides; "": whom hint means. Does
	// hint mean another, nobody is asked.
	subject string
	flow    string
	prompt  view.Prompt // what to show; start fills in where it comes from
	post    []byte      // a view to show after an approval
	// detailsName is what the client calls prompt.Details, for faults in it.
	detailsName string
	locales     []string // in which language, the most wished for first
	minACR      string
	life        time.Duration
	match       bool
	reveal      bool // the client may learn who exists
	initiator   operation.Initiator
	options     options

	operationID, scope string // of a backchannel request
}

// kind is that of the operation: what signs a text is a signature.
func (a *ask) kind() string {
	if a.prompt.Purpose == view.Sign {
		return operation.KindSignature
	}
	return operation.KindAuthentication
}

// way is how a backend's request is told to the user: inside the merchant's app,
// to the phone of a trusted client, or, by the flow named, with a number to type.
func (a *ask) way(typed string) (flow string, match bool) {
	switch {
	case a.options.app:
		return operation.FlowApp, false
	case a.client.Settings.Binding == "trusted":
		return operation.FlowPush, false
	}
	return typed, true
}

// options are what only some ways in can ask for; the operation keeps them.
type options struct {
	level, appID, clientData string
	methods                  []string // one of which must be proven; empty: whichever the App allows
	app                      bool     // begun inside the merchant's app
	push                     bool
	pushTag                  string
}

// asked is what became of it.
type asked struct {
	operationID string
	match       string
	startToken  string // options.app: what the app claims it with
	life        time.Duration
	expires     time.Time
}

// start asks the person whom the hint means. A reason not to ask is not_found,
// user_locked, user_deactivated, no_device or device_blocked where the client may
// learn who exists. Where it may not, the operation is started all the same, for
// no device: it is counted, capped, superseded and expires as any other, and no
// answer or lack of one tells the two apart.
func (f *Flows) start(ctx context.Context, a ask) (asked, error) {
	hint, err := identity.ParseHint(a.hint)
	if err != nil {
		return asked{}, err
	}
	life := a.life
	if life <= 0 {
		life = operation.DefaultLife
	}
	now := f.Clock.Now()
	out := asked{life: min(life, operation.MaxLife)}
	out.expires = now.Add(out.life)
	if a.match {
		if out.match, err = matchCode(); err != nil {
			return asked{}, err
		}
	}
	// Rendered before anybody is looked up: what cannot be shown is told alike for
	// those who exist and those who do not.
	app, err := f.appPolicy(ctx, a.client.AppID)
	if err != nil {
		return asked{}, err
	}
	if err := a.checkMethods(app); err != nil {
		return asked{}, err
	}
	if err := a.checkDetails(app); err != nil {
		return asked{}, err
	}
	p := &a.prompt
	p.Client, p.Merchant, p.Browser, p.Address, p.Time = a.client.Name, f.merchantName(ctx, a.client.MerchantID), a.initiator.Browser, a.initiator.IP, now
	lang := view.Language(append(a.locales, app.Language)...)
	shown, tpl, err := p.Render(lang)
	if err != nil {
		return asked{}, err
	}
	minACR := a.minACR
	if operation.Rank(a.client.Settings.MinACR) > operation.Rank(minACR) {
		minACR = a.client.Settings.MinACR
	}
	least := operation.ACRWeb
	if a.options.level == operation.OneFactor {
		least = operation.ACRPossession
	}
	if operation.Rank(minACR) < operation.Rank(least) {
		minACR = least
	}
	if a.options.level == operation.OneFactor && minACR != least {
		return asked{}, fault.InField("/authLevel", "too_low", "authLevel ONE_FACTOR cannot reach "+minACR)
	}
	reveal := a.reveal || a.client.Settings.RevealUnknownUser
	user, phones, err := f.Users.Addressee(ctx, a.client.MerchantID, hint)
	if fault.Is(err, fault.NotFound) && !reveal {
		user = db.User{ID: f.Operations.Nobody(a.client.MerchantID, hint.UserID+hint.ExternalRef), State: db.UserActive}
		err = nil
	}
	if app := a.options.appID; app != "" {
		phones = slices.DeleteFunc(phones, func(d db.Device) bool { return d.AppID != app })
	}
	if err == nil {
		err = f.reachable(ctx, &user, phones, hint.DeviceID, minACR, a.methods(app))
	}
	if err == nil && a.subject != "" && user.ID != a.subject {
		// Counted for whom the hint means, as if the subject were not named.
		err = fault.New(fault.NotFound, "the hint means another user than the one who must answer")
	}
	device := hint.DeviceID
	if err != nil {
		if k := fault.KindOf(err); k == fault.Internal || k == fault.Unavailable || reveal {
			return asked{}, err
		}
		device = operation.NoDevice
	}
	// The user's own language goes before the merchant's.
	if own := view.Language(append(a.locales, user.Attributes["locale"], app.Language)...); own != lang {
		lang = own
		if shown, tpl, err = p.Render(lang); err != nil {
			return asked{}, err
		}
	}
	op := &operation.Operation{
		ID: a.operationID, Scope: a.scope,
		Kind: a.kind(), Flow: a.flow, MerchantID: a.client.MerchantID, ClientID: a.client.ID, ClientName: a.client.Name,
		UserID: user.ID, DeviceID: device, View: shown, Post: a.post, Tpl: tpl, Lang: lang, MinACR: minACR, Match: out.match,
		Level: a.options.level, Methods: operation.Choice(a.methods(app)), AppID: a.options.appID, ClientData: a.options.clientData,
		Initiator: a.initiator, StartedAt: now.UnixMilli(), ExpiresAt: out.expires.UnixMilli(),
	}
	if p.Details != nil {
		op.Data = p.Details.Canonical
	}
	if a.options.app {
		op.Initiation = operation.FromApp
	}
	if err := f.Operations.Start(ctx, op); err != nil {
		return asked{}, err
	}
	if (a.options.push || app.Push == identity.PushAlways) && !a.options.app {
		f.wake(ctx, op, a.options.pushTag)
	}
	out.operationID, out.match, out.expires = op.ID, op.Match, op.Expires()
	if a.options.app {
		out.startToken = f.Operations.StartToken(op.ID)
	}
	return out, nil
}

// wake has the phones be woken. Whoever asked is not told of a failure: the phones
// see the operation without a push too.
func (f *Flows) wake(ctx context.Context, op *operation.Operation, tag string) {
	err := f.Wake(ctx, notify.Wake{UserID: op.UserID, DeviceID: op.DeviceID, AppID: op.AppID, OperationID: op.ID, Tag: tag, Until: op.ExpiresAt})
	if err != nil {
		f.Log.WarnContext(ctx, "phones are not woken", "operation", op.ID, "error", err)
	}
}

// reachable reports why the user cannot be asked now: locked, or no phone that
// could answer and prove what is asked for.
func (f *Flows) reachable(ctx context.Context, u *db.User, phones []db.Device, deviceID, minACR string, methods []string) error {
	switch u.State {
	case db.UserLocked:
		return fault.New(fault.UserLocked, "the user is locked")
	case db.UserDeactivated:
		return fault.New(fault.UserDeactivated, "the user is deactivated")
	}
	var blocked time.Time
	for _, d := range phones {
		if deviceID != "" && d.ID != deviceID {
			continue
		}
		if able, err := f.able(ctx, &d, minACR, methods); err != nil {
			return err
		} else if !able {
			continue
		}
		switch {
		case identity.MayAnswer(&d, f.Clock.Now()):
			return nil
		case d.State == db.DeviceBlocked && (blocked.IsZero() || d.BlockedUntil.Before(blocked)):
			blocked = d.BlockedUntil
		}
	}
	if !blocked.IsZero() {
		return &fault.Error{Kind: fault.DeviceBlocked, Message: "the phone is blocked after too many wrong attempts", RetryAfter: blocked.Sub(f.Clock.Now())}
	}
	return fault.New(fault.NoDevice, "the user has no phone that can answer")
}

// able reports whether the device can prove minACR by one of the methods; none is
// possession alone.
func (f *Flows) able(ctx context.Context, d *db.Device, minACR string, methods []string) (bool, error) {
	policy, err := f.appPolicy(ctx, d.AppID)
	if err != nil {
		return false, err
	}
	can := operation.Provable(d, policy)
	if len(methods) > 0 && !slices.ContainsFunc(methods, func(m string) bool { return slices.Contains(can, m) }) {
		return false, nil
	}
	// Every device reaches the classes below.
	return operation.Rank(minACR) <= operation.Rank(operation.ACRWeb) || operation.Rank(operation.Reach(d, policy)) >= operation.Rank(minACR), nil
}

// CheckMethods reports a client whose App allows no method that a login could be
// proven by: forbidden.
func (f *Flows) CheckMethods(ctx context.Context, client *db.Client) error {
	app, err := f.appPolicy(ctx, client.AppID)
	if err != nil {
		return err
	}
	return (&ask{}).checkMethods(app)
}

// checkMethods reports a method, or a push, that is asked for and not allowed by the
// client's App as it is, or that it allows no method that phones can prove.
func (a *ask) checkMethods(app identity.Policy) error {
	for _, m := range a.options.methods {
		if !app.Allows(m) {
			return fault.InField("/authMethods", "not_allowed", "the client's App does not allow "+m)
		}
	}
	if a.options.push && app.Push == identity.PushOff {
		return fault.InField("/sendPush", "not_allowed", "the client's App has no pushes")
	}
	if a.options.level != operation.OneFactor && !app.Allows(identity.MethodPIN) && !app.Allows(identity.MethodBiometric) {
		return fault.New(fault.Forbidden, "the client's App allows no method that phones can prove; they prove PIN and BIOMETRIC")
	}
	return nil
}

// methods are those of which one must be proven; none: possession is enough.
func (a *ask) methods(app identity.Policy) []string {
	switch {
	case a.options.level == operation.OneFactor:
		return nil
	case len(a.options.methods) > 0:
		return a.options.methods
	}
	return app.Methods
}

// ParamDetails is what OIDC and CIBA call typed data (RFC 9396 section 2).
const ParamDetails = "authorization_details"

// CheckDetails reports what the client's App does not allow in details that the
// client calls name; invalid_request names the member.
func (f *Flows) CheckDetails(ctx context.Context, client *db.Client, name string, d *view.Details) error {
	app, err := f.appPolicy(ctx, client.AppID)
	if err != nil {
		return err
	}
	return (&ask{prompt: view.Prompt{Details: d}, detailsName: name}).checkDetails(app)
}

// checkDetails reports what the client's App does not allow as it is.
func (a *ask) checkDetails(app identity.Policy) error {
	d := a.prompt.Details
	if d.Signature() {
		a.prompt.Purpose = view.Sign
	}
	switch {
	case !app.PSD2:
		return nil
	case a.options.level == operation.OneFactor:
		return fault.InField("/authLevel", "too_low", "authLevel ONE_FACTOR is no strong authentication (PSD2)")
	case d == nil:
		return nil
	}
	return d.CheckPSD2(a.detailsName)
}

// matchCode is the number that one screen shows and the phone has typed: with
// three tries, three digits are guessed once in 333.
func matchCode() (string, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(900))
	if err != nil {
		return "", err
	}
	return fmt.Sprint(100 + n.Int64()), nil
}
