package static

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

var names = []string{"base.css", "pages.css", "shop.css", "live.js", "copy.js", "register.js", "verify.js", "formpost.js", "icon.svg"}

func get(t *testing.T, method, url, accept string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, "http://localhost"+url, nil)
	if accept != "" {
		r.Header.Set("Accept-Encoding", accept)
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func TestEveryAssetHasAHashedAddressAndIsKeptForGood(t *testing.T) {
	if got := len(load().byName); got != len(names) {
		t.Errorf("%d assets are embedded, the test knows %d", got, len(names))
	}
	form := regexp.MustCompile(`^/static/[a-z]+\.[0-9a-f]{12}\.(css|js|svg)$`)
	for _, name := range names {
		url := URL(name)
		if !form.MatchString(url) {
			t.Errorf("%s is at %s", name, url)
		}
		res := get(t, http.MethodGet, url, "")
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != 200 || string(body) != string(load().byName[name].plain) {
			t.Errorf("%s: status %d, %d bytes", name, res.StatusCode, len(body))
		}
		if got := res.Header.Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
			t.Errorf("%s: Cache-Control %q", name, got)
		}
		if res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: may be sniffed", name)
		}
	}
}

func TestCompressionIsUsedOnlyWhereItIsAccepted(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "gzip": true, "br, gzip": true, "GZIP;q=0.5": true, "gzip;q=0": false, "gzip; q=0.0": false, "br": false, "gzip;q=x": false,
	} {
		res := get(t, http.MethodGet, URL("base.css"), accept)
		if got := res.Header.Get("Content-Encoding") == "gzip"; got != want {
			t.Errorf("Accept-Encoding %q: gzip is %v, want %v", accept, got, want)
		}
		if want {
			z, err := gzip.NewReader(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if body, _ := io.ReadAll(z); string(body) != string(load().byName["base.css"].plain) {
				t.Errorf("Accept-Encoding %q: other bytes", accept)
			}
		}
	}
}

func TestWhatIsNotAnAssetIsNotServed(t *testing.T) {
	for _, url := range []string{
		"/static/", "/static/base.css", "/static/base.000000000000.css", "/static/../static.go",
		"/static/assets/base.css", strings.ToUpper(URL("base.css")),
	} {
		res := get(t, http.MethodGet, url, "")
		if res.StatusCode != http.StatusNotFound || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: status %d, Cache-Control %q", url, res.StatusCode, res.Header.Get("Cache-Control"))
		}
	}
	if res := get(t, http.MethodPost, URL("base.css"), ""); res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: status %d", res.StatusCode)
	}
	res := get(t, http.MethodHead, URL("base.css"), "")
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 200 || len(body) != 0 {
		t.Errorf("HEAD: status %d, %d bytes", res.StatusCode, len(body))
	}
}

func TestAnUnknownNameIsAMistakeInTheProgram(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("URL of an unknown name did not panic")
		}
	}()
	URL("nothing.css")
}

// The style sheets fetch nothing, from us or from anyone (A19).
func TestStyleSheetsAndScriptsLoadNothingFromElsewhere(t *testing.T) {
	for _, name := range names {
		text := string(load().byName[name].plain)
		for _, word := range []string{"url(", "@import", "https://", "//cdn", "eval(", "innerHTML", "document.write"} {
			if strings.Contains(text, word) {
				t.Errorf("%s holds %q", name, word)
			}
		}
	}
}
