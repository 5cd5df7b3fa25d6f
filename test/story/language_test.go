package story

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/view"
	"mobileid/test/rig"
)

// as reads the page as a browser does whose user reads the languages.
func as(t *testing.T, b *rig.Browser, address, languages string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if languages != "" {
		req.Header.Set("Accept-Language", languages)
	}
	res, err := b.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestTheLoginPageSpeaksAsTheClientWishesOrElseAsTheBrowserDoes(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	for _, c := range []struct{ wish, browser, lang, says string }{
		{"", "", "en", "Open your phone"},
		{"", "nb-NO,nb;q=0.9,en;q=0.5", "nb", "Ta frem telefonen"},
		{"", "fr, nn;q=0.4, es;q=0.8", "es", "Abra su teléfono"},
		{"de-AT fr", "es", "de", "Nehmen Sie Ihr Handy"},
		{"fr", "de", "de", "Nehmen Sie Ihr Handy"},
		{"en", "de", "en", "Open your phone"},
		{"fr it", "zh", "en", "Open your phone"},
		{"", "*;q=1,,;;--" + strings.Repeat("x", 300), "en", "Open your phone"},
	} {
		b := r.Browser()
		page := b.Open(r.AuthorizeURL("login_hint", u.ExternalRef, "ui_locales", c.wish, "prompt", "login"))
		body := as(t, b, page.URL.String(), c.browser)
		if !strings.Contains(body, `<html lang="`+c.lang+`"`) || !strings.Contains(body, c.says) {
			t.Errorf("ui_locales %q, Accept-Language %q: want %s, %q in\n%s", c.wish, c.browser, c.lang, c.says, body)
		}
		r.Approve(p, page.Match())
		b.Open(page.URL.String())
	}
}

func TestConsentAndLogoutSpeakToo(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	c := r.Client(node.ClientOptions{Name: "Third", ThirdParty: true, Grants: []string{"authorization_code"}, RedirectURIs: []string{rig.Callback}, Scopes: []string{"openid", "profile"}})
	b := r.Browser()
	page := b.Open(r.AuthorizeURL("client_id", c.ClientID, "scope", "openid profile", "login_hint", u.ExternalRef, "ui_locales", "es"))
	r.Approve(p, page.Match())
	page = b.Open(page.URL.String())
	if !strings.Contains(page.Body, `<html lang="es"`) || !strings.Contains(page.Body, "Ver su nombre y su perfil") {
		t.Errorf("%s", page.Answer)
	}
	r.Login(b, u, p, "prompt", "login")
	out := b.Open(r.Issuer + "/logout?" + url.Values{"ui_locales": {"nb"}}.Encode())
	if !strings.Contains(out.Body, `<html lang="nb"`) || !strings.Contains(out.Body, "Logge ut?") {
		t.Errorf("%s", out.Answer)
	}
	// A page that is English is said to be.
	if a := r.Get("/verify", "Accept-Language", "de"); !strings.Contains(a.Body, `<html lang="en"`) {
		t.Errorf("%s", a)
	}
}

func TestDiscoveryNamesTheLanguagesOfThePages(t *testing.T) {
	a := rig.Start(t, rig.Options{}).Get("/.well-known/openid-configuration")
	list, _ := a.JSON["ui_locales_supported"].([]any)
	if len(list) != len(view.Languages()) {
		t.Fatalf("%v", list)
	}
	for i, lang := range view.Languages() {
		if list[i] != lang {
			t.Errorf("%v", list)
		}
	}
}
