package operate_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mobileid/flows"
	"mobileid/internal/db"
	"mobileid/internal/evidence"
	"mobileid/internal/evidence/tsatest"
	"mobileid/internal/keys"
	"mobileid/internal/operation"
	"mobileid/internal/view"
	"mobileid/test/rig"
)

// signed is the evidence of a signature that u gives by p.
func signed(t *testing.T, r *rig.Rig, hint string, approve func(id string)) (token string, out operation.Outcome) {
	t.Helper()
	var c db.Client
	r.SQL(func(tx *db.Tx) (err error) { c, err = tx.Client(r.Backend.ClientID); return err })
	got, err := r.Node.Flows.StartSignature(t.Context(), &c, flows.Request{Hint: hint, Pre: &view.Content{Text: "# Lease\nI rent the flat for 9\u202f500 € & more.", Type: view.Markdown}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Node.Flows.Operations.Evidence(t.Context(), r.Merchant.ID, got.OperationID); err == nil {
		t.Error("evidence of what nobody has signed yet")
	}
	approve(got.OperationID)
	if out, err = r.Node.Flows.Status(t.Context(), r.Merchant.ID, operation.KindSignature, got.OperationID, 20*time.Second); err != nil || !out.Approved() || out.Evidence == nil {
		t.Fatalf("%+v, %v", out, err)
	}
	proof, err := r.Node.Flows.Operations.Evidence(t.Context(), r.Merchant.ID, got.OperationID)
	if err != nil {
		t.Fatal(err)
	}
	token = proof.Token
	if _, err := r.Node.Flows.Operations.Evidence(t.Context(), "mer_other", got.OperationID); err == nil {
		t.Error("another merchant is given the evidence")
	}
	return token, out
}

// published is what /evidence/jwks shows.
func published(t *testing.T, r *rig.Rig) evidence.KeySet {
	t.Helper()
	res, err := r.HTTP.Get(r.Issuer + "/evidence/jwks")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/jwk-set+json" {
		t.Fatalf("%d %s, %v", res.StatusCode, text, err)
	}
	set, err := evidence.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestI3_ASignaturesEvidenceVerifiesFromPublicDataOnEveryEngine(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		token, out := signed(t, r, u.ExternalRef, func(id string) {
			ops, err := p.List(t.Context())
			if err != nil || len(ops) != 1 || ops[0].Txn != id {
				t.Fatalf("%+v, %v", ops, err)
			}
			if _, err := p.Approve(t.Context(), &ops[0], rig.PIN, ""); err != nil {
				t.Fatal(err)
			}
		})
		var dev db.Device
		r.SQL(func(tx *db.Tx) (err error) { dev, err = tx.Device(out.DeviceID); return err })
		s, err := evidence.Verify(token, published(t, r), evidence.Expect{Issuer: r.Issuer, Audience: r.Backend.ClientID, DeviceKey: dev.DSKThumb})
		if err != nil {
			t.Fatal(err)
		}
		if s.User != u.ID || s.Sub != u.ID || s.Device != dev.ID || s.Merchant != r.Merchant.ID || s.Txn != out.OperationID || s.HV != out.ViewHash || s.HD != out.DataHash ||
			s.SCA.Kno != "pin" || s.SCA.Flow != out.SCA.Flow || s.AuthorizationDetails == nil || !strings.Contains(s.Content, "9\u202f500 € & more") {
			t.Errorf("%+v", s)
		}
		if out.Evidence.ID != s.JTI || out.Evidence.Hash != evidence.Hash(token) {
			t.Errorf("the outcome points to %+v", out.Evidence)
		}
		// Its hash is on record, and so is the enrolment that it names.
		var decided, enrolled string
		r.SQL(func(tx *db.Tx) error {
			return tx.AuditRecords(func(rec db.AuditRecord) error {
				if strings.Contains(rec.Body, out.OperationID) && strings.Contains(rec.Body, `"operation.decided"`) {
					decided = rec.Body
				}
				if s.Enrolment.Record != nil && rec.Writer == s.Enrolment.Record.Writer && rec.Seq == s.Enrolment.Record.Seq {
					enrolled = rec.Body
				}
				return nil
			})
		})
		if !strings.Contains(decided, out.Evidence.Hash) || !strings.Contains(enrolled, dev.ID) || !strings.Contains(enrolled, `"state":"COMPLETED"`) {
			t.Errorf("on record: %s and %s", decided, enrolled)
		}
	})
}

