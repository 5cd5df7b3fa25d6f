package rest

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/db/dbtest/schema"
	"mobileid/internal/identity"
	"mobileid/internal/notify/pushtest"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// pushing is a server that may send pushes to this machine.
func pushing(t *testing.T, policy identity.Policy) *rig.Rig {
	return rig.Start(t, rig.Options{Policy: policy, Push: loopback()})
}

func loopback() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }

// subscribe registers the service's subscription for the phone.
func subscribe(t *testing.T, p *sdk.Phone, s *pushtest.Service) []byte {
	t.Helper()
	key, err := p.SetPush(t.Context(), wire.PushSet{Endpoint: s.URL, P256DH: s.P256DH, Auth: s.Auth})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// arrived waits until n pushes came, and a little longer for one too many.
func arrived(t *testing.T, s *pushtest.Service, n int) []pushtest.Push {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); len(s.Got()) < n && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	got := s.Got()
	if len(got) != n {
		t.Fatalf("%d pushes came, want %d", len(got), n)
	}
	for _, p := range got {
		if p.Err != nil {
			t.Fatal(p.Err)
		}
	}
	return got
}

// quiet waits until nothing is left to be told.
func quiet(t *testing.T, r *rig.Rig) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var items int64
		r.SQL(func(tx *db.Tx) (err error) {
			items, err = tx.OutboxDue(db.OutboxKinds{})
			return err
		})
		if items == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d items are due", items)
		}
	}
}

// later lets time go by until n pushes came. That one was sent says nothing of when it
// is noted that it has to be sent again, so a step of time may come too early.
func later(t *testing.T, r *rig.Rig, s *pushtest.Service, n int) {
	t.Helper()
	for range 6 { // less than the 30 s for which a worker has an item to itself
		r.Clock.Advance(4500 * time.Millisecond)
		for end := time.Now().Add(3 * time.Second); len(s.Got()) < n && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
		if len(s.Got()) >= n {
			break
		}
	}
	arrived(t, s, n)
}

func TestD20_APushSaysWhichOperationWaitsAndNothingElse(t *testing.T) {
	r := pushing(t, identity.Policy{})
	u, p := r.Person()
	s := pushtest.Start(t)
	key := subscribe(t, p, s)
	if a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID}); a.Status != http.StatusCreated {
		t.Fatalf("%s", a)
	}
	a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "sendPush": true, "pushPayload": "branch-7", "preContext": map[string]any{"content": "Open vault 12"}, "expiresIn": 90})
	got := arrived(t, s, 1)[0]
	if want := `{"txn":"` + a.Text("id") + `","tag":"branch-7"}`; string(got.Plain) != want {
		t.Errorf("the push says %s, want %s", got.Plain, want)
	}
	// Its size and header tell a push service nothing about it either.
	if got.Header.Get("TTL") != "90" || got.Header.Get("Urgency") != "high" || got.Header.Get("Topic") != "" {
		t.Errorf("%v", got.Header)
	}
	r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "sendPush": true})
	if next := arrived(t, s, 2)[1]; next.Size != got.Size {
		t.Errorf("pushes of %d and %d bytes", got.Size, next.Size)
	}
	vapid(t, got.Header, s.URL, key)
}

