package operation

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestAUsersRecordIsReadAsItWasWrittenAlsoByTheProgramBefore(t *testing.T) {
	if reflect.TypeFor[prompts]().NumField() != 2 || reflect.TypeFor[prompt]().NumField() != 4 {
		t.Error("MarshalBinary does not know every member")
	}
	for _, p := range []prompts{{}, {Open: []prompt{{"op_1", "cli_1", "", 1_800_000_000_000}, {"op_2", "cli_2", NoDevice, 5}}},
		{Cool: map[string]int64{"cli_1": 1_800_000_000_000, "cli_2": 7}}} {
		own, err := p.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		type plain prompts
		old, err := json.Marshal(plain(p))
		if err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{"its own form": own, "JSON": old} {
			var got prompts
			if err := got.UnmarshalBinary(b); err != nil || !reflect.DeepEqual(got, p) {
				t.Errorf("%s: %+v, %v; want %+v", name, got, err, p)
			}
		}
		if again, _ := p.MarshalBinary(); string(again) != string(own) {
			t.Error("the same record has two forms")
		}
	}
	for _, bad := range []string{"", "\x02", "\x01", "\x01\x02", "\x01\x04\x01a", "\x01\x00", "\x01\x00\x02\x01a"} {
		var got prompts
		if err := got.UnmarshalBinary([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, got)
		}
	}
}
