package provider

import (
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/internal/db"

	"github.com/go-jose/go-jose/v4"
)

// published is a client's jwks_uri.
type published struct {
	*httptest.Server
	mu    sync.Mutex
	reply func(w http.ResponseWriter)
	calls int
}

func publish(t *testing.T) *published {
	s := &published{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls++
		if r.Method != http.MethodGet || r.Header.Get("Authorization") != "" || r.URL.RawQuery != "" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		s.reply(w)
	}))
	t.Cleanup(s.Close)
	return s
}

// says makes it answer with a body.
func (s *published) says(body string) {
	s.does(func(w http.ResponseWriter) { fmt.Fprint(w, body) })
}

func (s *published) does(reply func(w http.ResponseWriter)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reply = reply
}

// called says how often since it was asked last.
func (s *published) called() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.calls
	s.calls = 0
	return n
}

// at moves the signer's keys to an address.
func (s *signer) at(uri string) {
	s.h.t.Helper()
	err := s.h.db.Update(s.h.t.Context(), func(tx *db.Tx) error {
		c, err := tx.Client(s.id)
		if err != nil {
			return err
		}
		c.Settings.JWKS, c.Settings.JWKSURI = nil, uri
		return tx.SetClientSettings(s.id, c.Settings)
	})
	if err != nil {
		s.h.t.Fatal(err)
	}
	s.h.reread(s.id)
}

// named signs under a kid.
func (s *signer) named(kid string) string {
	return s.sign(jose.ES256, map[jose.HeaderKey]any{"kid": kid}, s.claims(nil))
}

func TestJ3_KeysAtAnAddressAreFetchedOnceAndForAnUnknownKidEveryThirtySeconds(t *testing.T) {
	h := newHouse(t)
	s, site := h.signer(""), publish(t)
	site.says(string(s.set))
	s.at(site.URL + "/jwks")
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			if res := ask(h.p, s.good(nil)); res.StatusCode != 200 {
				t.Errorf("%d %s", res.StatusCode, res.text)
			}
		})
	}
	wg.Wait()
	if n := site.called(); n != 1 {
		t.Errorf("fetched %d times for 32 at once", n)
	}
	for range 20 {
		ask(h.p, s.named(db.NewID("kid_"))).refuses(t, 401, codeInvalidClient)
	}
	if n := site.called(); n != 0 {
		t.Errorf("fetched %d times for kids that are none, within 30 s", n)
	}
	h.clk.Advance(keysPause)
	for range 20 {
		ask(h.p, s.named(db.NewID("kid_"))).refuses(t, 401, codeInvalidClient)
		h.clk.Advance(time.Second)
	}
	if n := site.called(); n != 1 {
		t.Errorf("fetched %d times for kids that are none, over 20 s", n)
	}
	t.Run("a new key is taken up", func(t *testing.T) {
		site.says(strings.Replace(string(s.set), `"kid":"ec"`, `"kid":"ec2"`, 1))
		ask(h.p, s.named("ec2")).refuses(t, 401, codeInvalidClient) // asked for a moment ago
		h.clk.Advance(keysPause)
		if res := ask(h.p, s.named("ec2")); res.StatusCode != 200 {
			t.Errorf("%s", res.text)
		}
		ask(h.p, s.named("ec")).refuses(t, 401, codeInvalidClient) // it is gone
	})
	t.Run("the client moves", func(t *testing.T) {
		moved := publish(t)
		moved.says(string(s.set))
		s.at(moved.URL)
		if res := ask(h.p, s.good(nil)); res.StatusCode != 200 || moved.called() != 1 {
			t.Errorf("%s", res.text)
		}
	})
}