// vapid checks the push's sender by RFC 8292, as a push service does.
func vapid(t *testing.T, h http.Header, endpoint string, key []byte) {
	t.Helper()
	token, named, _ := strings.Cut(strings.TrimPrefix(h.Get("Authorization"), "vapid t="), ", k=")
	if named != wire.Encode(key) {
		t.Fatalf("sent under %s, the phone was told of %s", named, wire.Encode(key))
	}
	tok, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	jwk := jose.JSONWebKey{}
	text, err := json.Marshal(map[string]string{"kty": "EC", "crv": "P-256", "x": wire.Encode(key[1:33]), "y": wire.Encode(key[33:])})
	if err == nil {
		err = jwk.UnmarshalJSON(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	var c jwt.Claims
	if err := tok.Claims(jwk, &c); err != nil {
		t.Fatal(err)
	}
	at, _ := url.Parse(endpoint)
	if c.Audience[0] != at.Scheme+"://"+at.Host || c.Expiry.Time().After(time.Now().Add(24*time.Hour)) || !strings.HasPrefix(c.Subject, "https://") {
		t.Errorf("%+v", c)
	}
}

func TestPushesAreSentAsTheAppSays(t *testing.T) {
	for setting, ciba := range map[string]int{identity.PushAsked: 0, identity.PushAlways: 1} {
		r := pushing(t, identity.Policy{Push: setting})
		u, p := r.Person()
		s := pushtest.Start(t)
		subscribe(t, p, s)
		r.Ask(r.Backend, u)
		quiet(t, r)
		arrived(t, s, ciba)
		if a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "initiation": "app"}); a.Status != http.StatusCreated {
			t.Fatalf("%s", a)
		}
		quiet(t, r)
		arrived(t, s, ciba)
	}
	r := pushing(t, identity.Policy{Push: identity.PushOff})
	u, p := r.Person()
	if a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "sendPush": true}); a.Status != http.StatusBadRequest || !names(a, "/sendPush") {
		t.Errorf("%s", a)
	}
	s := pushtest.Start(t)
	_, err := p.SetPush(t.Context(), wire.PushSet{Endpoint: s.URL, P256DH: s.P256DH, Auth: s.Auth})
	r.Refused(err, wire.PushOff)
}

func TestAFaultyWishForAPushNamesTheMember(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u := r.User()
	for _, c := range []struct {
		pointer string
		more    map[string]any
	}{
		{"/pushPayload", map[string]any{"sendPush": true, "pushPayload": "pay 5 EUR"}},
		{"/pushPayload", map[string]any{"pushPayload": "x"}},
		{"/sendPush", map[string]any{"sendPush": true, "initiation": "app"}},
	} {
		c.more["userId"] = u.ID
		if a := r.REST("POST", "/authentications", c.more); a.Status != http.StatusBadRequest || !names(a, c.pointer) {
			t.Errorf("%v: %s", c.more, a)
		}
	}
	if a := r.REST("POST", "/apps", map[string]any{"name": "X", "settings": map[string]any{"push": "SOMETIMES"}}); a.Status != http.StatusBadRequest || !names(a, "/settings/push") {
		t.Errorf("%s", a)
	}
}

func TestD17_AnAddressThatAnotherDeviceRegistersIsTakenFromTheFirst(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { takenOver(t, "") })
	t.Run("postgres", func(t *testing.T) { takenOver(t, schema.Postgres(t)) })
}

func takenOver(t *testing.T, at string) {
	r := rig.Start(t, rig.Options{DB: at, Push: loopback()})
	first, p1 := r.Person()
	second, p2 := r.Person()
	s := pushtest.Start(t)
	subscribe(t, p1, s)
	subscribe(t, p2, s)
	r.REST("POST", "/authentications", map[string]any{"userId": first.ID, "sendPush": true})
	quiet(t, r)
	arrived(t, s, 0)
	a := r.REST("POST", "/authentications", map[string]any{"userId": second.ID, "sendPush": true})
	if got := arrived(t, s, 1)[0]; !strings.Contains(string(got.Plain), a.Text("id")) {
		t.Errorf("%s", got.Plain)
	}
	// A phone that gives its address up, or is deactivated, is not woken.
	if _, err := p2.SetPush(t.Context(), wire.PushSet{}); err != nil {
		t.Fatal(err)
	}
	subscribe(t, p1, s)
	move(t, r, "/devices/"+r.State(p1).Device+"/deactivate")
	var left []db.PushAddress
	r.SQL(func(tx *db.Tx) error {
		for _, u := range []string{first.ID, second.ID} {
			have, err := tx.PushAddresses(u, "", 9)
			if err != nil {
				return err
			}
			left = append(left, have...)
		}
		return nil
	})
	if len(left) != 0 {
		t.Errorf("%d addresses are left", len(left))
	}
}

