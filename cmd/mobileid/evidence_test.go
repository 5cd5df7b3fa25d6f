package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// golden are the vectors of sdk/vectors.
type golden struct {
	JWKS json.RawMessage
	Good []struct {
		Token, Hash string
		DeviceKey   string `json:"device_key"`
	}
	Bad []struct{ Name, Part, Token string }
}

func TestEvidenceVerifySaysWhoWhatAndWhenOrExitsWith1(t *testing.T) {
	dir := t.TempDir()
	var v golden
	raw, err := os.ReadFile(filepath.Join("..", "..", "sdk", "vectors", "evidence.json"))
	if err == nil {
		err = json.Unmarshal(raw, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	file := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	set := file("jwks.json", string(v.JWKS))
	good := file("good.jwt", v.Good[0].Token+"\n")
	code, out := mobileid(t, dir, "evidence", "verify", good, "--jwks", set, "--iss", "https://id.example", "--aud", "cli_1", "--jkt", v.Good[0].DeviceKey)
	for _, want := range []string{"ok: the signatures, the keys and the hashes hold", "usr_abcdefghijklmnopqrstuvwxyz", "2027-01-15T08:00:20Z", "possession (key in software), knowledge (PIN)",
		"merchant    mer_1, client cli_1", v.Good[0].Hash, "  | # Sign the lease\n", "  | Landlord: Nordlys Eiendom AS\n"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Fatalf("%d, %q is not in:\n%s", code, want, out)
		}
	}
	// What the phone said of itself is told as its own word, and that it was said if it is not there.
	spoke, kept := file("said.jwt", v.Good[4].Token), "by the phone itself at 2027-01-15T07:59:59Z: found vpn, developer_mode; in NO by its network; platform android; system 16; app 4.2.0; model Møller 7"
	if code, out := mobileid(t, dir, "evidence", "verify", spoke, "--jwks", set); code != 0 || !strings.Contains(out, kept) {
		t.Errorf("%d, %q is not in:\n%s", code, kept, out)
	}
	if code, out := mobileid(t, dir, "evidence", "verify", file("unsaid.jwt", v.Good[5].Token), "--jwks", set); code != 0 || !strings.Contains(out, "something of itself that is not kept here") {
		t.Errorf("%d:\n%s", code, out)
	}
	for _, b := range v.Bad[:3] {
		if code, out := mobileid(t, dir, "evidence", "verify", file("bad.jwt", b.Token), "--jwks", set); code != 1 || !strings.Contains(out, "evidence: "+b.Part+":") || strings.Contains(out, "ok:") {
			t.Errorf("%s: %d, %s", b.Name, code, out)
		}
	}
	if code, out := mobileid(t, dir, "evidence", "verify", good, "--jwks", set, "--jkt", v.Good[0].Hash); code != 1 || !strings.Contains(out, "cnf") {
		t.Errorf("another device's key: %d, %s", code, out)
	}
	if code, _ := mobileid(t, dir, "evidence", "verify", filepath.Join(dir, "none.jwt"), "--jwks", set); code != exitUsage {
		t.Errorf("no such file: %d", code)
	}
	if code, _ := mobileid(t, dir, "evidence", "verify", good, "--jwks", good); code != exitUsage {
		t.Errorf("a key set that is none: %d", code)
	}
	// Without --jwks the keys of the installation count, and these are not.
	if code, out := mobileid(t, dir, "merchant", "create", "One"); code != 0 {
		t.Fatal(out)
	}
	if code, out := mobileid(t, dir, "evidence", "verify", good); code != 1 || !strings.Contains(out, "evidence: kid:") {
		t.Errorf("by the keys of another server: %d, %s", code, out)
	}
}

func TestKeysRotateTurnsTheSetThatIsNamed(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"keys", "rotate", "--now"}, {"keys", "rotate", "--set", "evidence", "--now"}} {
		if code, out := mobileid(t, dir, args...); code != 0 || strings.Count(out, " signs from ") != 1 {
			t.Errorf("%v: %d, %s", args, code, out)
		}
	}
	if code, out := mobileid(t, dir, "keys", "rotate", "--set", "server"); code != exitUsage {
		t.Errorf("a set that is not rotated: %d, %s", code, out)
	}
}
