package flows

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/identity"
	"mobileid/internal/operation"
	"mobileid/internal/view"
	"mobileid/sdk/wire"
)

const (
	// maxClientData is the most bytes that a client is told back.
	maxClientData = 1 << 10
	maxPushTag    = 64
)

// tagChars are what a tag in a push is made of.
const tagChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

// Request is what a merchant's backend asks of one of its users, by REST.
type Request struct {
	// ID is the operation's, chosen before, so that the same request starts one; "": a
	// new one.
	ID string
	// Hint is who: as login_hint, so an external reference, userId:<id>, or both ids.
	Hint string
	// DeviceID is the one phone that may answer. Empty, or with Broadcast, all of
	// the user's ACTIVE phones are asked and the first answer wins.
	DeviceID  string
	Broadcast bool
	// Pre is shown before the answer and covered by its signature; Post is shown
	// after an approval. Neither is needed, but a signature is made over its Pre.
	Pre, Post *view.Content
	// Details are typed data, the list of RFC 9396 as JSON; empty: there are none.
	// A signature is made over its Pre or over details of its type.
	Details []byte
	Locales []string // BCP 47, the most wished for first

	AuthLevel   string   // operation.TwoFactor, which "" means, or operation.OneFactor
	AuthMethods []string // one of them must be proven; empty: those that the client's App allows
	MinACR      string
	AppID       string // whose phones alone are asked and may answer; "": those of every App
	Initiation  string // operation.FromBackend, which "" means, or operation.FromApp
	ClientData  string // told back as it is, 1 KiB at most
	SendPush    bool
	PushPayload string        // a tag for the merchant's app, sent with the push
	ExpiresIn   time.Duration // 0: 180 s; capped at 600 s
	Initiator   operation.Initiator
}

// Started is the acknowledgement of a Request.
type Started struct {
	OperationID string
	Expires     time.Time
	MatchCode   string // for the merchant to show and the user to type; "": none
	StartToken  string // operation.FromApp: for the merchant's app, which claims the operation with it, once
}

// StartAuthentication asks a user of the client's merchant to log in, or, with a
// context or typed data, to authorise those. Errors: invalid_request naming the member of the REST
// request, not_found, user_locked, user_deactivated, no_device, device_blocked,
// forbidden (the user declined this client a moment ago), limit_reached,
// unavailable.
func (f *Flows) StartAuthentication(ctx context.Context, client *db.Client, r Request) (Started, error) {
	return f.startRequest(ctx, client, r, operation.KindAuthentication)
}

// StartSignature asks a user to sign r.Pre, which may be longer, or details of type
// mobileid_signature. What is signed is told back as such details.
// Errors are those of StartAuthentication.
func (f *Flows) StartSignature(ctx context.Context, client *db.Client, r Request) (Started, error) {
	return f.startRequest(ctx, client, r, operation.KindSignature)
}

func (f *Flows) startRequest(ctx context.Context, client *db.Client, r Request, kind string) (Started, error) {
	a := ask{client: client, reveal: true, minACR: r.MinACR, life: r.ExpiresIn, initiator: r.Initiator,
		locales: r.Locales, detailsName: "authorizationDetails",
		operationID: r.ID, options: options{appID: r.AppID, app: r.Initiation == operation.FromApp, clientData: r.ClientData, methods: r.AuthMethods, push: r.SendPush, pushTag: r.PushPayload}}
	if err := r.check(kind, &a); err != nil {
		return Started{}, err
	}
	if err := f.ownApp(ctx, client, r.AppID); err != nil {
		return Started{}, err
	}
	a.flow, a.match = a.way(operation.FlowREST)
	got, err := f.start(ctx, a)
	if err != nil {
		return Started{}, err
	}
	return Started{OperationID: got.operationID, Expires: got.expires, MatchCode: got.match, StartToken: got.startToken}, nil
}

// check reads the members that need no store.
func (r *Request) check(kind string, a *ask) (err error) {
	if a.hint, err = r.whom(); err != nil {
		return err
	}
	if a.options.level, err = level(r.AuthLevel, r.AuthMethods); err != nil {
		return err
	}
	switch {
	case r.Initiation != "" && r.Initiation != operation.FromApp && r.Initiation != operation.FromBackend:
		return fault.InField("/initiation", "invalid", "initiation is backend or app")
	case r.MinACR != "" && !slices.Contains(operation.ACRs(), r.MinACR):
		return fault.InField("/acr", "invalid", "acr is one of "+strings.Join(operation.ACRs(), ", "))
	case r.ExpiresIn < 0:
		return fault.InField("/expiresIn", "invalid", "expiresIn is a positive number of seconds")
	case len(r.ClientData) > maxClientData || !utf8.ValidString(r.ClientData):
		return fault.InField("/clientData", "invalid", "clientData is text of 1024 bytes at most")
	case len(r.PushPayload) > maxPushTag || strings.Trim(r.PushPayload, tagChars) != "":
		return fault.InField("/pushPayload", "invalid", "pushPayload is a tag of up to 64 letters, digits, dots, dashes and underscores that says nothing to others")
	case r.PushPayload != "" && !r.SendPush:
		return fault.InField("/pushPayload", "conflict", "pushPayload goes with sendPush")
	case r.SendPush && r.Initiation == operation.FromApp:
		return fault.InField("/sendPush", "conflict", "what begins in the app needs no push")
	}
	if err := r.content(kind, a); err != nil {
		return err
	}
	if r.Post == nil {
		return nil
	}
	post, err := r.Post.Blocks("/postContext", view.MaxPost)
	if err == nil {
		a.post, err = wire.ViewBytes(post)
	}
	return err
}

