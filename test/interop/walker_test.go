package interop_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

var numberOnPage = regexp.MustCompile(`class="match"[^>]*>\s*<strong>([0-9]+)</strong>`)

// walker is a person with the plainest of browsers and a phone.
type walker struct {
	t     *testing.T
	http  *http.Client
	phone phone
}

func walk(t *testing.T, p phone) *walker {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &walker{t: t, phone: p, http: &http.Client{Jar: jar, Timeout: 30 * time.Second}}
}

// stopAt makes redirects be followed up to the first that leads to an address
// that begins so; "" begins none.
func (w *walker) stopAt(callback string) {
	w.http.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if callback != "" && strings.HasPrefix(r.URL.String(), callback) {
			return http.ErrUseLastResponse
		}
		return nil
	}
}

// get opens an address and follows redirects up to the first that leads to the
// client at callback; that one is returned.
func (w *walker) get(address, callback string) (page string, at, left *url.URL) {
	w.t.Helper()
	w.stopAt(callback)
	res, err := w.http.Get(address)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	left, err = res.Location()
	if err != nil && !errors.Is(err, http.ErrNoLocation) {
		w.t.Fatal(err)
	}
	if res.StatusCode >= 400 {
		w.t.Fatalf("GET %s: %s\n%s", address, res.Status, body)
	}
	return string(body), res.Request.URL, left
}

// login goes where a client sends the browser, answers on the phone with the
// number that the page shows, and returns the address at which the client is
// answered.
func (w *walker) login(address, callback string) *url.URL {
	w.t.Helper()
	page, at, left := w.get(address, callback)
	if left != nil {
		w.t.Fatalf("answered without a login: %s", left)
	}
	number := numberOnPage.FindStringSubmatch(page)
	if number == nil {
		w.t.Fatalf("the login page shows no number:\n%s", page)
	}
	w.phone.approve(number[1])
	page, _, left = w.get(at.String(), callback)
	if left == nil {
		w.t.Fatalf("the login page does not go on after the answer:\n%s", page)
	}
	return left
}

// cancel goes where a client sends the browser and says no on the login page. It
// returns what is at the end of the redirects, or at callback.
func (w *walker) cancel(address, callback string) *http.Response {
	w.t.Helper()
	page, at, _ := w.get(address, callback)
	_, rest, _ := strings.Cut(page, `name="csrf" value="`)
	csrf, _, found := strings.Cut(rest, `"`)
	if !found {
		w.t.Fatalf("the login page has no form:\n%s", page)
	}
	res, err := w.http.PostForm(at.String()+"/cancel", url.Values{"csrf": {csrf}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { res.Body.Close() })
	return res
}
