package interop_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// The pages that anybody may open are held to the rules of axe-core, in light and in
// dark: those of WCAG 2.0 to 2.2, A and AA, and what axe calls best practices.
func TestThePagesAreAccessible(t *testing.T) {
	t.Parallel()
	s := start(t)
	rules, err := os.ReadFile(filepath.Join("node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatalf("%v (run make deps)", err)
	}
	proof := loadConsents(t)
	b := open(t, true)
	for _, scheme := range []string{"light", "dark"} {
		_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []struct {
			name, at string
			prepare  func()
		}{
			{"the start", "/", nil},
			{"a registration link", "/r", nil},
			{"the reference", "/api", nil},
			{"checking evidence", "/verify", nil},
			{"evidence that was checked", "/verify", func() {
				keys, err := json.Marshal(proof.JWKS)
				if err != nil {
					t.Fatal(err)
				}
				b.eval(`(() => { document.querySelectorAll("details").forEach((d) => { d.open = true });
					document.getElementById("evidence").value = ` + quoted(proof.Good[0].Token) + `; document.getElementById("keys").value = ` + quoted(string(keys)) + `; return "" })()`)
				b.press("Check", `document.querySelector("[data-verdict=good]")?.hidden === false`)
			}},
			{"evidence that does not hold", "/verify", func() {
				b.eval(`(() => { document.getElementById("evidence").value = "x.y.z"; return "" })()`)
				b.press("Check", `document.querySelector("[data-verdict=bad]")?.hidden === false`)
			}},
		} {
			b.visit(s.Issuer + p.at)
			if p.prepare != nil {
				p.prepare()
			}
			b.eval(string(rules) + `; window.found = null; axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })
				.then((r) => { window.found = JSON.stringify(r.passes.length < 10 ? [["axe", r.passes.length + " rules passed"]] : r.violations.map((v) => [v.id, v.help, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + " " + n.failureSummary)])) }); ""`)
			b.until(`window.found !== null`)
			var found [][]any
			if err := json.Unmarshal([]byte(b.eval(`window.found`)), &found); err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				text, err := json.Marshal(f)
				if err != nil {
					t.Fatal(err)
				}
				t.Errorf("%s, %s: %s", p.name, scheme, strings.ReplaceAll(string(text), `\n`, " "))
			}
		}
	}
}
