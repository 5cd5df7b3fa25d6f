package view

import (
	"fmt"
	"slices"
	"strings"

	"mobileid/internal/fault"
)

// Types of authorization details (RFC 9396 section 2) that are understood here.
const (
	TypePayment   = "payment_initiation"
	TypeSignature = "mobileid_signature"
)

// Types lists them.
func Types() []string { return []string{TypePayment, TypeSignature} }

const (
	maxDetails  = 48 << 10 // bytes as they came
	maxPayments = 32
)

// Details are typed data of one operation, read and checked: one payment, several
// payments in one currency, or one text to sign.
type Details struct {
	// Canonical are the bytes that stand for the whole list, by RFC 8785. They are
	// made once and are what is stored, sent, hashed and signed.
	Canonical []byte

	payments []payment
	content  *Content
}

// payment is one element of TypePayment; fields that were left out are empty.
type payment struct {
	amount                    amount
	payee, account, reference string
}

// ParseDetails reads the value of a parameter or member called name: a list of
// objects, each of a type that allowed holds and with members of that type alone
// (RFC 9396 section 5). A fault names the member by pointer, /name/0/….
func ParseDetails(name string, raw []byte, allowed []string) (*Details, error) {
	root := at{name: name}
	if len(raw) > maxDetails {
		return nil, root.bad("may have %d bytes at most", maxDetails)
	}
	v, err := readJSON(raw)
	if err != nil {
		return nil, root.bad("%v", err)
	}
	list, ok := v.([]any)
	if !ok || len(list) == 0 || len(list) > maxPayments {
		return nil, root.bad("must be a list of 1 to %d objects", maxPayments)
	}
	d := &Details{Canonical: canonical(v)}
	for i, e := range list {
		o, ok := e.(map[string]any)
		if !ok {
			return nil, root.index(i).bad("must be an object")
		}
		if err := d.add(object{root.index(i), o}, allowed); err != nil {
			return nil, err
		}
	}
	switch {
	case d.content != nil && len(list) > 1:
		return nil, root.bad("may hold one element of type %s and nothing else", TypeSignature)
	case len(list) > 1:
		return d, d.checkBatch(root)
	}
	return d, nil
}

// SignatureDetails are the details of a text to sign, as if they had been given.
func SignatureDetails(c Content) *Details {
	if c.Type == "" {
		c.Type = PlainText
	}
	o := map[string]any{"type": TypeSignature, "content": c.Text, "contentType": c.Type}
	return &Details{Canonical: canonical([]any{o}), content: &c}
}

func (d *Details) add(o object, allowed []string) error {
	kind, err := o.text("type", 64)
	if err != nil {
		return err
	}
	switch {
	case kind == "":
		return o.member("type").bad("is missing")
	case !slices.Contains(Types(), kind):
		return o.member("type").bad("is not known: use %s", strings.Join(Types(), " or "))
	case !slices.Contains(allowed, kind):
		return o.member("type").bad("is not one that the client is registered for")
	case kind == TypeSignature:
		return d.addSignature(o)
	}
	return d.addPayment(o)
}

func (d *Details) addSignature(o object) error {
	if err := o.only("type", "content", "contentType"); err != nil {
		return err
	}
	var c Content
	var ok bool
	if c.Text, ok = o.of["content"].(string); !ok {
		return o.member("content").bad("is missing, or not text")
	}
	if v, given := o.of["contentType"]; given {
		if c.Type, ok = v.(string); !ok || c.Type == "" {
			return o.member("contentType").bad("is not text")
		}
	}
	if _, err := c.Blocks(o.pointer(), MaxSignature); err != nil {
		return err
	}
	d.content = &c
	return nil
}

func (d *Details) addPayment(o object) (err error) {
	if err := o.only("type", "instructedAmount", "creditorName", "creditorAccount", "remittanceInformationUnstructured"); err != nil {
		return err
	}
	var p payment
	if p.payee, err = o.text("creditorName", 140); err != nil {
		return err
	}
	if p.reference, err = o.text("remittanceInformationUnstructured", 140); err != nil {
		return err
	}
	if a, given, err := o.object("instructedAmount"); err != nil {
		return err
	} else if given {
		if p.amount, err = readAmount(a); err != nil {
			return err
		}
	}
	if a, given, err := o.object("creditorAccount"); err != nil {
		return err
	} else if given {
		if p.account, err = readAccount(a); err != nil {
			return err
		}
	}
	if p == (payment{}) {
		return o.bad("says nothing of the payment")
	}
	d.payments = append(d.payments, p)
	return nil
}

// checkBatch: the total is shown, so every payment has an amount, all in one
// currency, and a payee.
func (d *Details) checkBatch(root at) error {
	for i, p := range d.payments {
		switch {
		case p.amount.currency == "":
			return root.index(i).member("instructedAmount").bad("is missing: the total of several payments is shown")
		case p.amount.currency != d.payments[0].amount.currency:
			return root.index(i).member("instructedAmount").member("currency").bad("is not that of the first payment")
		case p.payee == "" && p.account == "":
			return root.index(i).member("creditorName").bad("is missing")
		}
	}
	return nil
}

// CheckPSD2 reports what dynamic linking needs and the details lack: the amount
// and the payee of every payment (PSD2 RTS article 5(1)(a)).
func (d *Details) CheckPSD2(name string) error {
	for i, p := range d.payments {
		o := at{name: name}.index(i)
		switch {
		case p.amount.currency == "":
			return o.member("instructedAmount").bad("is missing: a payment names its amount (PSD2)")
		case p.payee == "":
			return o.member("creditorName").bad("is missing: a payment names its payee (PSD2)")
		}
	}
	return nil
}

// Signature reports whether the details are a text to sign.
func (d *Details) Signature() bool { return d != nil && d.content != nil }

// at is a place in the details: name[0].member in words, /name/0/member as a pointer.
type at struct {
	name string
	path []string
}

func (a at) member(m string) at { return at{a.name, append(slices.Clone(a.path), m)} }
func (a at) index(i int) at     { return a.member(fmt.Sprint(i)) }

func (a at) pointer() string {
	p := "/" + a.name
	for _, m := range a.path {
		p += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(m)
	}
	return p
}

func (a at) bad(format string, args ...any) error {
	words := a.name
	for i, m := range a.path {
		if i == 0 {
			words += "[" + m + "]"
		} else {
			words += "." + m
		}
	}
	return fault.InField(a.pointer(), "invalid", words+" "+fmt.Sprintf(format, args...))
}

// object is an object at its place.
type object struct {
	at
	of map[string]any
}

// only refuses members that the object may not have; the first by name.
func (o object) only(names ...string) error {
	var strange []string
	for name := range o.of {
		if !slices.Contains(names, name) {
			strange = append(strange, name)
		}
	}
	if len(strange) == 0 {
		return nil
	}
	slices.Sort(strange)
	return o.member(strange[0]).bad("is not a member of this type")
}

func (o object) object(name string) (in object, given bool, err error) {
	v, given := o.of[name]
	if !given {
		return object{}, false, nil
	}
	m, ok := v.(map[string]any)
	if !ok || len(m) == 0 {
		return object{}, true, o.member(name).bad("must be an object with members")
	}
	return object{o.member(name), m}, true, nil
}

// text is a member that is one visible line; "" if it was left out.
func (o object) text(name string, most int) (string, error) {
	v, given := o.of[name]
	if !given {
		return "", nil
	}
	s, ok := v.(string)
	if !ok {
		return "", o.member(name).bad("must be text")
	}
	return s, o.line(name, s, most)
}
