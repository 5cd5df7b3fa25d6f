package mobile

import (
	"slices"
	"strings"

	"mobileid/sdk/wire"
)

func words(list []string) string { return strings.Join(list, " ") }

func has(list []string, s string) bool { return slices.Contains(list, s) }

// Inbox holds operations that wait, oldest first.
type Inbox struct {
	Result *Result
	ops    []wire.Operation
}

// OK reports whether the list was had.
func (b *Inbox) OK() bool { return b.Result.OK() }

// Size is how many there are.
func (b *Inbox) Size() int { return len(b.ops) }

// Get is the operation at i; nil if there is none.
func (b *Inbox) Get(i int) *Operation {
	if i < 0 || i >= len(b.ops) {
		return nil
	}
	op := &b.ops[i]
	out := &Operation{op: op, Txn: op.Txn, Client: op.Client, ClientID: op.ClientID, Kind: op.Kind, Left: op.Left, Expires: op.Exp,
		Number: op.Match == wire.MatchTyped, ByPIN: has(op.Need, wire.FactorPIN), ByBiometry: has(op.Need, wire.FactorBio),
		IP: op.Initiator.IP, Browser: op.Initiator.Browser, Place: op.Initiator.Place}
	blocks, err := wire.ParseView(op.View)
	if err == nil {
		out.Showable, out.Text, out.blocks = true, wire.ViewText(blocks), blocks
	}
	return out
}

// Operation is one that waits for an answer. All of it is shown before it is approved,
// to its end.
type Operation struct {
	Txn        string
	Client     string // who asks, to show
	ClientID   string
	Kind       string // "authentication" or "signature"
	Text       string // the view as plain text; or take the blocks
	Showable   bool   // no: it cannot be approved
	Number     bool   // the user types the number that the other screen shows
	ByPIN      bool   // the PIN approves it
	ByBiometry bool   // finger or face does; neither: a tap is enough
	Left       int    // wrong answers that remain: warn at 1
	Expires    int64  // seconds since 1970, the server's clock
	IP         string // where it was started; each may be empty
	Browser    string
	Place      string

	op     *wire.Operation
	blocks []wire.Block
}

// wire is the operation as the server sent it; of nil, which a caller may pass from
// another language, one that cannot be shown or found.
func (o *Operation) wire() *wire.Operation {
	if o == nil || o.op == nil {
		return &wire.Operation{}
	}
	return o.op
}

// Blocks is how many blocks the view has.
func (o *Operation) Blocks() int { return len(o.blocks) }

// Block is the block at i; nil if there is none.
func (o *Operation) Block(i int) *Block {
	if i < 0 || i >= len(o.blocks) {
		return nil
	}
	b := o.blocks[i]
	return &Block{Kind: b.T, Text: b.Text, Label: b.Label, Value: b.Value, items: b.Items}
}

// Block is a part of a view.
type Block struct {
	Kind  string // "p", "h", "b", "list", "row"
	Text  string
	Label string // of a row
	Value string
	items []string
}

// Items is how many items a list has.
func (b *Block) Items() int { return len(b.items) }

// Item is the item at i; "" if there is none.
func (b *Block) Item(i int) string {
	if i < 0 || i >= len(b.items) {
		return ""
	}
	return b.items[i]
}

func inbox(ops []wire.Operation, err error) (*Inbox, error) {
	res, err := result(err)
	return &Inbox{Result: res, ops: ops}, err
}

// List returns what waits for this phone.
func (p *Phone) List() (*Inbox, error) {
	ctx, done := p.begin()
	defer done()
	return inbox(p.phone.List(ctx))
}

// Claim takes over the operation of a start token, which the app got from its backend:
// an Inbox of one.
func (p *Phone) Claim(startToken string) (*Inbox, error) {
	ctx, done := p.begin()
	defer done()
	op, err := p.phone.Claim(ctx, startToken)
	if err != nil {
		return inbox(nil, err)
	}
	return inbox([]wire.Operation{*op}, nil)
}

func answered(reply *wire.AnswerReply, err error) (*Result, error) {
	r, err := result(err)
	if err != nil || reply == nil {
		return r, err
	}
	r.State, r.Txn = reply.State, reply.Txn
	if len(reply.Post) > 0 {
		if blocks, err := wire.ParseView(reply.Post); err == nil {
			r.Text = wire.ViewText(blocks)
		}
	}
	return r, nil
}

// Approve answers yes by PIN, or by a tap where that is enough; match is the number
// that the user typed, or "".
func (p *Phone) Approve(op *Operation, pin, match string) (*Result, error) {
	ctx, done := p.begin()
	defer done()
	return answered(p.phone.Approve(ctx, op.wire(), pin, match))
}

// ApproveBio answers yes by finger or face; the user is asked with text.
func (p *Phone) ApproveBio(op *Operation, text, match string) (*Result, error) {
	ctx, done := p.begin()
	defer done()
	return answered(p.phone.ApproveBio(ctx, op.wire(), text, match))
}

// Decline answers no, or with report that the user never asked for this.
func (p *Phone) Decline(op *Operation, report bool) (*Result, error) {
	ctx, done := p.begin()
	defer done()
	return answered(p.phone.Decline(ctx, op.wire(), report))
}

// History holds what was decided, newest first.
type History struct {
	Result *Result
	past   []wire.Past
}

// OK reports whether it was had.
func (h *History) OK() bool { return h.Result.OK() }

// Size is how many there are.
func (h *History) Size() int { return len(h.past) }

// Get is the operation at i; nil if there is none.
func (h *History) Get(i int) *Past {
	if i < 0 || i >= len(h.past) {
		return nil
	}
	o := h.past[i]
	return &Past{Txn: o.Txn, Client: o.Client, Kind: o.Kind, State: o.State, At: o.At, Here: o.By == "this"}
}

// Past is an operation that is decided.
type Past struct {
	Txn    string
	Client string
	Kind   string
	State  string
	At     int64 // seconds since 1970
	Here   bool  // decided with this phone
}

// History returns the last operations of the user that are decided, 20 at most.
func (p *Phone) History() (*History, error) {
	ctx, done := p.begin()
	defer done()
	past, err := p.phone.History(ctx)
	res, err := result(err)
	return &History{Result: res, past: past}, err
}
