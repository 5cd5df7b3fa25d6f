package story

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"

	"mobileid/cmd/mobileid/node"
	"mobileid/flows"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/identity"
	"mobileid/internal/operation"
	"mobileid/internal/view"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

const paying = `[{"creditorAccount":{"iban":"DE02100100109307118603"},"creditorName":"Bakery","instructedAmount":{"amount":"12.50","currency":"EUR"},"type":"payment_initiation"}]`

// hashOf is what a relying party makes of the details it was told: for such as
// these Go's own writer gives the canonical form.
func hashOf(t *testing.T, details any) string {
	t.Helper()
	text, err := json.Marshal(details)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// payload reads a JWT without its signature.
func payload(t *testing.T, token string) (claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err := errors.Join(err, json.Unmarshal(raw, &claims)); err != nil {
		t.Fatal(err)
	}
	return claims
}

// bank is a server whose App follows PSD2, with a CIBA and a redirect client.
func bank(t *testing.T) (r *rig.Rig, call, web node.NewClient) {
	r = rig.Start(t, rig.Options{Policy: identity.Policy{PSD2: true}})
	call = r.Client(node.ClientOptions{Name: "Bank", Binding: "trusted", Grants: []string{"urn:openid:params:grant-type:ciba", "refresh_token"}, Scopes: []string{"openid"},
		DetailsTypes: view.Types()})
	web = r.Client(node.ClientOptions{Name: "Bank Web", Grants: []string{"authorization_code"}, RedirectURIs: []string{rig.Callback}, Scopes: []string{"openid"}, DetailsTypes: view.Types()})
	return r, call, web
}

func TestC25_ThePaymentThatIsAskedForIsShownSignedAndToldByCIBA(t *testing.T) {
	r, call, _ := bank(t)
	u, p := r.Person()
	ack := r.Ask(call, u, "authorization_details", paying, "binding_message", "Order 7", "ui_locales", "fr de")
	op := r.Waiting(p)
	shown := text(t, op.View)
	if want := "# Zahlung bestätigen: Bank\nBetrag: 12,50\u00a0EUR\nEmpfänger: Bakery\nKonto: DE02 1001 0010 9307 1186 03\n**Order 7**\n"; !strings.HasPrefix(shown, want) ||
		string(op.Data) != paying || op.Tpl != "payment/1" || op.Lang != "de" {
		t.Fatalf("%s %s %s\n%s", op.Tpl, op.Lang, op.Data, shown)
	}
	if _, err := p.Approve(t.Context(), op, rig.PIN, ""); err != nil {
		t.Fatal(err)
	}
	got := r.Poll(call, ack.Text("auth_req_id"))
	id := payload(t, got.Text("id_token"))
	if got.Status != 200 || hashOf(t, got.JSON["authorization_details"]) != id["mobileid_data_hash"] || id["txn"] != op.Txn {
		t.Fatalf("%s\n%v", got, id)
	}
	out, _ := r.Decision(op.Txn)
	if out.DataHash != id["mobileid_data_hash"] || out.ViewHash != id["mobileid_view_hash"] || string(out.Data) != paying {
		t.Errorf("the decision says %+v", out)
	}
	again := r.Post("/token", call, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {got.Text("refresh_token")}})
	if hashOf(t, again.JSON["authorization_details"]) != id["mobileid_data_hash"] {
		t.Errorf("refresh: %s", again)
	}
}

