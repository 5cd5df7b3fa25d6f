package operation

import (
	"reflect"
	"strings"
	"testing"

	"mobileid/internal/db"
)

// full has something else in every member.
func full() Operation {
	return Operation{Kind: KindAuthentication, Flow: FlowCIBA, MerchantID: "mer_1", ClientID: "cli_1", ClientName: "Café \"x\"", UserID: "usr_1",
		DeviceID: "dev_1", Challenge: []byte{0, 1, 255}, View: []byte(`[{"t":"h"}]`), Tpl: "login/1", Lang: "en", MinACR: ACRWeb, Match: "123",
		Data: []byte(`[{"type":"x"}]`), Post: []byte(`[{"t":"p"}]`), Level: OneFactor, Methods: "PIN BIOMETRIC", Initiation: FromApp, AppID: "app_1",
		ClientData: "order 7", Scope: "openid x", Initiator: Initiator{IP: "192.0.2.1", Browser: "Firefox"}, StartedAt: 1_800_000_000_000, ExpiresAt: -1}
}

func TestAStoredOperationIsReadAsItWasWritten(t *testing.T) {
	whole := full()
	for v, i := reflect.ValueOf(whole), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() != (v.Type().Field(i).Name == "ID") { // which is the key
			t.Fatalf("the test leaves out %s", v.Type().Field(i).Name)
		}
	}
	packed := Operation{Kind: KindSignature, Flow: FlowREST, MerchantID: db.NewID("mer_"), ClientID: db.NewID("cli_"), UserID: "none_" + "_-AZaz09" + "01234567890123", DeviceID: "dev_!",
		AppID: db.NewID("app_") + "x", View: []byte(strings.Join(phrases[:], "ø") + `{"t":"h","text":"x"}`), Lang: "nn"}
	for _, want := range []Operation{whole, {}, {ClientName: string(make([]byte, 300))}, packed} {
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
	for _, bad := range [][]byte{append(raw[:len(raw):len(raw)], 0), {recordVersion}, {recordVersion - 1}, {recordVersion + 1}, {recordVersion, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}} {
		if err := new(Operation).UnmarshalBinary(bad); err == nil {
			t.Errorf("%x was read", bad)
		}
	}
}

func TestAViewWithControlCharactersIsNotStored(t *testing.T) {
	if _, err := (Operation{View: []byte("[\x01]")}).MarshalBinary(); err == nil {
		t.Error("it was")
	}
}

func FuzzStoredOperation(f *testing.F) {
	raw, _ := full().MarshalBinary()
	f.Add(raw)
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
	op.View = []byte(`[{"t":"h","text":"Request of Bench backend"},{"t":"b","text":"Order 4711"},{"t":"row","label":"Time","value":"25 Nov 2026, 23:09 UTC"}]`)
	op.ClientID, op.MerchantID, op.UserID = db.NewID("cli_"), db.NewID("mer_"), db.NewID("usr_")
	for b.Loop() {
		raw, _ := op.MarshalBinary()
		if err := new(Operation).UnmarshalBinary(raw); err != nil {
			b.Fatal(err)
		}
	}
}
