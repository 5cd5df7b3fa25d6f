package vectors

import (
	"encoding/json"
	"slices"
	"testing"

	"mobileid/sdk/wire"
)

type call struct {
	Name, Op, Body, Unproven, Expect string
}

func TestCalls(t *testing.T) {
	v := load[struct {
		Device    string
		DSK       private
		JTI, Head string
		EK        string
		KK        wire.Bytes
		Good, Bad []call
		History   struct {
			Reply      string
			States, By []string
		}
	}](t, "calls.json")
	dsk, err := wire.FromECDSA(&v.DSK.ecdsa(t).PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	kid := dsk.KeyID()
	// The server's checks as far as they need no state.
	judge := func(c call) (string, []byte) {
		var body interface{ Unproven() ([]byte, error) }
		var kpf wire.Secret
		var risk wire.Bytes
		ok, read := true, func(into any) bool { return wire.Unmarshal([]byte(c.Body), into) == nil }
		switch c.Op {
		case wire.OpPIN:
			var b wire.PINChange
			ok = read(&b) && len(b.KK) == wire.KeySize
			body, kpf, risk = b, b.KPF, b.Risk
		case wire.OpRotate:
			var b wire.Rotation
			ok = read(&b) && len(b.KK) == wire.KeySize
			_, err := wire.VerifyNewKey(b.New, wire.NewKeyClaims{Iss: v.Device, Old: kid, JTI: v.JTI})
			ok = ok && err == nil
			body, kpf, risk = b, b.KPF, b.Risk
		case wire.OpBioAdd:
			var b wire.BioAdd
			ok = read(&b)
			key, err := wire.VerifyBioKey(b.New, wire.BioKeyClaims{Iss: v.Device, DSK: kid, JTI: v.JTI})
			ok = ok && err == nil && key != dsk
			body, kpf, risk = b, b.KPF, b.Risk
		case wire.OpRemove:
			ok = read(&wire.Remove{})
		case wire.OpBioRemove:
			ok = read(&wire.BioRemove{})
		case wire.OpHistory:
			ok = read(&wire.History{})
		default:
			t.Fatal(c.Op)
		}
		if len(risk) > 0 {
			_, err := wire.ParseRisk(risk)
			ok = ok && err == nil
		}
		switch {
		case !ok:
			return wire.Malformed, nil
		case body == nil:
			return "", nil
		case len(kpf) == 0:
			return wire.Need, nil
		}
		bytes, err := body.Unproven()
		if err != nil {
			t.Fatal(err)
		}
		want := wire.CallProof(v.KK, c.Op, bytes, v.JTI, v.Head)
		if !wire.Equal(want[:], kpf) {
			return wire.AuthFailed, bytes
		}
		return "", bytes
	}
	seen := map[string]int{}
	for _, c := range v.Good {
		seen[c.Op]++
		if got, bytes := judge(c); got != "" || c.Unproven != string(bytes) {
			t.Errorf("%s: %q, over %s", c.Op, got, bytes)
		}
	}
	for _, c := range v.Bad {
		seen[c.Op]++
		if got, _ := judge(c); got != c.Expect {
			t.Errorf("%s, %s: %q, want %q", c.Op, c.Name, got, c.Expect)
		}
	}
	for _, op := range []string{wire.OpPIN, wire.OpRotate, wire.OpBioAdd, wire.OpBioRemove, wire.OpRemove, wire.OpHistory} {
		if seen[op] < 3 {
			t.Errorf("%s has %d", op, seen[op])
		}
	}
	var past wire.HistoryReply
	if err := wire.Unmarshal([]byte(v.History.Reply), &past); err != nil {
		t.Fatal(err)
	}
	var states, by []string
	for _, o := range past.Ops {
		states, by = append(states, o.State), append(by, o.By)
	}
	if again, err := json.Marshal(past); err != nil || string(again) != v.History.Reply || !slices.Equal(states, v.History.States) || !slices.Equal(by, v.History.By) {
		t.Errorf("%+v, %s", past, again)
	}
}

func TestD2_ABiometricProofCountsForItsOwnAnswerOnly(t *testing.T) {
	v := load[struct {
		EK, JTI string
		Bio     struct {
			DBK     private
			Ans     string
			AnsHash wire.Bytes `json:"ans_hash"`
			BSig    wire.Bytes
			Bad     []struct {
				Name string
				BSig wire.Bytes
			}
			Attestation wire.Bytes `json:"attestation_challenge"`
			AppAttest   wire.Bytes `json:"app_attest_hash"`
		}
	}](t, "calls.json")
	pub, hash := &v.Bio.DBK.ecdsa(t).PublicKey, wire.AnswerHash(v.Bio.Ans)
	same(t, "hash of ans", hash[:], v.Bio.AnsHash)
	if !wire.VerifyBio(pub, hash, v.Bio.BSig) {
		t.Error("bsig is refused")
	}
	for _, b := range v.Bio.Bad {
		if wire.VerifyBio(pub, hash, b.BSig) {
			t.Errorf("%s: accepted", b.Name)
		}
	}
	own, err := wire.SignBio(v.Bio.DBK.ecdsa(t), hash)
	if err != nil || !wire.VerifyBio(pub, hash, own) {
		t.Errorf("our own: %v", err)
	}
	jwk, err := wire.FromECDSA(pub)
	if err != nil {
		t.Fatal(err)
	}
	att, app := wire.BioAttestationChallenge(v.EK, v.JTI), wire.BioAppAttestHash(v.EK, v.JTI, jwk.Thumbprint())
	same(t, "attestation challenge", att[:], v.Bio.Attestation)
	same(t, "App Attest's hash", app[:], v.Bio.AppAttest)
}