func TestC25_ThePaymentIsShownOnTheLoginPageAndANewAnswerIsNeededEachTime(t *testing.T) {
	r, _, web := bank(t)
	r.Web = web
	u, p := r.Person()
	b := r.Browser()
	for range 2 {
		page := b.Open(r.AuthorizeURL("login_hint", u.ExternalRef, "scope", "openid", "authorization_details", paying))
		if page.Left != nil || !strings.Contains(page.Body, "12.50\u00a0EUR") || !strings.Contains(page.Body, "Bakery") {
			t.Fatalf("%s", page.Answer)
		}
		r.Approve(p, page.Match())
		page = b.Open(page.URL.String())
		if page.Left == nil {
			t.Fatalf("%s", page.Answer)
		}
		got := r.Redeem(page.Left.Query().Get("code"))
		if id := payload(t, got.Text("id_token")); got.Status != 200 || hashOf(t, got.JSON["authorization_details"]) != id["mobileid_data_hash"] {
			t.Fatalf("%s", got)
		}
	}
	silent := b.Open(r.AuthorizeURL("prompt", "none", "scope", "openid", "authorization_details", paying))
	if silent.Left == nil || silent.Left.Query().Get("error") != "interaction_required" {
		t.Errorf("prompt=none: %v", silent.Left)
	}
	plain := b.Open(r.AuthorizeURL("prompt", "none", "scope", "openid"))
	if plain.Left == nil || plain.Left.Query().Get("code") == "" {
		t.Errorf("without details the login is enough: %v", plain.Left)
	}
}

func TestD21_APhoneThatWasShownAnotherByteCannotApprove(t *testing.T) {
	r, call, _ := bank(t)
	u, p := r.Person()
	ack := r.Ask(call, u, "authorization_details", paying)
	op := r.Waiting(p)
	for name, change := range map[string]func(o *wire.Operation){
		"amount in the data": func(o *wire.Operation) { o.Data = []byte(strings.Replace(paying, "12.50", "12.51", 1)) },
		"payee in the data":  func(o *wire.Operation) { o.Data = []byte(strings.Replace(paying, "Bakery", "Bakerx", 1)) },
		"a blank":            func(o *wire.Operation) { o.Data = []byte(paying + " ") },
		"no data":            func(o *wire.Operation) { o.Data = nil },
		"amount in the view": func(o *wire.Operation) { o.View = []byte(strings.Replace(string(op.View), "12.50", "12.51", 1)) },
		"payee in the view":  func(o *wire.Operation) { o.View = []byte(strings.Replace(string(op.View), "Bakery", "Bakerx", 1)) },
		"the template":       func(o *wire.Operation) { o.Tpl = "login/1" },
		"the language":       func(o *wire.Operation) { o.Lang = "de" },
	} {
		other := *op
		change(&other)
		_, err := p.Approve(t.Context(), &other, rig.PIN, "")
		if code := rig.Sealed(err); code != wire.OpNotHere {
			t.Errorf("%s: %s", name, code)
		}
	}
	if _, err := p.Approve(t.Context(), op, rig.PIN, ""); err != nil {
		t.Fatal(err)
	}
	t.Run("D22 the answer counts once", func(t *testing.T) {
		if _, err := p.Approve(t.Context(), op, rig.PIN, ""); rig.Sealed(err) != wire.OpGone {
			t.Error(err)
		}
	})
	if got := r.Poll(call, ack.Text("auth_req_id")); got.Status != 200 {
		t.Errorf("%s", got)
	}
}

func TestC25_APaymentByRESTIsSignedAndToldByteForByte(t *testing.T) {
	r, call, _ := bank(t)
	u, p := r.Person()
	var c db.Client
	r.SQL(func(tx *db.Tx) (err error) {
		c, err = tx.Client(call.ClientID)
		return err
	})
	// As a merchant writes it: the form that is signed is made once, here.
	asked := " " + strings.Replace(paying, `"EUR"`, `"\u0045UR" `, 1)
	got, err := r.Node.Flows.StartAuthentication(t.Context(), &c, flows.Request{Hint: u.ExternalRef, Details: []byte(asked), Locales: []string{"nb"}})
	if err != nil {
		t.Fatal(err)
	}
	op := r.Waiting(p)
	if string(op.Data) != paying || op.Lang != "nb" || op.Kind != operation.KindAuthentication {
		t.Fatalf("%s %s %s", op.Kind, op.Lang, op.Data)
	}
	other := *op
	other.Data = []byte(asked)
	if _, err := p.Approve(t.Context(), &other, rig.PIN, ""); rig.Sealed(err) != wire.OpNotHere {
		t.Errorf("the bytes as they came: %v", err)
	}
	r.Approve(p, "")
	st, err := r.Node.Flows.Status(t.Context(), r.Merchant.ID, operation.KindAuthentication, got.OperationID, 0)
	var told any
	if err := errors.Join(err, json.Unmarshal(st.Data, &told)); err != nil || string(st.Data) != paying || st.DataHash != hashOf(t, told) {
		t.Errorf("%s %s, %v", st.Data, st.DataHash, err)
	}
}

