package flows

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestARequestIsReadAsItWasWrittenAlsoByTheProgramBefore(t *testing.T) {
	if reflect.TypeFor[request]().NumField() != 7 {
		t.Error("MarshalBinary does not know every member")
	}
	for _, r := range []request{{}, {ClientID: "cli_1", OperationID: "op_1", Scopes: []string{"openid", "profile"}, Interval: 5000,
		NextPoll: 1_800_000_000_000, HeldUntil: 1_800_000_000_001, ExpiresAt: 1_800_000_180_000}} {
		own, err := r.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		type plain request
		old, err := json.Marshal(plain(r))
		if err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{"its own form": own, "JSON": old} {
			var got request
			if err := got.UnmarshalBinary(b); err != nil || !reflect.DeepEqual(got, r) {
				t.Errorf("%s: %+v, %v; want %+v", name, got, err, r)
			}
		}
		for n := range own {
			var got request
			if err := got.UnmarshalBinary(own[:n]); err == nil {
				t.Errorf("cut to %d bytes: %+v", n, got)
			}
		}
	}
}
