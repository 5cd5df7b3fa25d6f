package attacks

import (
	"net/url"
	"strings"
	"testing"

	"mobileid/cmd/mobileid/node"
	"mobileid/test/rig"
)

// tokensIn reports whether an answer gives the browser anything to redeem or use.
func tokensIn(to *url.URL) bool {
	all := to.Query()
	fragment, err := url.ParseQuery(to.Fragment)
	if err != nil {
		return true
	}
	for k, v := range fragment {
		all[k] = append(all[k], v...)
	}
	return all.Has("code") || all.Has("access_token") || all.Has("id_token") || all.Has("response")
}

func TestA15_A16_NoTokenComesByTheBrowserWhateverIsAskedFor(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	b := r.Browser()
	r.Login(b, u, p) // from here on a good request is answered at once
	if got := b.Open(r.AuthorizeURL()); got.Left == nil || !tokensIn(got.Left) {
		t.Fatalf("a good request: %s", got.Answer)
	}
	for _, kind := range []string{"token", "id_token", "id_token token", "code token", "code id_token", "code id_token token", "none", "CODE", "code ", " code", "code code", "code\ttoken", "code,token", "[code]"} {
		for _, mode := range []string{"", "query", "form_post"} {
			more := []string{"response_type", kind}
			if mode != "" {
				more = append(more, "response_mode", mode)
			}
			got := b.Open(r.AuthorizeURL(more...))
			switch {
			case mode == "form_post" && got.Left == nil:
				if !strings.Contains(got.Body, "unsupported_response_type") || strings.Contains(got.Body, `name="code"`) || strings.Contains(got.Body, "_token\"") {
					t.Errorf("A15 %q by form_post: %s", kind, got.Answer)
				}
			case got.Left == nil || got.Left.Query().Get("error") != "unsupported_response_type" || got.Left.Query().Get("iss") != r.Issuer || got.Left.Fragment != "" || tokensIn(got.Left):
				t.Errorf("A15 %q by %q: %v %s", kind, mode, got.Left, got.Answer)
			}
		}
	}
	for _, mode := range []string{"fragment", "web_message", "jwt", "query.jwt", "fragment.jwt", "form_post.jwt", "FORM_POST", "query ", "none", "javascript"} {
		got := b.Open(r.AuthorizeURL("response_mode", mode))
		if got.Left == nil || got.Left.Query().Get("error") != "invalid_request" || got.Left.Query().Get("iss") != r.Issuer || got.Left.Fragment != "" || tokensIn(got.Left) || got.Status != 303 {
			t.Errorf("A16 %q: %v %s", mode, got.Left, got.Answer)
		}
		// With an address that is not the client's it stays here.
		if got := b.Open(r.AuthorizeURL("response_mode", mode, "redirect_uri", "https://evil.example/")); got.Left != nil || got.Status != 400 {
			t.Errorf("A16 %q with another address: %v %s", mode, got.Left, got.Answer)
		}
	}
}

// Of two servers that a client uses, it can tell by iss which one answers: in a
// success, an error, a denial, a cancel, by redirect and by form.
func TestA13_WhoeverAnswersTheClientIsNamed(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	c := r.Client(node.ClientOptions{Name: "Other Company", Grants: []string{"authorization_code"}, ThirdParty: true, RedirectURIs: []string{rig.Callback}, Scopes: []string{"openid"}})
	at := func(more ...string) []string {
		return append([]string{"client_id", c.ClientID, "scope", "openid"}, more...)
	}
	b := r.Browser()
	named := func(name string, page rig.Page, key, want string) {
		t.Helper()
		if page.Left == nil || page.Left.Query().Get(key) == "" || want != "" && page.Left.Query().Get(key) != want || strings.Join(page.Left.Query()["iss"], " ") != r.Issuer {
			t.Errorf("%s: %v %s", name, page.Left, page.Answer)
		}
	}
	named("an error at once", b.Open(r.AuthorizeURL(at("prompt", "none")...)), "error", "login_required")
	page := b.Open(r.AuthorizeURL(at()...))
	named("a cancel on the login page", b.Submit(page.URL.String()+"/cancel", url.Values{"csrf": {page.CSRF()}}), "error", "access_denied")
	page = approved(r, b, u, p, at()...)
	asksConsent(t, page)
	named("no consent", decide(b, page, "deny"), "error", "access_denied")
	page = b.Open(r.AuthorizeURL(at()...))
	asksConsent(t, page)
	named("consent", decide(b, page, "allow"), "code", "")
	named("silently", b.Open(r.AuthorizeURL(at()...)), "code", "")
	for _, more := range [][]string{nil, {"scope", "x"}} {
		page := b.Open(r.AuthorizeURL(append(at("response_mode", "form_post"), more...)...))
		if !strings.Contains(page.Body, `name="iss" value="`+r.Issuer+`"`) {
			t.Errorf("form_post %v: %s", more, page.Body)
		}
	}
}