func TestPSD2PaymentsNameAmountAndPayeeOnEveryWayIn(t *testing.T) {
	r, call, web := bank(t)
	r.Web = web
	u, p := r.Person()
	var c db.Client
	r.SQL(func(tx *db.Tx) (err error) {
		c, err = tx.Client(call.ClientID)
		return err
	})
	for raw, member := range map[string]string{
		`[{"type":"payment_initiation","creditorName":"A"}]`:                                 "instructedAmount",
		`[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":"1"}}]`: "creditorName",
	} {
		a := r.Post("/bc-authorize", call, url.Values{"scope": {"openid"}, "login_hint": {u.ExternalRef}, "authorization_details": {raw}})
		if a.Status != 400 || a.Text("error") != "invalid_authorization_details" || !strings.Contains(a.Text("error_description"), "[0]."+member) {
			t.Errorf("CIBA: %s", a)
		}
		page := r.Browser().Open(r.AuthorizeURL("scope", "openid", "authorization_details", raw))
		if page.Left == nil || page.Left.Query().Get("error") != "invalid_authorization_details" {
			t.Errorf("redirect: %v", page.Left)
		}
		_, err := r.Node.Flows.StartAuthentication(t.Context(), &c, flows.Request{Hint: u.ExternalRef, Details: []byte(raw)})
		if e, ok := errors.AsType[*fault.Error](err); !ok || e.Fields[0].Pointer != "/authorizationDetails/0/"+member {
			t.Errorf("REST: %v", err)
		}
	}
	_, err := r.Node.Flows.StartAuthentication(t.Context(), &c, flows.Request{Hint: u.ExternalRef, AuthLevel: operation.OneFactor})
	if e, ok := errors.AsType[*fault.Error](err); !ok || e.Fields[0].Pointer != "/authLevel" {
		t.Errorf("one factor: %v", err)
	}
	if ops, err := p.List(t.Context()); err != nil || len(ops) != 0 {
		t.Errorf("%d operations were started, %v", len(ops), err)
	}
}

func TestATextIsSignedByCIBAAndItsDetailsAreTold(t *testing.T) {
	r, call, _ := bank(t)
	u, p := r.Person()
	raw := `[{"content":"# Terms\nI agree to <all> & more.","contentType":"text/markdown","type":"mobileid_signature"}]`
	raw = strings.Replace(raw, "<all>", "all", 1)
	ack := r.Ask(call, u, "authorization_details", raw)
	op := r.Waiting(p)
	if op.Kind != operation.KindSignature || op.Tpl != "generic/1" || string(op.Data) != raw || !strings.HasPrefix(text(t, op.View), "# Sign for Bank\n# Terms\nI agree to all & more.\n") {
		t.Fatalf("%s %s %s %s", op.Kind, op.Tpl, op.Data, text(t, op.View))
	}
	r.Approve(p, "")
	got := r.Poll(call, ack.Text("auth_req_id"))
	if list, ok := got.JSON["authorization_details"].([]any); got.Status != 200 || !ok || len(list) != 1 {
		t.Fatalf("%s", got)
	}
	if out, _ := r.Decision(op.Txn); out.Kind != operation.KindSignature || payload(t, got.Text("id_token"))["mobileid_data_hash"] != out.DataHash {
		t.Errorf("%+v", out)
	}
}
