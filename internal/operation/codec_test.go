package operation

import (
	"encoding/binary"
	"encoding/json"
	"reflect"
	"testing"
)

// full has something else in every member.
func full() Operation {
	return Operation{ID: "op_1", Kind: KindAuthentication, Flow: FlowCIBA, MerchantID: "mer_1", ClientID: "cli_1", ClientName: "Café \"x\"", UserID: "usr_1",
		DeviceID: "dev_1", Challenge: []byte{0, 1, 255}, View: []byte(`[{"t":"h"}]`), Tpl: "login/1", Lang: "en", MinACR: ACRWeb, Match: "123",
		Data: []byte(`[{"type":"x"}]`), Post: []byte(`[{"t":"p"}]`), Level: OneFactor, Initiation: FromApp, AppID: "app_1",
		ClientData: "order 7", Push: true, PushText: "a request waits", Scope: "openid x", Initiator: Initiator{IP: "192.0.2.1", Browser: "Firefox"}, StartedAt: 1_800_000_000_000, ExpiresAt: -1}
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

// version1 is a record as the version before wrote it.
func version1(o *Operation) []byte {
	out := []byte{1}
	strings, blobs := o.texts(1)
	for _, s := range strings {
		out = append(binary.AppendUvarint(out, uint64(len(*s))), *s...)
	}
	for _, b := range blobs {
		out = append(binary.AppendUvarint(out, uint64(len(*b))), *b...)
	}
	return binary.AppendVarint(binary.AppendVarint(out, o.StartedAt), o.ExpiresAt)
}

func TestAnOperationOfTheVersionBeforeIsStillRead(t *testing.T) {
	whole := full()
	want := Operation{ID: whole.ID, Kind: whole.Kind, Flow: whole.Flow, MerchantID: whole.MerchantID, ClientID: whole.ClientID, ClientName: whole.ClientName,
		UserID: whole.UserID, DeviceID: whole.DeviceID, Challenge: whole.Challenge, View: whole.View, Tpl: whole.Tpl, Lang: whole.Lang, MinACR: whole.MinACR,
		Match: whole.Match, Initiator: whole.Initiator, StartedAt: whole.StartedAt, ExpiresAt: whole.ExpiresAt}
	var got Operation
	if err := got.UnmarshalBinary(version1(&whole)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
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
	for _, bad := range [][]byte{append(raw[:len(raw):len(raw)], 0), append(raw[:len(raw)-1:len(raw)-1], 2), {2}, {3}, {recordVersion, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}} {
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
