package operation

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"

	"mobileid/internal/channel"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/internal/keys"
	"mobileid/internal/risk"
	"mobileid/sdk/wire"
)

// Handlers are the calls of mid/1 that this package serves.
func (e *Engine) Handlers() map[string]channel.Handler {
	return map[string]channel.Handler{
		wire.OpList:      {AllowedStates: []string{db.DeviceActive}, Prepare: e.prepareList},
		wire.OpRotate:    {StateChanging: true, AllowedStates: []string{db.DeviceActive}, Prepare: e.prepareRotate},
		wire.OpPIN:       {StateChanging: true, AllowedStates: []string{db.DeviceActive}, Prepare: e.preparePIN},
		wire.OpBioAdd:    {StateChanging: true, AllowedStates: []string{db.DeviceActive}, Prepare: e.prepareBioAdd},
		wire.OpBioRemove: {StateChanging: true, AllowedStates: []string{db.DeviceActive}, Prepare: e.prepareBioRemove},
		wire.OpClaim:     {StateChanging: true, AllowedStates: []string{db.DeviceActive}, Prepare: e.prepareClaim},
		wire.OpAnswer:    {StateChanging: true, ByName: true, AllowedStates: []string{db.DeviceActive}, Prepare: e.prepareAnswer},
	}
}

// Handle is this device as the client knows it: a pseudonym that two clients
// cannot put together.
func Handle(dev *db.Device, clientID string) string {
	m := hmac.New(sha256.New, dev.HandleSalt)
	m.Write([]byte(clientID))
	return wire.Encode(m.Sum(nil)[:16])
}

func hashText(b []byte) string {
	sum := sha256.Sum256(b)
	return wire.Encode(sum[:])
}

// dataHash is hashText, but "" for no data.
func dataHash(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return hashText(b)
}

// shown is op as dev is sent it, less Need and Left, which no answer signs. Listing
// and answering both use it, so an answer is compared with exactly what was sent.
func (op *Operation) shown(dev *db.Device) wire.Operation {
	match := wire.MatchNone
	if op.Match != "" {
		match = wire.MatchTyped
	}
	ui := wire.UITyped
	if op.Initiation == FromApp {
		ui = wire.UIApp
	}
	return wire.Operation{
		Txn: op.ID, ClientID: op.ClientID, Client: op.ClientName, Handle: Handle(dev, op.ClientID), Kind: op.Kind,
		View: op.View, Data: op.Data, Tpl: op.Tpl, Lang: op.Lang, Flow: op.Flow, UI: ui, Chal: op.Challenge,
		Initiator: wire.Initiator{IP: op.Initiator.IP, Browser: op.Initiator.Browser},
		Match:     match, Exp: op.ExpiresAt / 1000,
	}
}

func (e *Engine) prepareList(ctx context.Context, c *channel.Call) (channel.Plan, *wire.Error, error) {
	if werr := c.Decode(&wire.List{}); werr != nil {
		return channel.Plan{}, werr, nil
	}
	ops, err := e.offered(ctx, c.Device)
	if err != nil {
		return channel.Plan{}, nil, err
	}
	reply := wire.ListReply{Ops: make([]wire.Operation, 0, len(ops))}
	if len(ops) == 0 {
		return channel.Plan{Reply: reply}, nil, nil
	}
	left := e.attemptsLeft(c.Caller)
	can, err := e.provable(ctx, c.Device)
	if err != nil {
		return channel.Plan{}, nil, err
	}
	for i := range ops {
		shown := ops[i].shown(c.Device)
		shown.Need, shown.Left = ops[i].need(can), left
		reply.Ops = append(reply.Ops, shown)
	}
	return channel.Plan{Reply: reply}, nil, nil
}

// Factors of an outcome, and of what happens to a device.
const (
	factorPossession = "POSSESSION"
	factorKnowledge  = "KNOWLEDGE"
	factorInherence  = "INHERENCE"
)

// proof is what an answer brought, verified as far as it goes without the
// transaction: possession is proven, knowledge not yet.
type proof struct {
	device     *db.Device
	policy     identity.Policy
	answer     string // ans, the compact JWS
	answerHash string
	ansHash    [32]byte
	claims     wire.AnswerClaims
	kpf, bsig  []byte
	bio        biometric // of bsig
	match      string
	remoteIP   string
	statement  []byte     // what the phone says of itself, as it was sent; nil: nothing
	said       *wire.Risk // the same, read
	risk       *risk.Result

	// What was proven besides possession, by an approval that is about to be decided.
	knows bool
	inh   string // "" is nothing

	evidenceKeys []*keys.Key // of an approved signature
}

