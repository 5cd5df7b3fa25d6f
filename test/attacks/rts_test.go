package attacks

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/audit"
	"mobileid/internal/identity"
	"mobileid/internal/view"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// The articles are those of Commission Delegated Regulation (EU) 2018/389. Those
// that settings could break are in test/rest/psd2_test.go.

const aPayment = `[{"creditorAccount":{"iban":"DE02100100109307118603"},"creditorName":"Bakery","instructedAmount":{"amount":"12.50","currency":"EUR"},"type":"payment_initiation"}]`

// payments is a server whose App is held to the RTS, and a client that asks for payments.
func payments(t *testing.T) (*rig.Rig, node.NewClient) {
	r := rig.Start(t, rig.Options{Policy: identity.Policy{PSD2: true}})
	return r, r.Client(node.ClientOptions{Name: "Bank", Binding: "trusted", Grants: []string{"urn:openid:params:grant-type:ciba"}, Scopes: []string{"openid"}, DetailsTypes: view.Types()})
}

// An authentication based on two or more elements results in an authentication code
// that is accepted only once.
func TestRTS4_1_ACodeComesOfTwoElementsAndIsAcceptedOnce(t *testing.T) {
	t.Parallel()
	r, bank := payments(t)
	u, p := r.Person()
	a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "authLevel": "ONE_FACTOR"})
	if a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "/authLevel") {
		t.Errorf("one element is enough: %s", a)
	}
	other, q := r.Person()
	id := r.Ask(bank, other).Text("auth_req_id")
	op := r.Waiting(q)
	var body wire.Answer
	if err := json.Unmarshal(answer(t, r, q, op, rig.PIN, nil), &body); err != nil {
		t.Fatal(err)
	}
	body.KPF = nil // possession alone
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	if reply := r.Call(q, wire.OpAnswer, text, nil); told(reply) != wire.Need {
		t.Errorf("possession alone: %s", told(reply))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // a poll is held while nothing is decided
	defer cancel()
	if got, err := r.PollUntil(ctx, bank, id); err == nil && got.Status == http.StatusOK {
		t.Errorf("a code of one element: %s", got)
	}
	id = r.Ask(bank, u).Text("auth_req_id")
	op = r.Waiting(p)
	if _, err := p.Approve(t.Context(), op, rig.PIN, ""); err != nil {
		t.Fatal(err)
	}
	if out, _ := r.Decision(op.Txn); strings.Join(out.Factors, " ") != "POSSESSION KNOWLEDGE" {
		t.Errorf("proven: %v", out.Factors)
	}
	got := r.Poll(bank, id)
	is(t, "the first time", got, nil, "200")
	is(t, "the second time", r.Poll(bank, id), nil, "400 invalid_grant")
	if a := r.Get("/userinfo", "Authorization", "Bearer "+got.Text("access_token")); a.Status != http.StatusUnauthorized {
		t.Errorf("what a code gave that was shown twice is good: %s", a)
	}
	if _, err := p.Approve(t.Context(), op, rig.PIN, ""); err == nil {
		t.Error("the answer is accepted again")
	}
}

// Where an authentication failed, nobody can tell which element was incorrect.
func TestRTS4_3_a_NobodyIsToldWhichElementWasWrong(t *testing.T) {
	t.Parallel()
	r, bank := payments(t)
	u, p := r.Person()
	id := r.Ask(bank, u).Text("auth_req_id")
	op := r.Waiting(p)
	said := []string{}
	for range 3 {
		_, err := p.Approve(t.Context(), op, rig.WrongPIN, "")
		e := r.Refused(err, wire.AuthFailed)
		if e.Need != nil || e.State != "" || e.Check != "" {
			t.Errorf("the phone is told more: %+v", e)
		}
	}
	said = append(said, r.Poll(bank, id).Body, r.REST("GET", "/authentications/"+op.Txn, nil).Body)
	b := r.Browser()
	page := b.Open(r.AuthorizeURL("login_hint", u.ExternalRef))
	main := page.Body[strings.Index(page.Body, "<main"):]
	for _, text := range append(said, main) {
		for _, word := range []string{"PIN", " pin", "knowledge", "KNOWLEDGE", "biometr", "BIOMETRIC", "fingerprint", "auth_failed"} {
			if strings.Contains(text, word) {
				t.Errorf("%q is said: %s", word, text)
			}
		}
	}
}

