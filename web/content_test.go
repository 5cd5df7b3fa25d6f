package web

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"mobileid/internal/kv"
	"mobileid/internal/operation"
)

func loggedIn() content {
	return content{Browser: "B7LPJ4AXAZQSLHRCQXWNFSCMRE", Login: &login{
		UserID: "usr_aaaaaaaaaaaaaaaaaaaaaaaaaa", DeviceID: "dev_bbbbbbbbbbbbbbbbbbbbbbbbbb", OperationID: "op_cccccccccccccccccccccccccc",
		SID: "sid_dddddddddddddddddddddddddd", AuthTime: 1764130000123, AMR: []string{"pop", "swk", "pin", "user", "mfa", "mca"}, ACR: operation.ACRWeb,
		SCA:    &operation.SCA{Pos: "swk", Kno: "pin", Inh: "none", UV: "none", Dsp: "app", Flow: "redirect", UI: "app", Enrol: "qr", Epoch: 3, SameIP: true},
		SeenAt: 1764130001456,
	}}
}

func TestASessionIsReadAsItWasWritten(t *testing.T) {
	all := map[string]content{"nobody logged in": {Browser: "B"}, "without SCA": loggedIn(), "from elsewhere": loggedIn(), "whole": loggedIn(), "no methods": loggedIn()}
	all["without SCA"].Login.SCA = nil
	all["from elsewhere"].Login.SCA.SameIP = false
	all["no methods"].Login.AMR = nil
	for name, c := range all {
		got, err := readContent(c.record())
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestASessionOfAnotherFormIsNone(t *testing.T) {
	c := loggedIn()
	good := c.record()
	for n := range good {
		if _, err := readContent(good[:n]); !errors.Is(err, kv.ErrRecord) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	old, err := json.Marshal(map[string]any{"browser": "B", "login": map[string]any{"user": "usr_a"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"JSON": old, "a later version": append([]byte{contentVersion + 1}, good[1:]...), "more behind": append(good, 0)} {
		if got, err := readContent(b); !errors.Is(err, kv.ErrRecord) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func BenchmarkSessionRead(b *testing.B) {
	c := loggedIn()
	record := c.record()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := readContent(record); err != nil {
			b.Fatal(err)
		}
	}
}
