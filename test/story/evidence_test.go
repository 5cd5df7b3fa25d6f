package story

import (
	"net/url"
	"testing"

	"mobileid/internal/evidence"
	"mobileid/test/rig"
)

// I11: the token response, the ID token, the introspection and the outcome speak of
// one evidence, which is for this client, and of a payment of none.
func TestTheEvidenceOfASignatureComesWithItsTokens(t *testing.T) {
	r, call, _ := bank(t)
	u, p := r.Person()
	ask := func(details string) (txn string, got rig.Answer) {
		ack := r.Ask(call, u, "authorization_details", details)
		txn = r.Waiting(p).Txn
		r.Approve(p, "")
		if got = r.Poll(call, ack.Text("auth_req_id")); got.Status != 200 {
			t.Fatalf("%s", got)
		}
		return txn, got
	}
	txn, got := ask(`[{"content":"I agree.","type":"mobileid_signature"}]`)
	set, err := evidence.ParseKeys([]byte(r.Get("/evidence/jwks").Body))
	if err != nil {
		t.Fatal(err)
	}
	token := got.Text("mobileid_evidence")
	s, err := evidence.Verify(token, set, evidence.Expect{Issuer: r.Issuer, Audience: call.ClientID})
	if err != nil || s.Txn != txn || s.User != u.ID || s.AuthorizationDetails == nil {
		t.Fatalf("%+v, %v", s, err)
	}
	out, _ := r.Decision(txn)
	if out.Evidence == nil || out.Evidence.ID != s.JTI || out.Evidence.Hash != evidence.Hash(token) {
		t.Errorf("the outcome points to %+v", out.Evidence)
	}
	told := r.Post("/introspect", call, url.Values{"token": {got.Text("access_token")}})
	for where, claims := range map[string]map[string]any{"the ID token": payload(t, got.Text("id_token")), "introspection": told.JSON} {
		ref, _ := claims["mobileid_evidence"].(map[string]any)
		if ref["id"] != s.JTI || ref["sha256"] != evidence.Hash(token) || len(ref) != 2 {
			t.Errorf("%s points to %v", where, claims["mobileid_evidence"])
		}
	}

	_, paid := ask(paying)
	if paid.JSON["mobileid_evidence"] != nil || payload(t, paid.Text("id_token"))["mobileid_evidence"] != nil {
		t.Errorf("a payment has evidence: %s", paid)
	}
}
