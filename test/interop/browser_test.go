package interop_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// tab is a page of a Chromium of its own. Whatever its console says while the test
// runs, refusals under the page's policy among it, fails the test.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex
	faults []string
}

// each runs fn in a browser with JavaScript and in one without.
func each(t *testing.T, fn func(t *testing.T, b *tab, scripts bool)) {
	t.Run("with JavaScript", func(t *testing.T) { t.Parallel(); fn(t, open(t, true), true) })
	t.Run("without JavaScript", func(t *testing.T) { t.Parallel(); fn(t, open(t, false), false) })
}

func open(t *testing.T, scripts bool) *tab {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is not installed: run make deps")
	}
	dir, err := os.MkdirTemp("", "mobileid-chromium-") // t.TempDir would fail if a child still writes
	if err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(dir), chromedp.NoSandbox,
		chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, quit := chromedp.NewContext(ctx)
	b := &tab{t: t}
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Logf("chromium ended with %v", err)
		}
		quit()
		stop()
		os.RemoveAll(dir)
		for _, f := range b.faults {
			t.Errorf("the browser's console: %s", f)
		}
	})
	if err := chromedp.Do(ctx); err != nil { // starts the browser, without a time limit on its life
		t.Fatal(err)
	}
	if err := chromedp.Listen(ctx, b.heard); err != nil {
		t.Fatal(err)
	}
	if !scripts {
		if _, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
			t.Fatal(err)
		}
	}
	var cancel context.CancelFunc
	b.ctx, cancel = context.WithTimeout(ctx, 4*time.Minute)
	t.Cleanup(cancel)
	return b
}

func (b *tab) heard(event any) {
	said := ""
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			said = fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		said = e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			said += " " + x.Description
		}
	case *runtime.EventConsoleAPICalled:
		said = fmt.Sprintf("console.%s %v", e.Type, e.Args)
	}
	if said != "" && b.t.Context().Err() == nil { // else the test is over and its server goes
		b.mu.Lock()
		b.faults = append(b.faults, said)
		b.mu.Unlock()
	}
}

func (b *tab) visit(address string) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, chromedp.Navigate(address)); err != nil {
		b.t.Fatalf("%s: %v", address, err)
	}
}

// quoted is s as JavaScript.
func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string is always JSON
	}
	return string(text)
}

// holds reports whether an expression is true on the page that is shown now.
func (b *tab) holds(expression string) bool {
	ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression))
	return err == nil && ok // an error is a page on its way out
}

func (b *tab) until(expression string) {
	b.t.Helper()
	b.within(20*time.Second, expression)
}

func (b *tab) within(limit time.Duration, expression string) {
	b.t.Helper()
	for deadline := time.Now().Add(limit); !b.holds(expression); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) || b.ctx.Err() != nil {
			b.t.Fatalf("not within %s: %s\n%s\n%s", limit, expression, b.eval("location.href"), b.eval("document.body.innerText"))
		}
	}
}

func (b *tab) eval(expression string) string {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return text
}

// state is an expression: the page's live region is in it.
func state(name string) string {
	return `document.getElementById("live")?.dataset.state === ` + quoted(name)
}

// text is what stands in the first element of a selector, which must come.
func (b *tab) text(selector string) string {
	b.t.Helper()
	b.until(`!!document.querySelector(` + quoted(selector) + `)`)
	return strings.TrimSpace(b.eval(`document.querySelector(` + quoted(selector) + `).textContent`))
}

// press clicks the button or link with the label by the mouse until then is
// true: a page that is loaded again by itself may swallow a click.
func (b *tab) press(label, then string) {
	b.t.Helper()
	find := `(() => {
		const all = [...document.querySelectorAll("button, a[href], summary")];
		const el = all.find((e) => e.textContent.trim() === ` + quoted(label) + ` && e.checkVisibility());
		if (!el) return "";
		el.scrollIntoView({ block: "center", behavior: "instant" });
		const r = el.getBoundingClientRect();
		return JSON.stringify([r.left + r.width / 2, r.top + r.height / 2]);
	})()`
	for deadline := time.Now().Add(20 * time.Second); ; {
		var at []float64
		where, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](find))
		if err == nil && where != "" {
			if err := json.Unmarshal([]byte(where), &at); err != nil {
				b.t.Fatal(err)
			}
			err = chromedp.Do(b.ctx, chromedp.MouseClickXY(at[0], at[1]))
		}
		for again := time.Now().Add(3 * time.Second); time.Now().Before(again) && (at != nil || time.Now().Before(deadline)); time.Sleep(20 * time.Millisecond) {
			if b.holds(then) {
				return
			}
			if at == nil {
				break
			}
		}
		if time.Now().After(deadline) || b.ctx.Err() != nil {
			b.t.Fatalf("pressed %q, but not within 20 s: %s (%v)\n%s\n%s", label, then, err, b.eval("location.href"), b.eval("document.body.innerText"))
		}
	}
}

// write types into the field by the keyboard.
func (b *tab) write(selector, what string) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, chromedp.SendKeys(chromedp.CSS(selector), what)); err != nil {
		b.t.Fatalf("%s: %v", selector, err)
	}
}