// Dynamic linking: the payer is shown amount and payee, the code is specific to them,
// and any change makes it invalid; of a batch, to the total and the payees.
func TestRTS5_TheCodeIsLinkedToAmountAndPayee(t *testing.T) {
	t.Parallel()
	r, bank := payments(t)
	u, p := r.Person()
	ask := func(details string) rig.Answer {
		return ask(r, bank, url.Values{"login_hint": {u.ExternalRef}, "authorization_details": {details}})
	}
	for what, details := range map[string]string{
		"no payee":  strings.Replace(aPayment, `"creditorName":"Bakery",`, "", 1),
		"no amount": strings.Replace(aPayment, `"instructedAmount":{"amount":"12.50","currency":"EUR"},`, "", 1),
	} {
		is(t, "1(a) "+what, ask(details), nil, "400 invalid_authorization_details")
	}
	id := ask(aPayment).Text("auth_req_id")
	op := r.Waiting(p)
	for _, want := range []string{"12.50", "EUR", "Bakery", "DE02 1001 0010 9307 1186 03"} {
		if !strings.Contains(string(op.View), want) {
			t.Errorf("1(a) %s is not shown: %s", want, op.View)
		}
	}
	for what, change := range map[string]func(*wire.Operation){
		"amount":         func(o *wire.Operation) { o.Data = bytes.Replace(o.Data, []byte("12.50"), []byte("92.50"), 1) },
		"payee":          func(o *wire.Operation) { o.Data = bytes.Replace(o.Data, []byte("Bakery"), []byte("Butcher"), 1) },
		"what was shown": func(o *wire.Operation) { o.View = bytes.Replace(o.View, []byte("12.50"), []byte("92.50"), 1) },
	} {
		changed := *op
		changed.Data, changed.View = bytes.Clone(op.Data), bytes.Clone(op.View)
		change(&changed)
		_, err := p.Approve(t.Context(), &changed, rig.PIN, "")
		if e := r.Refused(err, wire.OpNotHere); e == nil {
			t.Errorf("1(d) another %s is signed and taken", what)
		}
	}
	if _, err := p.Approve(t.Context(), op, rig.PIN, ""); err != nil {
		t.Fatal(err)
	}
	got := r.Poll(bank, id)
	granted, err := json.Marshal(got.JSON["authorization_details"])
	if err != nil || string(granted) != aPayment {
		t.Errorf("1(b), 1(c) the code is for %s, %v", granted, err)
	}
	another := strings.Replace(strings.Replace(aPayment, "Bakery", "Butcher", 1), "12.50", "7.50", 1)
	is(t, "3(b)", ask(strings.TrimSuffix(aPayment, "]")+","+strings.TrimPrefix(another, "[")), nil, "200")
	batch := string(r.Waiting(p).View)
	for _, want := range []string{"20.00", "Bakery", "Butcher"} {
		if !strings.Contains(batch, want) {
			t.Errorf("3(b) %s is not shown: %s", want, batch)
		}
	}
}

