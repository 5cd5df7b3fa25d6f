package templates_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"mobileid/static"
	"mobileid/templates"
	"mobileid/templates/gallery"
)

// site serves the login page of one interaction whose state a test changes, as
// the server does: the page, its events, and the place where it ends.
type site struct {
	mu     sync.Mutex
	view   templates.InteractionView
	change chan struct{} // closed at every change
	silent bool          // the events fail for good
}

func (s *site) set(change func(v *templates.InteractionView)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.view)
	close(s.change)
	s.change = make(chan struct{})
}

func (s *site) now() (templates.InteractionView, chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view, s.change
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "+
		"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	view, _ := s.now()
	switch {
	case strings.HasPrefix(r.URL.Path, static.Prefix):
		static.Handler().ServeHTTP(w, r)
	case r.URL.Path == "/r":
		_ = templates.Register(templates.RegisterView{}).Render(r.Context(), w)
	case strings.HasSuffix(r.URL.Path, "/finish"):
		fmt.Fprint(w, "<title>finished</title><footer></footer>")
	case strings.HasSuffix(r.URL.Path, "/events"):
		s.events(w, r)
	default:
		_ = templates.Interaction(view).Render(r.Context(), w)
	}
}

func (s *site) events(w http.ResponseWriter, r *http.Request) {
	if s.silent {
		http.Error(w, "no events", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for {
		view, change := s.now()
		var b bytes.Buffer
		_ = templates.InteractionLive(view).Render(r.Context(), &b)
		fmt.Fprintf(w, "event: live\ndata: %s\n\n", strings.ReplaceAll(b.String(), "\n", "\ndata: "))
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-change:
		}
	}
}

func browser(t *testing.T) context.Context {
	t.Helper()
	const chromium = "/usr/bin/chromium"
	if _, err := os.Stat(chromium); err != nil {
		t.Fatal("chromium is not installed: run make deps")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox,
		chromedp.DisableGPU, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, quit := chromedp.NewContext(ctx)
	t.Cleanup(quit)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// until waits for an expression of the page to be true.
func until(t *testing.T, ctx context.Context, expression string) {
	t.Helper()
	for range 400 {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		if err == nil && ok {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.documentElement.outerHTML"))
	t.Fatalf("never true: %s\n%s", expression, text)
}

func TestTheLoginPageFollowsItsStateWithoutAReload(t *testing.T) {
	ctx := browser(t)
	for _, silent := range []bool{false, true} {
		name := "by events"
		if silent {
			name = "by asking when there are no events"
		}
		t.Run(name, func(t *testing.T) {
			s := &site{view: gallery.Interaction(templates.StateWaiting), change: make(chan struct{}), silent: silent}
			server := httptest.NewServer(s)
			defer server.Close()
			defer server.CloseClientConnections()
			if err := chromedp.Do(ctx, chromedp.Navigate(server.URL+"/i/i7Qm2xKd")); err != nil {
				t.Fatal(err)
			}
			until(t, ctx, `document.querySelector("[data-countdown]").textContent !== "2:54"`)
			until(t, ctx, `(window.kept = document.getElementById("live")) !== null`)
			s.set(func(v *templates.InteractionView) { v.MatchCode = "47" })
			until(t, ctx, `document.querySelector(".match strong")?.textContent === "47"`)
			until(t, ctx, `document.getElementById("announce").textContent.includes("type this number")`)
			s.set(func(v *templates.InteractionView) { v.SecondsLeft = 20 })
			until(t, ctx, `document.querySelector(".countdown.soon") !== null && kept.isConnected === false`)
			until(t, ctx, `document.getElementById("announce").textContent.includes("30 seconds")`)
			s.set(func(v *templates.InteractionView) { v.State = templates.StateDone })
			until(t, ctx, `location.pathname === "/i/i7Qm2xKd/finish"`)
		})
	}
}

func TestTheRegistrationPageShowsOnlyCommandsThatAreSafeToPaste(t *testing.T) {
	ctx := browser(t)
	server := httptest.NewServer(&site{change: make(chan struct{})})
	defer server.Close()
	good := "u=" + server.URL + "&t=tk4mzq7wxa2b&s=Zk3vQ0nT8yWmJx1LrB5uEg&k=K9dT2mVx_w0-fLh7"
	escaped := strings.Replace(strings.Replace(good, ":", "%3A", 2), "/", "%2F", 2)
	for fragment, want := range map[string]string{
		"": "none", good: "ok", escaped: "ok",
		strings.Replace(good, server.URL, "https://evil.example", 1): "bad",
		good + "';rm -rf ~;'":                     "bad",
		good + "%27;id":                           "bad",
		good + "$(id)":                            "bad",
		good + "`id`":                             "bad",
		good + "&t=second":                        "bad",
		strings.Replace(good, "&s=", "&x=", 1):    "bad",
		good + "\u202e":                           "bad",
		"<img src=x onerror=alert(1)>" + good:     "bad",
		good + "&z=" + strings.Repeat("x", 1<<11): "bad",
	} {
		if err := chromedp.Do(ctx, chromedp.Navigate("about:blank"), chromedp.Navigate(server.URL+"/r#"+fragment)); err != nil {
			t.Fatal(err)
		}
		until(t, ctx, `document.querySelectorAll("[data-when]:not([hidden])").length === 1`)
		got, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector("[data-when]:not([hidden])").dataset.when`))
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("#%.80s is %s, want %s", fragment, got, want)
		}
		command, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.getElementById("command").textContent`))
		if err != nil {
			t.Fatal(err)
		}
		shown := ""
		if want == "ok" {
			shown = "bin/mobileid phone --state alice.json register '" + server.URL + "/r#" + fragment + "'"
		}
		if command != shown {
			t.Errorf("#%.80s shows %q", fragment, command)
		}
		until(t, ctx, `location.hash === ""`)
	}
}
