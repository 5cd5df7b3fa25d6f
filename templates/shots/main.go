// Command shots takes a picture of every page in every state, narrow and wide,
// light and dark, for people to look at:
//
//	go run ./templates/shots DIR
//
// It needs chromium. With a second argument only pages whose name starts with
// it are taken. It also fails when a page is wider than the window, when the
// browser refuses something under the policy of the real server, or when a
// control is smaller than 44 pixels.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"

	"mobileid/static"
	"mobileid/templates/gallery"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: shots DIR [PREFIX]")
		os.Exit(2)
	}
	prefix := ""
	if len(os.Args) > 2 {
		prefix = os.Args[2]
	}
	if err := run(context.Background(), os.Args[1], prefix); err != nil {
		fmt.Fprintln(os.Stderr, "shots:", err)
		os.Exit(1)
	}
}

const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

func run(ctx context.Context, dir, prefix string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	samples, err := gallery.All()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: serve(samples)}
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()
	origin := "http://" + listener.Addr().String()

	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("/usr/bin/chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("hide-scrollbars", true))
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	defer stop()
	ctx, quit := chromedp.NewContext(ctx)
	defer quit()

	var mu sync.Mutex // events come on a goroutine of their own
	var faults []error
	name := ""
	complain := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		faults = append(faults, fmt.Errorf("%s: %s", name, text))
	}
	if err := chromedp.Listen(ctx, func(event any) {
		e, ok := event.(*log.EventEntryAdded)
		// form-post is held back by the policy here so that it can be looked at.
		if ok && e.Entry.Level == log.EntryLevelError && !strings.HasPrefix(e.Entry.URL, origin+static.URL("formpost.js")) {
			complain(e.Entry.Text + " " + e.Entry.URL)
		}
	}); err != nil {
		return err
	}
	for _, width := range []int64{320, 1280} {
		for _, scheme := range []string{"light", "dark"} {
			for _, s := range samples {
				if !strings.HasPrefix(s.Name, prefix) || strings.HasSuffix(s.Name, "-live") {
					continue
				}
				mu.Lock()
				name = fmt.Sprintf("%s-%d-%s", s.Name, width, scheme)
				mu.Unlock()
				complaint, err := shoot(ctx, address(origin, s), filepath.Join(dir, name+".png"), width, scheme)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				if complaint != "" {
					complain(complaint)
				}
			}
		}
	}
	return errors.Join(faults...)
}

func address(origin string, s gallery.Sample) string {
	switch s.Fragment {
	case "":
		return origin + "/" + s.Name
	case "here": // a link is good only on its own origin
		_, fragment, _ := strings.Cut(gallery.Link, "#")
		return origin + "/" + s.Name + "#" + strings.ReplaceAll(fragment, "http://localhost:8080", origin)
	}
	return origin + "/" + s.Name + "#" + s.Fragment
}

func serve(samples []gallery.Sample) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(static.Prefix, static.Handler())
	// The pages listen for news, of which there are none, and leave when they
	// are done, which a 204 keeps them from.
	quiet := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	mux.HandleFunc("/i/{id}/events", quiet)
	mux.HandleFunc("/demo/events", quiet)
	mux.HandleFunc("/i/{id}/finish", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	})
	for _, s := range samples {
		mux.HandleFunc("/"+s.Name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Content-Security-Policy", policy)
			_ = s.Page.Render(r.Context(), w)
		})
	}
	return mux
}

// measure finds what a picture hides: sideways scrolling and small targets.
const measure = `(() => {
  const wide = document.documentElement.scrollWidth > innerWidth ? "wider than the window: " + document.documentElement.scrollWidth : "";
  const small = [...document.querySelectorAll("button, a, summary, input:not([type=hidden])")].filter((el) => {
    if (!el.checkVisibility() || el.matches(".skip")) return false;
    const box = el.getBoundingClientRect();
    return box.height < 43.9 || box.width < 43.9;
  }).map((el) => "small: " + el.textContent.trim());
  return [wide, ...small].filter(Boolean).join("; ");
})()`

func shoot(ctx context.Context, url, file string, width int64, scheme string) (complaint string, err error) {
	media := chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{
				{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
			},
		})
		return err
	})
	if err := chromedp.Do(ctx, media, chromedp.EmulateViewport(width, 720),
		chromedp.Navigate("about:blank"), chromedp.Navigate(url)); err != nil {
		return "", err
	}
	complaint, err = chromedp.Run(ctx, chromedp.Evaluate[string](measure))
	if err != nil {
		return "", err
	}
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		return "", err
	}
	return complaint, os.WriteFile(file, png, 0o644)
}