// content reads what is to be shown before the answer.
func (r *Request) content(kind string, a *ask) (err error) {
	p, most := &a.prompt, view.MaxContent
	if len(r.Details) > 0 {
		if p.Details, err = view.ParseDetails(a.detailsName, r.Details, view.Types()); err != nil {
			return err
		}
	}
	signs := p.Details.Signature()
	switch {
	case kind != operation.KindSignature && signs:
		return fault.InField("/"+a.detailsName, "invalid", "a text is signed by a signature, not by an authentication")
	case kind != operation.KindSignature:
	case r.Pre == nil && !signs:
		return fault.InField("/preContext", "required", "preContext is required: it is what is signed")
	case r.Pre != nil && p.Details != nil:
		return fault.InField("/"+a.detailsName, "conflict", "a signature is over preContext or over authorizationDetails, not both")
	default:
		most = view.MaxSignature
	}
	if r.Pre == nil {
		return nil
	}
	if p.Content, err = r.Pre.Blocks("/preContext", most); err == nil && kind == operation.KindSignature {
		p.Content, p.Details = nil, view.SignatureDetails(*r.Pre)
	}
	return err
}

// whom is the hint with the device in it.
func (r *Request) whom() (string, error) {
	switch {
	case r.DeviceID == "":
		return r.Hint, nil
	case r.Broadcast:
		return "", fault.InField("/broadcast", "conflict", "broadcast and deviceId exclude each other")
	case !strings.HasPrefix(r.Hint, "userId:") || strings.Contains(r.Hint, " deviceId:"):
		return "", fault.InField("/deviceId", "conflict", "deviceId goes with a user named by id")
	}
	return r.Hint + " deviceId:" + r.DeviceID, nil
}

// level is which factors an answer must prove. PIN and biometry are the methods that
// a phone can be asked for today besides being that phone.
func level(authLevel string, methods []string) (string, error) {
	for _, m := range methods {
		if !slices.Contains(identity.Methods(), m) {
			return "", fault.InField("/authMethods", "invalid", "authMethods are PIN, BIOMETRIC and WEBAUTHN")
		}
	}
	switch cmp.Or(authLevel, operation.TwoFactor) {
	case operation.TwoFactor:
		if len(methods) > 0 && !slices.Contains(methods, identity.MethodPIN) && !slices.Contains(methods, identity.MethodBiometric) {
			return "", fault.InField("/authMethods", "unsupported", "no phone can prove "+strings.Join(methods, " or ")+" yet; allow PIN or BIOMETRIC")
		}
		return "", nil
	case operation.OneFactor:
		if len(methods) > 0 {
			return "", fault.InField("/authMethods", "conflict", "authMethods prove a second factor, which authLevel ONE_FACTOR does not ask for")
		}
		return operation.OneFactor, nil
	}
	return "", fault.InField("/authLevel", "invalid", "authLevel is ONE_FACTOR or TWO_FACTOR")
}

// ownApp reports an App that is not the client's merchant's.
func (f *Flows) ownApp(ctx context.Context, client *db.Client, appID string) error {
	if appID == "" {
		return nil
	}
	err := f.DB.View(ctx, func(tx *db.Tx) error {
		app, err := tx.App(appID)
		if err == nil && app.MerchantID != client.MerchantID {
			err = db.ErrNotFound
		}
		return err
	})
	if errors.Is(err, db.ErrNotFound) {
		return fault.InField("/appId", "not_found", "appId names no App of this merchant")
	}
	return err
}

// Status tells where an operation of the merchant is, held for up to wait while it
// is open. Another merchant's, or one of another kind, is not_found.
func (f *Flows) Status(ctx context.Context, merchantID, kind, id string, wait time.Duration) (operation.Outcome, error) {
	out, err := f.Operations.Status(ctx, id)
	if err == nil && (out.MerchantID != merchantID || out.Kind != kind) {
		err = fault.New(fault.NotFound, "there is no such operation")
	}
	if err != nil || out.State.Terminal() || wait <= 0 {
		return out, err
	}
	return f.Operations.Wait(ctx, id, min(wait, longestWait))
}

// longestWait is how long a status is held: proxies cut at thirty seconds.
const longestWait = 25 * time.Second

// CancelOperation withdraws an operation of the merchant. It is final and may be
// said again: what is returned is how the operation ended, whoever ended it.
func (f *Flows) CancelOperation(ctx context.Context, merchantID, kind, id string) (operation.Outcome, error) {
	out, err := f.Status(ctx, merchantID, kind, id, 0)
	if fault.Is(err, fault.NotFound) { // unless a phone that has listed it can still answer it here
		if kept, ok := f.Operations.Kept(id); ok && kept.MerchantID == merchantID && kept.Kind == kind {
			out, err = kept, nil
		}
	}
	if err != nil || out.State.Terminal() {
		return out, err
	}
	return f.Operations.End(ctx, id, operation.Cancel, "cancelled by the merchant")
}