func TestC18_AUserIsWokenFiveTimesInTenMinutes(t *testing.T) {
	r := pushing(t, identity.Policy{})
	u, p := r.Person()
	s := pushtest.Start(t)
	subscribe(t, p, s)
	wake := func() {
		a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "sendPush": true})
		if a.Status != http.StatusCreated {
			t.Fatalf("%s", a)
		}
		quiet(t, r)
		r.Approve(p, "") // also those that no push told of
	}
	for range 7 {
		wake()
	}
	arrived(t, s, 5)
	r.Clock.Advance(10*time.Minute + time.Second)
	wake()
	arrived(t, s, 6)
}

func TestF13_APushServiceThatFailsCostsAPushAndNoOperation(t *testing.T) {
	r := pushing(t, identity.Policy{})
	u, p := r.Person()
	s := pushtest.Start(t)
	subscribe(t, p, s)
	start := func() rig.Answer {
		return r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "sendPush": true})
	}
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		before := len(s.Got())
		s.Answer(status)
		a := start()
		arrived(t, s, before+1)
		later(t, r, s, before+2) // the first back-off
		s.Answer(http.StatusCreated)
		later(t, r, s, before+3)
		quiet(t, r)
		r.Clock.Advance(20 * time.Second)
		quiet(t, r)
		arrived(t, s, before+3) // taken: not sent again
		if op := r.Waiting(p); op.Txn != a.Text("id") {
			t.Errorf("%s waits, not %s", op.Txn, a.Text("id"))
		}
		r.Approve(p, "")
	}
	// What is decided needs no push any more.
	before := len(s.Got())
	s.Answer(http.StatusBadGateway)
	start()
	arrived(t, s, before+1)
	r.Approve(p, "")
	quiet(t, r)
	r.Clock.Advance(5 * time.Second)
	quiet(t, r)
	arrived(t, s, before+1)
	// An address that is gone is forgotten, also when it comes back.
	s.Answer(http.StatusGone)
	start()
	arrived(t, s, before+2)
	quiet(t, r)
	r.Approve(p, "")
	s.Answer(http.StatusCreated)
	start()
	quiet(t, r)
	arrived(t, s, before+2)
	r.Approve(p, "")
}

// internal are addresses that nothing may be sent to.
func internal() []string {
	return []string{
		"https://127.0.0.1/x", "https://0.0.0.0/x", "https://[::1]/x", "https://[::ffff:127.0.0.1]/x", "https://169.254.169.254/latest", "https://10.0.0.8/x", "https://172.16.0.1/x",
		"https://192.168.1.1/x", "https://[fc00::1]/x", "https://[fe80::1]/x", "https://0177.0.0.1/x", "https://0x7f000001/x", "https://2130706433/x", "https://127.1/x", "https://localhost/x",
		"https://localhost./x", "https://a.localhost/x", "https://push.example:22/x", "https://push.example:6379/x", "https://user@push.example/x", "http://push.example/x", "file:///etc/passwd",
		"gopher://push.example/x", "//push.example/x", "push.example", "https://push.example/x#y", "https://push.example\\@127.0.0.1/x", "https:///x",
	}
}

// The networks that clients and operators may have called are none of a phone's
// business.
func TestF1_APushAddressIsPublic(t *testing.T) {
	r := rig.Start(t, rig.Options{Egress: append(loopback(), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128"))})
	_, p := r.Person()
	s := pushtest.Start(t)
	for _, address := range append(internal(), s.URL) {
		_, err := p.SetPush(t.Context(), wire.PushSet{Endpoint: address, P256DH: s.P256DH, Auth: s.Auth})
		if e := r.Refused(err, wire.AddressRefused); e == nil {
			t.Errorf("%s is taken", address)
		}
	}
	for what, set := range map[string]wire.PushSet{"no point": {Endpoint: nowhere, P256DH: make([]byte, 65), Auth: s.Auth}, "a short secret": {Endpoint: nowhere, P256DH: s.P256DH, Auth: s.Auth[:15]}, "keys alone": {P256DH: s.P256DH}} {
		_, err := p.SetPush(t.Context(), set)
		if e := r.Refused(err, wire.Malformed); e == nil {
			t.Errorf("%s is taken", what)
		}
	}
}
