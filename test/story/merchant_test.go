package story

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"mobileid/flows"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/operation"
	"mobileid/internal/view"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// backend is the rig's trusted client as flows takes it.
func backend(r *rig.Rig) (c db.Client) {
	r.T.Helper()
	r.SQL(func(tx *db.Tx) (err error) {
		c, err = tx.Client(r.Backend.ClientID)
		return err
	})
	return c
}

// waiting is the one operation that waits for the phone.
func waiting(t *testing.T, p *sdk.Phone) *wire.Operation {
	t.Helper()
	ops, err := p.List(t.Context())
	if err != nil || len(ops) != 1 {
		t.Fatalf("%d operations wait: %v", len(ops), err)
	}
	return &ops[0]
}

func text(t *testing.T, bytes []byte) string {
	t.Helper()
	blocks, err := wire.ParseView(bytes)
	if err != nil {
		t.Fatal(err)
	}
	return wire.ViewText(blocks)
}

func TestAMerchantHasAContextSigned(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		c := backend(r)
		got, err := r.Node.Flows.StartSignature(t.Context(), &c, flows.Request{Hint: u.ExternalRef, ClientData: "order <7>",
			Pre: &view.Content{Text: "# Terms\nI agree.", Type: view.Markdown}, Post: &view.Content{Text: "Thank you"}})
		if err != nil {
			t.Fatal(err)
		}
		st, err := r.Node.Flows.Status(t.Context(), r.Merchant.ID, operation.KindSignature, got.OperationID, 0)
		if err != nil || st.State != operation.Pending || st.ClientData != "order <7>" || !st.ExpiresAt.Equal(got.Expires) {
			t.Fatalf("%+v, %v", st, err)
		}
		op := waiting(t, p)
		if shown := text(t, op.View); op.Kind != "signature" || !strings.HasPrefix(shown, "# Sign for Acme Backend\n# Terms\nI agree.\n") {
			t.Fatalf("%s: %s", op.Kind, shown)
		}
		reply, err := p.Approve(t.Context(), op, rig.PIN, "")
		if err != nil || text(t, reply.Post) != "Thank you\n" {
			t.Fatalf("%+v, %v", reply, err)
		}
		st, err = r.Node.Flows.Status(t.Context(), r.Merchant.ID, operation.KindSignature, got.OperationID, 20*time.Second)
		if err != nil || !st.Approved() || st.Kind != "signature" || st.UserID != u.ID || st.DeviceID != r.State(p).Device || st.ClientData != "order <7>" ||
			!slices.Equal(st.Factors, []string{"POSSESSION", "KNOWLEDGE"}) || st.ACR != operation.ACRWeb || st.ViewHash == "" || st.DataHash == "" || st.SCA.Flow != "push" {
			t.Fatalf("%+v, %v", st, err)
		}
		for _, other := range []struct{ merchant, kind string }{{"mer_other", operation.KindSignature}, {r.Merchant.ID, operation.KindAuthentication}} {
			if _, err := r.Node.Flows.Status(t.Context(), other.merchant, other.kind, got.OperationID, 0); !fault.Is(err, fault.NotFound) {
				t.Errorf("%v: %v", other, err)
			}
		}
	})
}

func TestOneFactorIsPossessionAndSaysNoMore(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	c := backend(r)
	got, err := r.Node.Flows.StartAuthentication(t.Context(), &c, flows.Request{Hint: "userId:" + u.ID, DeviceID: r.State(p).Device, AuthLevel: operation.OneFactor})
	if err != nil {
		t.Fatal(err)
	}
	op := waiting(t, p)
	if len(op.Need) != 0 {
		t.Fatalf("needs %v", op.Need)
	}
	if reply, err := p.Approve(t.Context(), op, "", ""); err != nil || reply.Post != nil {
		t.Fatalf("%+v, %v", reply, err)
	}
	st, err := r.Node.Flows.Status(t.Context(), r.Merchant.ID, operation.KindAuthentication, got.OperationID, 0)
	if err != nil || !st.Approved() || st.ACR != operation.ACRPossession || st.SCA.Kno != "none" || !slices.Equal(st.AMR, []string{"pop", "swk", "mca"}) || !slices.Equal(st.Factors, []string{"POSSESSION"}) {
		t.Fatalf("%+v, %v", st, err)
	}
}

