package identity

import (
	"strings"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/fault"
)

func TestAHintIsReadInOneWay(t *testing.T) {
	for in, want := range map[string]Hint{
		"bob":                              {ExternalRef: "bob"},
		"bob@example.com":                  {ExternalRef: "bob@example.com"},
		" bob ":                            {ExternalRef: " bob "},
		"Bob":                              {ExternalRef: "Bob"},
		"usr_abc":                          {ExternalRef: "usr_abc"},
		"userid:abc":                       {ExternalRef: "userid:abc"},
		"x userId:abc":                     {ExternalRef: "x userId:abc"},
		"bob deviceId:dev_1":               {ExternalRef: "bob deviceId:dev_1"},
		"ÅÄÖ":                              {ExternalRef: "ÅÄÖ"},
		"userId:usr_abc":                   {UserID: "usr_abc"},
		"userId:usr_abc deviceId:dev_1":    {UserID: "usr_abc", DeviceID: "dev_1"},
		"userId:userId:x":                  {UserID: "userId:x"},
		strings.Repeat("é", 127) + "x":     {ExternalRef: strings.Repeat("é", 127) + "x"},
		"userId:" + strings.Repeat("a", 9): {UserID: "aaaaaaaaa"},
	} {
		if got, err := ParseHint(in); err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "userId:", "userId: ", "userId:a b", "userId:a deviceId:", "userId:a deviceId:b c", "userId:a deviceId:b deviceId:c",
		"userId:a  deviceId:b", "userId: deviceId:b", "deviceId:dev_1", "a\x00b", "a\nb", "a\u0085b", "a\x7f", "\xff", strings.Repeat("é", 128)} {
		if got, err := ParseHint(in); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
}

func TestAReferenceSaysWhatIsWrongWithIt(t *testing.T) {
	for ref, code := range map[string]string{
		"": "required", strings.Repeat("a", 256): "too_long", "a\tb": "invalid", "\xc3": "invalid", "userId:x": "reserved", "deviceId:": "reserved",
		"a": "", strings.Repeat("a", 255): "", "USERID:x": "", "user id": "",
	} {
		err := CheckRef(ref)
		if code == "" {
			if err != nil {
				t.Errorf("%.10q: %v", ref, err)
			}
			continue
		}
		if e, ok := err.(*fault.Error); !ok || len(e.Fields) != 1 || e.Fields[0].Code != code || e.Fields[0].Pointer != "/externalRef" {
			t.Errorf("%.10q: %v, want %s", ref, err, code)
		}
	}
}

// Whatever may be a reference is read as a hint for exactly itself.
func FuzzAReferenceIsItsOwnHint(f *testing.F) {
	for _, s := range []string{"bob", "userId:x", "a b", " ", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHint(s)
		if CheckRef(s) == nil && (err != nil || h != Hint{ExternalRef: s}) {
			t.Errorf("%q: %+v, %v", s, h, err)
		}
		if h.UserID != "" && h.ExternalRef != "" {
			t.Errorf("%q means two", s)
		}
	})
}

func TestPoliciesHaveDefaultsAndACeiling(t *testing.T) {
	p, err := PolicyOf(db.App{Policy: []byte(`{}`)})
	if err != nil || p.FailureLimit != 3 || p.PINMin != 6 || p.CodeLength != 6 || p.RegistrationTTL != 3*time.Minute || p.BlockFor <= 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	if p, err = PolicyOf(db.App{Policy: []byte(`{"failure_limit":9}`)}); err != nil || p.FailureLimit != 5 {
		t.Fatalf("a limit above the ceiling: %+v, %v", p, err)
	}
	if _, err = PolicyOf(db.App{ID: "app_1", Policy: []byte(`x`)}); err == nil {
		t.Fatal("a broken policy is taken")
	}
}

func TestAPhoneMayAnswerOnceItsBlockIsOver(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for name, c := range map[string]struct {
		d    db.Device
		want bool
	}{
		"active":               {db.Device{State: db.DeviceActive}, true},
		"blocked":              {db.Device{State: db.DeviceBlocked, BlockedUntil: now.Add(1)}, false},
		"blocked until now":    {db.Device{State: db.DeviceBlocked, BlockedUntil: now}, true},
		"blocked without end":  {db.Device{State: db.DeviceBlocked}, false},
		"locked":               {db.Device{State: db.DeviceLocked}, false},
		"pending":              {db.Device{State: db.DevicePending}, false},
		"suspended, old block": {db.Device{State: db.DeviceSuspended, BlockedUntil: now}, false},
	} {
		if got := MayAnswer(&c.d, now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