// The breach of one element does not compromise the other.
func TestRTS9_TheElementsAreIndependent(t *testing.T) {
	t.Parallel()
	r, bank := payments(t)
	u, p := r.Person()
	other, q := r.Person() // with the same PIN
	// Who has the phone with all that it stores, and not the PIN: each guess gives 32
	// other bytes, and nothing but the server tells which are right.
	st := r.State(p)
	thief := &sdk.Phone{Store: p.Store, Keys: p.Keys, HTTP: r.HTTP, Now: r.Now, Rand: p.Rand, Platform: "cli"}
	r.Ask(bank, u)
	op := r.Waiting(thief)
	for left := range 2 {
		_, err := thief.Approve(t.Context(), op, []string{rig.WrongPIN, "161803"}[left], "")
		if e := r.Refused(err, wire.AuthFailed); *e.Left != 2-left {
			t.Errorf("%d tries are left", *e.Left)
		}
	}
	if d := r.Device(p); bytes.Contains(d.KK, st.Wrapped) || len(d.KK) <= wire.KeySize {
		t.Error("the server keeps the key of knowledge as it is")
	}
	// Who knows the PIN and has another phone.
	_, err := q.Approve(t.Context(), op, rig.PIN, "")
	r.Refused(err, wire.OpNotHere)
	// One proof of knowledge says nothing of the next, and a new PIN leaves possession be.
	r.Ask(bank, other)
	mine := r.Waiting(q)
	var first, second wire.Answer
	for _, into := range []*wire.Answer{&first, &second} {
		if err := json.Unmarshal(answer(t, r, q, mine, rig.PIN, func(c *wire.AnswerClaims) { c.Iat += int64(len(first.KPF)) }), into); err != nil {
			t.Fatal(err)
		}
	}
	if wire.Equal(first.KPF, second.KPF) {
		t.Error("the proof of knowledge does not depend on what is answered")
	}
	key := r.Device(q).DSKThumb
	if err := q.ChangePIN(t.Context(), rig.PIN, "902176"); err != nil {
		t.Fatal(err)
	}
	if r.Device(q).DSKThumb != key {
		t.Error("the key of possession changed with the PIN")
	}
	_, err = q.Approve(t.Context(), mine, rig.PIN, "")
	r.Refused(err, wire.AuthFailed)
	if _, err := q.Approve(t.Context(), mine, "902176", ""); err != nil {
		t.Error(err)
	}
}

// Every step can be traced: with an identifier of the session, of the operation and
// its parties, and a time, in a record that cannot be changed unseen.
func TestRTS29_EveryStepOfAPaymentAndALoginIsOnRecord(t *testing.T) {
	t.Parallel()
	r, bank := payments(t)
	u, p := r.Person()
	id := ask(r, bank, url.Values{"login_hint": {u.ExternalRef}, "authorization_details": {aPayment}}).Text("auth_req_id")
	op := r.Waiting(p)
	if _, err := p.Approve(t.Context(), op, rig.PIN, ""); err != nil {
		t.Fatal(err)
	}
	is(t, "the payment", r.Poll(bank, id), nil, "200")
	b := r.Browser()
	login := r.Login(b, u, p)
	r.Redeem(login.Get("code"))

	device := r.Device(p).ID
	out, _ := r.Decision(op.Txn)
	deadline := time.Now().Add(10 * time.Second)
	for {
		rep, err := audit.Verify(t.Context(), r.Node.DB, nil)
		if err != nil {
			t.Fatal(err)
		}
		if rep.Unsealed == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", rep)
		}
		time.Sleep(50 * time.Millisecond)
	}
	var export bytes.Buffer
	if err := audit.Export(t.Context(), r.Node.DB, &export, time.Time{}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	acts := map[string][]audit.Record{}
	for lines := bufio.NewScanner(&export); lines.Scan(); {
		var e audit.Exported
		var rec audit.Record
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(e.Record, &rec); err != nil {
			t.Fatal(err)
		}
		if e.Seq == 0 || rec.At == 0 {
			t.Errorf("%s is not in the chain, or has no time", rec.Act)
		}
		acts[rec.Act] = append(acts[rec.Act], rec)
	}
	paid := false
	for _, rec := range acts["operation.decided"] {
		if rec.Operation == op.Txn {
			paid = rec.User == u.ID && rec.Device == device && rec.Client == bank.ClientID && rec.Details["state"] == "COMPLETED" &&
				rec.Details["data"] == out.DataHash && rec.Details["view"] == out.ViewHash && rec.Details["answer"] != ""
		}
	}
	if !paid {
		t.Errorf("the payment's decision: %+v", acts["operation.decided"])
	}
	granted := 0
	for act, all := range acts {
		for _, rec := range all {
			if rec.Operation == op.Txn && act != "operation.decided" && rec.Client == bank.ClientID {
				granted++
			}
		}
	}
	if granted == 0 {
		t.Error("nothing says that the code of the payment was redeemed")
	}
	if s := acts["session.created"]; len(s) != 1 || s[0].Session == "" || s[0].User != u.ID {
		t.Errorf("the login's session: %+v", s)
	}
}