func TestKeysAtAnAddressThatCannotBeReadFailClosed(t *testing.T) {
	h := newHouse(t)
	s, site := h.signer(""), publish(t)
	s.at(site.URL)
	for name, reply := range map[string]func(w http.ResponseWriter){
		"500":           func(w http.ResponseWriter) { w.WriteHeader(500) },
		"404 with keys": func(w http.ResponseWriter) { w.WriteHeader(404); _, _ = w.Write(s.set) },
		"a redirect": func(w http.ResponseWriter) {
			w.Header().Set("Location", site.URL+"/other")
			w.WriteHeader(302)
			_, _ = w.Write(s.set)
		},
		"nothing":  func(http.ResponseWriter) {},
		"a page":   func(w http.ResponseWriter) { fmt.Fprint(w, "<html>") },
		"a list":   func(w http.ResponseWriter) { fmt.Fprint(w, "[]") },
		"no keys":  func(w http.ResponseWriter) { fmt.Fprint(w, `{"keys":[]}`) },
		"100 keys": func(w http.ResponseWriter) { fmt.Fprintf(w, `{"keys":[%s{}]}`, strings.Repeat("{},", 99)) },
		"more than 64 KiB": func(w http.ResponseWriter) {
			fmt.Fprintf(w, `{"x":"%s",%s`, strings.Repeat("x", 64<<10), string(s.set[1:]))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h.clk.Advance(keysPause)
			site.does(reply)
			ask(h.p, s.good(nil)).refuses(t, 401, codeInvalidClient)
			if site.called() != 1 {
				t.Error("it was not asked")
			}
		})
	}
	h.clk.Advance(keysPause)
	site.says(string(s.set))
	if res := ask(h.p, s.good(nil)); res.StatusCode != 200 {
		t.Fatalf("when it is back: %s", res.text)
	}
	t.Run("an outage is bridged for an hour", func(t *testing.T) {
		site.does(func(w http.ResponseWriter) { w.WriteHeader(503) })
		h.clk.Advance(keysLife - time.Second)
		if res := ask(h.p, s.good(nil)); res.StatusCode != 200 {
			t.Errorf("%s", res.text)
		}
		h.clk.Advance(time.Second)
		ask(h.p, s.good(nil)).refuses(t, 401, codeInvalidClient)
	})
	t.Run("a key that was withdrawn is dead after five minutes", func(t *testing.T) {
		h.clk.Advance(keysPause)
		site.says(string(s.set))
		if res := ask(h.p, s.good(nil)); res.StatusCode != 200 {
			t.Fatalf("%s", res.text)
		}
		site.says(`{"keys":[]}`)
		h.clk.Advance(keysFresh)
		ask(h.p, s.good(nil)).refuses(t, 401, codeInvalidClient)
	})
	t.Run("without a jwks_uri that may be called", func(t *testing.T) {
		for _, uri := range []string{"http://10.0.0.1/", "https://169.254.169.254/", "file:///etc/passwd", "https://a@b.example/"} {
			other := h.signer("")
			other.at(uri)
			ask(h.p, other.good(nil)).refuses(t, 401, codeInvalidClient)
		}
	})
}

func TestJ10_OfPublishedKeysOnlyGoodOnesAreUsed(t *testing.T) {
	h := newHouse(t)
	s := h.signer("")
	one := func(k any) string {
		b, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	good := one(jose.JSONWebKey{Key: s.ec.Public(), KeyID: "ec"})
	weak := s.rsa.PublicKey
	weak.E = 3
	others := strings.Join([]string{
		one(jose.JSONWebKey{Key: s.rsa.Public(), KeyID: "enc", Use: "enc"}), one(jose.JSONWebKey{Key: &weak, KeyID: "weak"}), one(jose.JSONWebKey{Key: []byte("0123456789abcdef"), KeyID: "oct"}),
		`{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"AAAA"}`, `{"kty":"new","kid":"n"}`, `7`, `{"kid":7}`,
	}, ",")
	for name, tc := range map[string]struct {
		set string
		ok  bool
	}{
		"one without kid, alone":          {`{"keys":[` + one(jose.JSONWebKey{Key: s.ec.Public()}) + `]}`, true},
		"one among others":                {`{"keys":[` + others + `,` + good + `]}`, true},
		"a private one":                   {`{"keys":[` + one(jose.JSONWebKey{Key: s.ec, KeyID: "ec"}) + `]}`, false},
		"a kid twice":                     {`{"keys":[` + good + `,` + good + `]}`, false},
		"its kid on a key of another use": {`{"keys":[` + good + `,` + strings.Replace(one(jose.JSONWebKey{Key: s.rsa.Public(), KeyID: "ec"}), `{`, `{"use":"enc",`, 1) + `]}`, false},
		"a shared secret":                 {`{"keys":[` + one(jose.JSONWebKey{Key: []byte(s.set), KeyID: "ec"}) + `]}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := usableKeys([]byte(tc.set))
			if err != nil {
				t.Fatal(err)
			}
			kid := "ec"
			if strings.Contains(name, "without kid") {
				kid = ""
			}
			if got := pickKey(keys, "", "ES256", kid) != nil; got != tc.ok {
				t.Errorf("%v: %t", keys, got)
			}
			for _, k := range keys {
				if pub, isRSA := k.Key.(*rsa.PublicKey); isRSA && pub.E == 3 || !k.IsPublic() {
					t.Errorf("%s is used", k.KeyID)
				}
			}
		})
	}
}
