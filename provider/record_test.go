package provider

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"mobileid/internal/operation"
)

func fullRecord() *record {
	return &record{
		ClientID: "cli_web", MerchantID: "mer_1", GrantID: "grt_1", UserID: "usr_1", DeviceID: "dev_1", OperationID: "op_1", SID: "sid",
		Scopes: []string{"openid", "email"}, AuthTime: 1767225600123, AMR: []string{"pop", "pin"}, IDClaims: []string{"email"}, InfoClaims: []string{"name"}, ACR: operation.ACRWeb, Nonce: strings.Repeat("n", 300),
		RedirectURI: "https://shop.example.com/cb", Challenge: challenge(), Details: payment, ViewHash: "vh", DataHash: "dh", IssuedAt: -1, Expires: 1<<63 - 1,
		SCA: &operation.SCA{Pos: "swk", Kno: "pin", Inh: "none", UV: "none", Dsp: "app", Flow: "ciba", UI: "typed", Enrol: "qr", Epoch: 3, SameIP: true},
	}
}

func TestARecordComesBackAsItWas(t *testing.T) {
	for name, r := range map[string]*record{"full": fullRecord(), "empty": {}, "without SCA": {UserID: "u", Scopes: []string{""}}, "SCA without same IP": {SCA: &operation.SCA{}}} {
		b := r.encode()
		back, err := decodeRecord(b)
		if err != nil || !reflect.DeepEqual(back, r) {
			t.Errorf("%s: %+v, %v; want %+v", name, back, err, r)
		}
		for i := range b {
			if _, err := decodeRecord(b[:i]); err == nil {
				t.Errorf("%s: cut to %d of %d bytes it is still taken", name, i, len(b))
			}
		}
		if _, err := decodeRecord(append(b, 0)); err == nil {
			t.Errorf("%s: a byte too many is taken", name)
		}
		b[0]++
		if _, err := decodeRecord(b); err == nil {
			t.Errorf("%s: another version is taken", name)
		}
	}
	// Every field is in the encoding: a new one must not be forgotten.
	v := reflect.ValueOf(*fullRecord())
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("fullRecord leaves out %s", v.Type().Field(i).Name)
		}
	}
}

func TestARefreshTokenOfAnEarlierVersionIsStillRead(t *testing.T) {
	r := &record{UserID: "u", AMR: []string{"pop"}, AuthTime: 7}
	b := r.encode()
	user := "\x01u" + strings.Repeat("\x00", 7)
	two := bytes.Replace(b, []byte(user+"\x00\x00\x00"), []byte(user), 1)
	two[0] = 2
	one := bytes.Replace(two, []byte("\x01\x03pop\x00\x00"), []byte("\x01\x03pop"), 1)
	one[0] = 1
	for _, old := range [][]byte{one, two} {
		if back, err := decodeRecord(old); err != nil || !reflect.DeepEqual(back, r) {
			t.Errorf("version %d: %+v, %v", old[0], back, err)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(fullRecord().encode())
	f.Add((&record{}).encode())
	f.Add([]byte{recordVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err == nil && b[0] == recordVersion && !bytes.Equal(r.encode(), b) {
			t.Errorf("%x is taken and encodes as %x", b, r.encode())
		}
	})
}

func FuzzMatchRedirect(f *testing.F) {
	f.Add("http://127.0.0.1/cb", "http://127.0.0.1:80/cb")
	f.Add("https://a.example/cb", "https://a.example/cb")
	f.Add("http://[::1]/", "http://[::1]:1/")
	f.Fuzz(func(t *testing.T, registered, asked string) {
		if !matchRedirect(registered, asked) || registered == asked {
			return
		}
		host, rest, ok := loopback(asked)
		if !ok || !strings.HasPrefix(asked, "http://"+host) || !strings.HasSuffix(asked, rest) || !strings.HasPrefix(registered, "http://"+host) || !strings.HasSuffix(registered, rest) {
			t.Errorf("%q is taken for %q", asked, registered)
		}
	})
}
