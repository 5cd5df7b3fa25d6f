package view

import (
	"fmt"
	"strings"
	"time"

	"mobileid/internal/fault"
	"mobileid/sdk/wire"
)

// Templates and their versions. What a version shows never changes: a verifier
// can render it again years later.
const (
	TplLogin   = "login/1"
	TplPayment = "payment/1"
	TplBatch   = "batch/1"
	TplGeneric = "generic/1"
)

// Purpose is what the user is asked to do.
type Purpose int

const (
	Ask   Purpose = iota // answer a request
	LogIn                // log in
	Sign                 // sign a text
)

// Prompt is what a view is made of. Message, Content and Details are the client's
// own; the rest is where the request comes from.
type Prompt struct {
	Purpose          Purpose
	Client, Merchant string // names
	Message          string // one line, shown bold
	Content          []wire.Block
	Details          *Details // typed data; nil: there is none
	Browser, Address string
	Time             time.Time
}

// usual is how many blocks most views have at most, besides the client's own.
const usual = 10

// Render makes the view in a language of Language, and tells which template made
// it. What is not known is left out.
func (p *Prompt) Render(lang string) (view []byte, tpl string, err error) {
	l := languageOf(lang)
	tpl = p.template()
	b := append(make(blocks, 0, usual+len(p.Content)), wire.Block{T: wire.Heading, Text: fmt.Sprintf(p.heading(l, tpl), p.Client)})
	switch tpl {
	case TplPayment:
		b.payment(l, &p.Details.payments[0])
	case TplBatch:
		b.batch(l, p.Details.payments)
	}
	if p.Message != "" {
		b = append(b, wire.Block{T: wire.Bold, Text: p.Message})
	}
	if p.Details.Signature() {
		own, err := p.Details.content.Blocks("", MaxSignature)
		if err != nil {
			return nil, "", err
		}
		b = append(b, own...)
	}
	b = append(b, p.Content...)
	b.row(l.askedBy, p.Merchant)
	b.row(l.browser, p.Browser)
	b.row(l.address, p.Address)
	b.row(l.time, l.at(p.Time))
	view, err = wire.ViewBytes(b)
	if err != nil {
		return nil, "", fault.Wrap(fault.Invalid, "the text cannot be shown on a phone", err)
	}
	return view, tpl, nil
}

// Facts are labels and values of what is to be paid; none of a text to sign, which
// only the phone shows in full.
func (d *Details) Facts(lang string) (rows [][2]string) {
	if d == nil {
		return nil
	}
	var b blocks
	switch l := languageOf(lang); len(d.payments) {
	case 0:
	case 1:
		b.payment(l, &d.payments[0])
	default:
		b.batch(l, d.payments)
	}
	for _, row := range b {
		rows = append(rows, [2]string{row.Label, row.Value})
	}
	return rows
}

func (p *Prompt) template() string {
	switch {
	case p.Details != nil && len(p.Details.payments) == 1:
		return TplPayment
	case p.Details != nil && len(p.Details.payments) > 1:
		return TplBatch
	case p.Purpose == Sign || p.Details != nil || len(p.Content) > 0:
		return TplGeneric
	}
	return TplLogin
}

func (p *Prompt) heading(l *language, tpl string) string {
	switch {
	case tpl == TplPayment:
		return l.payment
	case tpl == TplBatch:
		return l.batch
	case p.Purpose == Sign:
		return l.sign
	case p.Purpose == LogIn:
		return l.logIn
	}
	return l.request
}

type blocks []wire.Block

func (b *blocks) row(label, value string) {
	if value != "" {
		*b = append(*b, wire.Block{T: wire.Row, Label: label, Value: value})
	}
}

func (b *blocks) payment(l *language, p *payment) {
	if p.amount.currency != "" {
		b.row(l.amount, p.amount.format(l))
	}
	b.row(l.payee, p.payee)
	b.row(l.account, p.account)
	b.row(l.reference, p.reference)
}

// batch shows the sum, and each payment behind its number.
func (b *blocks) batch(l *language, all []payment) {
	total := amount{currency: all[0].amount.currency}
	for _, p := range all {
		total.minor += p.amount.minor
	}
	b.row(l.total, total.format(l))
	b.row(l.payments, fmt.Sprint(len(all)))
	for i, p := range all {
		parts := []string{p.amount.format(l)}
		for _, s := range []string{p.payee, p.account, p.reference} {
			if s != "" {
				parts = append(parts, s)
			}
		}
		b.row(fmt.Sprint(i+1), strings.Join(parts, " · "))
	}
}
