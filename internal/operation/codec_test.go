package operation

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

// full has something else in every member.
func full() Operation {
	return Operation{ID: "op_1", Kind: KindAuthentication, Flow: FlowCIBA, MerchantID: "mer_1", ClientID: "cli_1", ClientName: "Café \"x\"", UserID: "usr_1",
		DeviceID: "dev_1", Challenge: []byte{0, 1, 255}, View: []byte(`[{"t":"h"}]`), Tpl: "login/1", Lang: "en", MinACR: ACRWeb, Match: "123",
		Initiator: Initiator{IP: "192.0.2.1", Browser: "Firefox"}, Scope: "openid x", StartedAt: 1_800_000_000_000, ExpiresAt: -1}
}

func TestAStoredOperationIsReadAsItWasWritten(t *testing.T) {
	whole := full()
	for v, i := reflect.ValueOf(whole), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Fatalf("the test leaves out %s", v.Type().Field(i).Name)
		}
	}
	for _, want := range []Operation{whole, {}, {ClientName: string(make([]byte, 300))}} {
		raw, err := want.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var got Operation
		if err := got.UnmarshalBinary(raw); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v became %+v, %v", want, got, err)
		}
	}
}

func TestAnOperationStoredAsJSONIsStillRead(t *testing.T) {
	raw, err := json.Marshal(full())
	if err != nil {
		t.Fatal(err)
	}
	var got Operation
	if err := got.UnmarshalBinary(raw); err != nil || !reflect.DeepEqual(got, full()) {
		t.Errorf("%s became %+v, %v", raw, got, err)
	}
}

func TestAnOperationOfTheFirstVersionIsStillRead(t *testing.T) {
	want := full()
	want.Scope = ""
	raw, err := want.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	// The empty scope is one byte behind the browser's name.
	at := bytes.Index(raw, []byte("Firefox")) + len("Firefox")
	old := append(append([]byte{1}, raw[1:at]...), raw[at+1:]...)
	var got Operation
	if err := got.UnmarshalBinary(old); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%x became %+v, %v", old, got, err)
	}
}

func TestARecordThatIsNotWholeIsRefused(t *testing.T) {
	raw, err := full().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for n := range raw {
		var got Operation
		if err := got.UnmarshalBinary(raw[:n]); err == nil || !reflect.DeepEqual(got, Operation{}) {
			t.Errorf("%d of %d bytes: %+v, %v", n, len(raw), got, err)
		}
	}
	for _, bad := range [][]byte{append(raw[:len(raw):len(raw)], 0), {0}, {recordVersion + 1}, {recordVersion, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}} {
		if err := new(Operation).UnmarshalBinary(bad); err == nil {
			t.Errorf("%x was read", bad)
		}
	}
}

func FuzzStoredOperation(f *testing.F) {
	raw, _ := full().MarshalBinary()
	f.Add(raw)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var read Operation
		if read.UnmarshalBinary(raw) != nil {
			return
		}
		again, err := read.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var second Operation
		if err := second.UnmarshalBinary(again); err != nil || read.ID != second.ID || string(read.View) != string(second.View) || read.ExpiresAt != second.ExpiresAt {
			t.Errorf("%+v became %+v, %v", read, second, err)
		}
	})
}

func BenchmarkStoredOperation(b *testing.B) {
	op := full()
	op.View = make([]byte, 300)
	b.Run("own", func(b *testing.B) {
		for b.Loop() {
			raw, _ := op.MarshalBinary()
			if err := new(Operation).UnmarshalBinary(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("json", func(b *testing.B) {
		for b.Loop() {
			raw, _ := json.Marshal(op)
			if err := new(Operation).UnmarshalBinary(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}