// describe fills what an approval proved, and nothing that it did not.
func (p *proof) describe(op *Operation, out *Outcome) {
	key, kno, inh := "swk", "none", cmp.Or(p.inh, inhNone)
	if p.device.Pos == "hwk-att" { // of "hwk" only the app's build is proven
		key = "hwk"
	}
	out.Factors, out.AMR, out.ACR = []string{factorPossession}, []string{"pop", key}, ACRPossession
	if p.knows {
		kno = "pin"
		out.Factors, out.AMR = append(out.Factors, factorKnowledge), append(out.AMR, "pin")
	}
	if inh != inhNone { // RFC 8176 has no value for a biometry that is not known to be a finger or a face
		out.Factors = append(out.Factors, factorInherence)
	}
	if len(out.Factors) > 1 {
		out.AMR, out.ACR = append(out.AMR, "mfa"), Reach(p.device, p.policy)
	}
	if op.Initiation != FromApp { // the request came by another channel than the answer
		out.AMR = append(out.AMR, "mca")
	}
	dsp := "app"
	if p.policy.Kind == "web" {
		dsp = "browser"
	}
	out.SCA = &SCA{
		Pos: p.device.Pos, Kno: kno, Inh: inh, UV: "none", Dsp: dsp, Flow: op.Flow, UI: p.claims.UI,
		Enrol: p.device.Enrol, Epoch: p.device.Epoch, SameIP: op.Initiator.IP != "" && op.Initiator.IP == p.remoteIP,
	}
}

// Reach is the acr that the device can prove with a second factor, as its App's
// policy stands.
func Reach(dev *db.Device, policy identity.Policy) string {
	switch {
	case policy.Kind == "web":
		return ACRWeb
	case dev.Pos == "hwk-att":
		return ACRAppHW
	case dev.Pos == "hwk", policy.Trusted: // hwk: the build is attested
		return ACRApp
	}
	return ACRWeb
}

func (e *Engine) prepareAnswer(ctx context.Context, c *channel.Call) (channel.Plan, *wire.Error, error) {
	var body wire.Answer
	if werr := c.Decode(&body); werr != nil {
		return channel.Plan{}, werr, nil
	}
	claims, err := wire.VerifyAnswer(body.Ans, c.KeyID, c.Key)
	if err != nil {
		return channel.Plan{}, &wire.Error{Code: wire.Malformed}, nil
	}
	op, asked, err := e.answered(ctx, &claims, c.Device.UserID)
	if absent(err) {
		return e.gone(ctx, c.Device, claims.Txn)
	}
	if err != nil {
		return channel.Plan{}, nil, err
	}
	shown := op.shown(c.Device)
	want := wire.ClaimsFor(&shown)
	want.Dec, want.CV, want.Iat, want.JTI, want.HR = claims.Dec, claims.CV, claims.Iat, claims.JTI, wire.RiskHash(body.Risk)
	if !op.addresses(c.Device) || claims != want || claims.CV != "" {
		// Another user's operation and a changed answer look the same from outside.
		return channel.Plan{}, &wire.Error{Code: wire.OpNotHere}, nil
	}
	// claims is want, whose texts are not parts of the message: some are kept for long.
	p := &proof{answer: body.Ans, ansHash: wire.AnswerHash(body.Ans), claims: want, kpf: body.KPF, bsig: body.BSig, match: body.Match, remoteIP: c.RemoteIP}
	if claims.Dec == wire.Approve && len(body.Risk) > 0 {
		if p.said, err = wire.ParseRisk(body.Risk); err != nil {
			return channel.Plan{}, &wire.Error{Code: wire.Malformed}, nil
		}
		p.statement = body.Risk
	}
	p.answerHash = wire.Encode(p.ansHash[:])
	p.bio = p.biometry(c.Device)
	if op.Kind == KindSignature && claims.Dec == wire.Approve {
		if werr := clockWrong(&claims, e.Clock.Now()); werr != nil {
			return channel.Plan{}, werr, nil
		}
		if p.evidenceKeys, err = e.EvidenceKeys(ctx); err != nil {
			return channel.Plan{}, nil, err
		}
	}
	var after func(context.Context)
	plan := channel.Plan{
		Commit: func(tx *db.Tx, dev *db.Device) (any, *wire.Error, error) {
			p.device, after = dev, nil
			out, werr, err := e.commitAnswer(tx, op, p)
			if errors.Is(err, db.ErrConflict) {
				err = errors.Join(db.ErrAgain, err) // decided by another since it was read
			}
			if out != nil && err == nil {
				after = func(ctx context.Context) { e.settle(ctx, op, *out, asked) }
			}
			if werr != nil || err != nil {
				return nil, werr, err
			}
			reply := wire.AnswerReply{Txn: op.ID, State: string(out.State)}
			if out.Approved() {
				reply.Post = op.Post
			}
			return reply, nil, nil
		},
		After: func(ctx context.Context) {
			if after != nil {
				after(ctx)
			}
		},
	}
	return plan, nil, nil
}