func TestEvidenceVerifiesWithTheServerOffAfterTwoRotations(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	approve := func(string) {
		ops, err := p.List(t.Context())
		if err != nil || len(ops) != 1 {
			t.Fatalf("%+v, %v", ops, err)
		}
		if _, err := p.Approve(t.Context(), &ops[0], rig.PIN, ""); err != nil {
			t.Fatal(err)
		}
	}
	var tokens []string
	for range 3 {
		token, _ := signed(t, r, u.ExternalRef, approve)
		tokens = append(tokens, token)
		if _, err := r.Node.Keys.Rotate(t.Context(), keys.Evidence, keys.Soon, func(*db.Tx, string) error { return nil }); err != nil {
			t.Fatal(err)
		}
		r.Clock.Advance(2 * time.Minute)
	}
	kids := map[string]bool{}
	for _, token := range tokens {
		s, err := evidence.Verify(token, published(t, r), evidence.Expect{})
		if err != nil {
			t.Fatal(err)
		}
		kids[s.KeyID] = true
	}
	if len(kids) != 3 {
		t.Errorf("signed by %d keys", len(kids))
	}
	r.Stop()
	verify := func(token string) (string, error) {
		file := filepath.Join(t.TempDir(), "evidence.jwt")
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), binary, "evidence", "verify", file, "--data-dir", r.Dir, "--iss", r.Issuer).CombinedOutput()
		return string(out), err
	}
	for _, token := range tokens {
		out, err := verify(token)
		if err != nil || !strings.Contains(out, "I rent the flat") || !strings.Contains(out, u.ID) || !strings.Contains(out, "knowledge (PIN)") {
			t.Errorf("%v: %s", err, out)
		}
	}
	seg := strings.Split(tokens[0], ".")
	raw, err := base64.RawURLEncoding.DecodeString(seg[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]json.RawMessage
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	for name := range claims {
		changed := strings.Replace(string(raw), `"`+name+`":`, `"`+name+`x":`, 1)
		if out, err := verify(seg[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(changed)) + "." + seg[2]); err == nil || !strings.Contains(out, "evidence: signature") {
			t.Errorf("%s changed: %v, %s", name, err, out)
		}
	}
	if len(claims) < 18 {
		t.Errorf("%d claims", len(claims))
	}
}

func TestEvidenceIsStampedByAnAuthorityOfItsOwnTime(t *testing.T) {
	tsa := tsatest.Start(t)
	r := rig.Start(t, rig.Options{TSA: tsa.URL, Egress: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	u, p := r.Person()
	token, out := signed(t, r, u.ExternalRef, func(string) {
		ops, err := p.List(t.Context())
		if err != nil || len(ops) != 1 {
			t.Fatalf("%+v, %v", ops, err)
		}
		if _, err := p.Approve(t.Context(), &ops[0], rig.PIN, ""); err != nil {
			t.Fatal(err)
		}
	})
	var proof operation.Proof
	for deadline := time.Now().Add(20 * time.Second); proof.Timestamp == nil; time.Sleep(20 * time.Millisecond) {
		var err error
		if proof, err = r.Node.Flows.Operations.Evidence(t.Context(), r.Merchant.ID, out.OperationID); err != nil || time.Now().After(deadline) {
			t.Fatalf("no time stamp: %v", err)
		}
	}
	if a := r.REST("GET", "/signatures/"+out.OperationID+"/evidence", nil); a.Text("evidence") != token || a.Text("timestamp") != base64.StdEncoding.EncodeToString(proof.Timestamp) {
		t.Errorf("by REST: %s", a)
	}
	r.Stop()
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	stamp := filepath.Join(dir, "evidence.tst")
	printed, err := exec.CommandContext(t.Context(), binary, "evidence", "get", out.OperationID, "--timestamp", stamp, "--data-dir", r.Dir).Output()
	if err != nil || string(printed) != token+"\n" {
		t.Fatalf("%v: %s", err, printed)
	}
	jwt := file("evidence.jwt", []byte(token))
	said, err := exec.CommandContext(t.Context(), binary, "evidence", "verify", jwt, "--data-dir", r.Dir, "--timestamp", stamp, "--tsa-cert", tsa.RootFile).CombinedOutput()
	if err != nil || !strings.Contains(string(said), "stamped") || !strings.Contains(string(said), "Test TSA") {
		t.Errorf("%v: %s", err, said)
	}
	if said, err := exec.CommandContext(t.Context(), "openssl", "ts", "-verify", "-data", jwt, "-in", stamp, "-token_in", "-CAfile", tsa.RootFile).CombinedOutput(); err != nil {
		t.Errorf("openssl: %v: %s", err, said)
	}
	other := tsatest.Start(t)
	if said, err := exec.CommandContext(t.Context(), binary, "evidence", "verify", jwt, "--data-dir", r.Dir, "--timestamp", stamp, "--tsa-cert", other.RootFile).CombinedOutput(); err == nil || !strings.Contains(string(said), "evidence: timestamp") {
		t.Errorf("by another authority: %v: %s", err, said)
	}
}
