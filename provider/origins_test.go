package provider

import (
	"sync"
	"testing"

	"mobileid/internal/db"
	"mobileid/internal/fault"
)

func TestAnOriginIsThatOfARedirectURIAsABrowserWritesIt(t *testing.T) {
	for uri, want := range map[string]string{
		"https://a.example/cb?x=1": "https://a.example", "https://a.example:8443": "https://a.example:8443", "https://a.example:443/": "https://a.example",
		"http://127.0.0.1:3000/cb": "http://127.0.0.1:3000", "http://[::1]:80/": "http://[::1]", "com.example.app:/cb": "", "": "", "%": "",
	} {
		if got := originOf(uri); got != want {
			t.Errorf("%s: %q, want %q", uri, got, want)
		}
	}
}

func TestOriginsAreReadAnewOnceAMinuteAndForAnUnknownOneEveryTwoSeconds(t *testing.T) {
	h := newHouse(t)
	allows := func(origin string) bool {
		t.Helper()
		ok, err := h.p.AllowsOrigin(t.Context(), origin)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			want := i%2 == 0
			origin := map[bool]string{true: "https://app.example.com", false: "https://shop.example.com"}[want] // of cli_app, and of cli_web, which has a secret
			if ok, err := h.p.AllowsOrigin(t.Context(), origin); ok != want || err != nil {
				t.Errorf("%s: %t, %v", origin, ok, err)
			}
		})
	}
	wg.Wait()
	h.insert(db.Client{ID: "cli_spa", Settings: db.ClientSettings{AuthMethod: methodNone, GrantTypes: []string{grantCode}, RedirectURIs: []string{"https://spa.example/"}, Scopes: []string{"openid"}}})
	if allows("https://spa.example") {
		t.Error("read anew for each who asks")
	}
	h.clk.Advance(ClientFresh)
	if !allows("https://spa.example") {
		t.Error("a new client's origin is not known after two seconds")
	}
	if err := h.db.Update(t.Context(), func(tx *db.Tx) error { return tx.DisableClient("cli_spa") }); err != nil {
		t.Fatal(err)
	}
	if !allows("https://spa.example") {
		t.Error("a known one is read anew for each who asks")
	}
	h.clk.Advance(ClientFresh)
	if allows("https://spa.example") {
		t.Error("the origin of a disabled client")
	}
	if err := h.db.Close(); err != nil {
		t.Fatal(err)
	}
	h.clk.Advance(ClientFresh)
	if ok, err := h.p.AllowsOrigin(t.Context(), "https://app.example.com"); ok || !fault.Is(err, fault.Unavailable) && asProtocol(err).status != 503 {
		t.Errorf("a store that cannot be asked: %t, %v", ok, err)
	}
}