func TestAnAnswerOverOtherDataThanWasShownIsRefused(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	c := backend(r)
	if _, err := r.Node.Flows.StartAuthentication(t.Context(), &c, flows.Request{Hint: u.ExternalRef}); err != nil {
		t.Fatal(err)
	}
	op := waiting(t, p)
	forged := *op
	forged.Data = []byte(`[{"type":"payment_initiation"}]`)
	_, err := p.Approve(t.Context(), &forged, rig.PIN, "")
	r.Refused(err, wire.OpNotHere)
	if _, err := p.Approve(t.Context(), op, rig.PIN, ""); err != nil {
		t.Fatal(err)
	}
}

func TestACancelIsFinalAndMayBeRepeated(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	c := backend(r)
	got, err := r.Node.Flows.StartAuthentication(t.Context(), &c, flows.Request{Hint: u.ExternalRef, ExpiresIn: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	op := waiting(t, p)
	for range 2 {
		out, err := r.Node.Flows.CancelOperation(t.Context(), r.Merchant.ID, operation.KindAuthentication, got.OperationID)
		if err != nil || out.State != operation.Cancelled {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	_, err = p.Approve(t.Context(), op, rig.PIN, "")
	if e := r.Refused(err, wire.OpGone); e.State != "CANCELLED" {
		t.Errorf("the phone is told %s", e.State)
	}
	if _, err := r.Node.Flows.CancelOperation(t.Context(), "mer_other", operation.KindAuthentication, got.OperationID); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

func TestAFaultyRequestOfAMerchantNamesTheMember(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	c := backend(r)
	long := strings.Repeat("x", view.MaxContent+1)
	for pointer, change := range map[string]func(q *flows.Request){
		"/authLevel":              func(q *flows.Request) { q.AuthLevel = "THREE" },
		"/authMethods":            func(q *flows.Request) { q.AuthMethods = []string{"WEBAUTHN"} },
		"/acr":                    func(q *flows.Request) { q.MinACR = "high" },
		"/expiresIn":              func(q *flows.Request) { q.ExpiresIn = -1 },
		"/clientData":             func(q *flows.Request) { q.ClientData = long },
		"/pushPayload":            func(q *flows.Request) { q.PushPayload = "a\nb" },
		"/deviceId":               func(q *flows.Request) { q.DeviceID = "dev_1" },
		"/broadcast":              func(q *flows.Request) { q.DeviceID, q.Broadcast = "dev_1", true },
		"/appId":                  func(q *flows.Request) { q.AppID = "app_1" },
		"/preContext/content":     func(q *flows.Request) { q.Pre = &view.Content{Text: long} },
		"/preContext/contentType": func(q *flows.Request) { q.Pre = &view.Content{Text: "x", Type: "text/html"} },
		"/postContext/content":    func(q *flows.Request) { q.Post = &view.Content{Text: "a\u202eb"} },
	} {
		q := flows.Request{Hint: u.ExternalRef}
		change(&q)
		_, err := r.Node.Flows.StartAuthentication(t.Context(), &c, q)
		if e, ok := errors.AsType[*fault.Error](err); !ok || e.Kind != fault.Invalid || len(e.Fields) != 1 || e.Fields[0].Pointer != pointer {
			t.Errorf("%s: %v", pointer, err)
		}
	}
	_, err := r.Node.Flows.StartSignature(t.Context(), &c, flows.Request{Hint: u.ExternalRef})
	if e, ok := errors.AsType[*fault.Error](err); !ok || e.Fields[0].Pointer != "/preContext" {
		t.Errorf("a signature over nothing: %v", err)
	}
	if ops, err := p.List(t.Context()); err != nil || len(ops) != 0 {
		t.Errorf("%d operations were started, %v", len(ops), err)
	}
	if _, err := r.Node.Flows.StartAuthentication(t.Context(), &c, flows.Request{Hint: "nobody"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown user: %v", err)
	}
}
