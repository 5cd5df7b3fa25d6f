package interop_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// consents are the evidence vectors.
type consents struct {
	JWKS json.RawMessage `json:"jwks"`
	Good []struct {
		Name, Token, Hash string
		DeviceKey         string `json:"device_key"`
		Claims            object
	}
	Bad []struct{ Name, Part, Token string }
}

func loadConsents(t *testing.T) (v consents) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "sdk", "vectors", "evidence.json"))
	if err == nil {
		err = json.Unmarshal(raw, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestJoseVerifiesEvidenceAndRefusesEachFlippedField(t *testing.T) {
	t.Parallel()
	v := loadConsents(t)
	tokens := []string{}
	for _, g := range v.Good {
		tokens = append(tokens, g.Token)
	}
	for _, b := range v.Bad {
		tokens = append(tokens, b.Token)
	}
	in, err := json.Marshal(map[string]any{"jwks": v.JWKS, "tokens": tokens})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "evidence.mjs")
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v (run make deps): %s", err, &stderr)
	}
	lines := json.NewDecoder(bytes.NewReader(out))
	type verdict struct {
		Part, DeviceKey, Hash string
		Claims                object
	}
	for _, g := range v.Good {
		var got verdict
		if err := lines.Decode(&got); err != nil || got.Part != "" || got.Hash != g.Hash || got.DeviceKey != g.DeviceKey || text(got.Claims, "txn") != text(g.Claims, "txn") {
			t.Errorf("%s: %+v, %v", g.Name, got, err)
		}
	}
	for _, b := range v.Bad {
		var got verdict
		if err := lines.Decode(&got); err != nil || got.Part != b.Part {
			t.Errorf("%s: %+v, %v, want %s", b.Name, got, err, b.Part)
		}
	}
}

// paste puts text into the field as a person would, and presses Check.
func (b *tab) paste(evidence, keys string) {
	b.t.Helper()
	b.eval(`(() => {
		document.getElementById("evidence").value = ` + quoted(evidence) + `;
		document.getElementById("keys").value = ` + quoted(keys) + `;
		for (const part of document.querySelectorAll("[data-verdict]")) part.hidden = true;
		return "";
	})()`)
	b.press("Check", `!!document.querySelector("[data-verdict=good]:not([hidden]), [data-verdict=bad]:not([hidden])")`)
}

func TestTheBrowserChecksEvidenceByItself(t *testing.T) {
	t.Parallel()
	s := start(t)
	v := loadConsents(t)
	b := open(t, true)
	b.visit(s.Issuer + "/verify")
	b.until(`!document.getElementById("check").hidden`)
	for _, g := range v.Good {
		b.paste(g.Token, string(v.JWKS))
		b.until(`!document.querySelector("[data-verdict=good]").hidden`)
		for fill, want := range map[string]string{"who": text(g.Claims, "sub"), "server": "https://id.example", "key": g.DeviceKey, "hash": g.Hash, "operation": "op_1", "content": text(g.Claims, "content")} {
			if got := b.eval(`document.querySelector("[data-fill=` + fill + `]").textContent`); got != want {
				t.Errorf("%s: %s is %q, want %q", g.Name, fill, got, want)
			}
		}
		if got := b.eval(`[...document.querySelectorAll("[data-factor]:not([hidden])")].map((e) => e.dataset.factor).join(" ")`); got != "pos:swk kno:pin" {
			t.Errorf("%s: factors %s", g.Name, got)
		}
		if got := b.eval(`document.querySelector("#shown h3").textContent`); got != "Sign the lease" {
			t.Errorf("%s: shows %q", g.Name, got)
		}
	}
	// All that are changed, by the script itself: a page that is pressed ninety
	// times would test the mouse.
	for i, bad := range v.Bad {
		if bad.Token == "" {
			continue // asks for evidence instead
		}
		b.eval(`(() => {
			document.getElementById("evidence").value = ` + quoted(bad.Token) + `;
			document.querySelector("[data-fill=part]").textContent = "";
			document.getElementById("check").requestSubmit();
			return "";
		})()`)
		b.until(`document.querySelector("[data-verdict=busy]").hidden && document.querySelector("[data-fill=part]").textContent !== ""`)
		if got := b.eval(`document.querySelector("[data-verdict=bad]:not([hidden]) [data-fill=part]").textContent`); got != bad.Part {
			t.Errorf("%d %s: refuses %s, want %s", i, bad.Name, got, bad.Part)
		}
		if b.holds(`!document.querySelector("[data-verdict=good]").hidden`) {
			t.Errorf("%s: is shown as good", bad.Name)
		}
	}
	// With the field empty, this server's own keys are fetched: not these.
	b.paste(v.Good[0].Token, "")
	if got := b.eval(`document.querySelector("[data-fill=part]").textContent`); got != "kid" {
		t.Errorf("by this server's keys: %s", got)
	}
	// Good evidence fits every window, and needs no mouse.
	for _, width := range []int64{320, 768, 1280} {
		if err := chromedp.Do(b.ctx, chromedp.EmulateViewport(width, 800)); err != nil {
			t.Fatal(err)
		}
		b.eval(`(() => {
			document.querySelector("[data-verdict=good]").hidden = true;
			document.getElementById("keys").value = ` + quoted(string(v.JWKS)) + `;
			document.getElementById("evidence").value = ` + quoted(v.Good[0].Token) + `;
			document.getElementById("evidence").focus();
			return "";
		})()`)
		for _, at := range []string{"file", "SUMMARY", "BUTTON"} {
			if err := chromedp.Do(b.ctx, chromedp.KeyEvent(kb.Tab)); err != nil {
				t.Fatal(err)
			}
			if got := b.eval(`document.activeElement.id || document.activeElement.tagName`); got != at {
				t.Errorf("%d: the next by keyboard is %s, want %s", width, got, at)
			}
		}
		if err := chromedp.Do(b.ctx, chromedp.KeyEvent(kb.Enter)); err != nil {
			t.Fatal(err)
		}
		b.until(`!document.querySelector("[data-verdict=good]").hidden && document.activeElement.id === "result"`)
		if b.holds(`document.documentElement.scrollWidth > document.documentElement.clientWidth`) {
			t.Errorf("the page is wider than a window of %d", width)
		}
	}
}

func TestWithoutJavaScriptThePageForEvidenceSaysSo(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := open(t, false)
	b.visit(s.Issuer + "/verify")
	res, err := (&http.Client{Timeout: 10 * time.Second}).Get(s.Issuer + "/verify")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil || !bytes.Contains(page, []byte("<noscript>")) || !bytes.Contains(page, []byte("JavaScript is off")) {
		t.Errorf("%v: %s", err, page)
	}
	if !b.holds(`document.getElementById("check").checkVisibility() === false && document.body.innerText.includes("JavaScript is off")`) {
		t.Errorf("the page shows: %s", b.eval("document.body.innerText"))
	}
}
