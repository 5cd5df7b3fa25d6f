package operation

import (
	"reflect"
	"testing"
)

func TestAUsersRecordIsReadAsItWasWritten(t *testing.T) {
	if reflect.TypeFor[prompts]().NumField() != 2 || reflect.TypeFor[prompt]().NumField() != 4 {
		t.Error("MarshalBinary does not know every member")
	}
	for _, p := range []prompts{{}, {Open: []prompt{{"op_1", "cli_1", "", 1_800_000_000_000}, {"op_2", "cli_2", NoDevice, 5}}},
		{Cool: map[string]int64{"cli_1": 1_800_000_000_000, "cli_2": 7}}} {
		own, err := p.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var got prompts
		if err := got.UnmarshalBinary(own); err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%+v, %v; want %+v", got, err, p)
		}
		if again, _ := p.MarshalBinary(); string(again) != string(own) {
			t.Error("the same record has two forms")
		}
	}
	for _, bad := range []string{"", "\x01", "\x03", "\x02", "\x02\x02", "\x02\x04\x02a", "\x02\x00", "\x02\x00\x02\x02a"} {
		var got prompts
		if err := got.UnmarshalBinary([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, got)
		}
	}
}