// gone tells a device what became of an operation that is no longer pending, if
// it was its user's.
func (e *Engine) gone(ctx context.Context, dev *db.Device, txn string) (channel.Plan, *wire.Error, error) {
	out, err := e.decided(ctx, txn)
	if errors.Is(err, db.ErrNotFound) || err == nil && out.UserID != dev.UserID {
		return channel.Plan{}, &wire.Error{Code: wire.OpNotHere}, nil
	}
	if err != nil {
		return channel.Plan{}, nil, err
	}
	return channel.Plan{}, goneBy(out, dev), nil
}

func goneBy(out Outcome, dev *db.Device) *wire.Error {
	by := ""
	switch out.DeviceID {
	case "":
	case dev.ID:
		by = "this"
	default:
		by = "other"
	}
	return wire.Gone(string(out.State), by)
}

// commitAnswer decides. It runs with the device's row locked; a decision it
// makes is returned even beside an error for the phone (an answer that locks).
func (e *Engine) commitAnswer(tx *db.Tx, op *Operation, p *proof) (*Outcome, *wire.Error, error) {
	now, ended, werr, err := e.stillOpen(tx, op, p.device)
	if ended != nil || werr != nil || err != nil {
		return ended, werr, err
	}
	if !op.addresses(p.device) { // locked since the client asked, and unlocked
		return nil, &wire.Error{Code: wire.OpNotHere}, nil
	}
	if op.Initiation == FromApp {
		if owner, err := claimant(tx, op.ID); err != nil || owner != p.device.ID {
			return nil, &wire.Error{Code: wire.OpNotHere}, err
		}
	}
	switch p.claims.Dec {
	case wire.Decline:
		return e.decideBy(tx, op, p, Decline, "declined on the phone")
	case wire.Report:
		return e.decideBy(tx, op, p, Report, "reported by the user")
	}
	if now.Withdrawn || now.UserLeft {
		reason := "the client was disabled"
		if now.UserLeft {
			reason = "the user was locked since"
		}
		out, err := e.decide(tx, op, nil, Cancel, reason)
		return &out, goneBy(out, p.device), err
	}
	return e.commitApproval(tx, op, p, &now)
}

// stillOpen reports an operation that is decided, one whose time is over, which it
// decides as expired and returns, and a user who may not answer. The user's row
// stays locked.
func (e *Engine) stillOpen(tx *db.Tx, op *Operation, dev *db.Device) (now db.Standing, ended *Outcome, werr *wire.Error, err error) {
	if now, err = tx.Standing(op.ID, dev.UserID, op.ClientID, dev.AppID, op.started()); err != nil {
		return now, nil, nil, err
	}
	if now.Decided {
		out, err := OutcomeOf(tx, op.ID)
		return now, nil, goneBy(out, dev), err
	}
	if now.UserState != db.UserActive {
		return now, nil, &wire.Error{Code: wire.UserLocked}, nil
	}
	if !op.Expires().After(tx.Now()) {
		out, err := e.decide(tx, op, nil, Expire, "")
		return now, &out, goneBy(out, dev), err
	}
	return now, nil, nil, nil
}

func (e *Engine) decideBy(tx *db.Tx, op *Operation, p *proof, m Move, reason string) (*Outcome, *wire.Error, error) {
	out, err := e.decide(tx, op, p, m, reason)
	return &out, nil, err
}

func (e *Engine) commitApproval(tx *db.Tx, op *Operation, p *proof, now *db.Standing) (*Outcome, *wire.Error, error) {
	var err error
	if p.policy, err = e.policies.parse(p.device.AppID, now.Policy); err != nil {
		return nil, nil, err
	}
	if Rank(Reach(p.device, p.policy)) < Rank(op.MinACR) {
		return nil, &wire.Error{Code: wire.Need, Need: []string{op.MinACR}}, nil
	}
	if werr := spent(tx, p.device, now.FailDay, now.FailCount); werr != nil {
		return nil, werr, nil
	}
	if p.risk = p.policy.Risk.Judge(p.said, tx.Now()); p.risk != nil && p.risk.Verdict == risk.Blocked {
		return e.riskBlocked(tx, op, p)
	}
	can := Provable(p.device, p.policy)
	if !op.takesProofs(p, can) {
		return nil, &wire.Error{Code: wire.Need, Need: op.need(can)}, nil
	}
	if op.Match != "" && subtle.ConstantTimeCompare([]byte(op.Match), []byte(p.match)) != 1 {
		return e.matchFailed(tx, op, p)
	}
	if op.Level == OneFactor { // proves nothing that counts failures, so none are forgiven
		return e.decideBy(tx, op, p, Approve, "")
	}
	right, err := e.proven(op, p)
	if err != nil {
		return nil, nil, err
	}
	if !right {
		return e.authFailed(tx, op, p)
	}
	if p.knows && p.device.Failures > 0 {
		if err := tx.ClearFailures(p.device.ID); err != nil {
			return nil, nil, err
		}
	}
	return e.decideBy(tx, op, p, Approve, "")
}
