package templates_test

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/a-h/templ"
	"golang.org/x/net/html"

	"mobileid/templates/gallery"
)

var update = flag.Bool("update", false, "write the golden pages anew")

// hashed is the part of an asset's address that changes with its content.
var hashed = regexp.MustCompile(`(/static/[a-z]+\.)[0-9a-f]{12}(\.)`)

func render(t *testing.T, c templ.Component) string {
	t.Helper()
	var b bytes.Buffer
	if err := c.Render(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func samples(t *testing.T) []gallery.Sample {
	t.Helper()
	all, err := gallery.All()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// lines breaks a page before each tag so that a changed golden reads well.
func lines(page string) string {
	page = hashed.ReplaceAllString(page, "${1}HASH${2}")
	return strings.ReplaceAll(page, "><", ">\n<") + "\n"
}

func TestEveryPageInEveryStateIsAsItWas(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.Name, func(t *testing.T) {
			file := filepath.Join("testdata", s.Name+".html")
			got := lines(render(t, s.Page))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v (go test ./templates -update writes it)", err)
			}
			if got != string(want) {
				t.Errorf("differs from %s; look at it, then go test ./templates -update", file)
			}
		})
	}
}

// walk calls visit for each element of a page, those in noscript included.
func walk(t *testing.T, page string, visit func(n *html.Node)) {
	t.Helper()
	root, err := html.ParseWithOptions(strings.NewReader(page), html.ParseOptionEnableScripting(false))
	if err != nil {
		t.Fatal(err)
	}
	var down func(n *html.Node)
	down = func(n *html.Node) {
		if n.Type == html.ElementNode {
			visit(n)
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			down(c)
		}
	}
	down(root)
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// The policy of the server is without unsafe-inline (W1); nothing is loaded from
// elsewhere and no address is told to others (A19).
func TestA19NoPageNeedsMoreThanTheStrictPolicy(t *testing.T) {
	for _, s := range samples(t) {
		page := render(t, s.Page)
		referrer := strings.HasSuffix(s.Name, "-live")
		ids := map[string]bool{}
		walk(t, page, func(n *html.Node) {
			if id := attr(n, "id"); id != "" && ids[id] {
				t.Errorf("%s: the id %q twice", s.Name, id)
			} else {
				ids[id] = true
			}
			for _, a := range n.Attr {
				if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
					t.Errorf("%s: <%s %s>", s.Name, n.Data, a.Key)
				}
				own := strings.HasPrefix(a.Val, "/static/")
				if (a.Key == "src" || n.Data == "link" && a.Key == "href") && !own {
					t.Errorf("%s: loads %s", s.Name, a.Val)
				}
				if a.Key == "target" {
					t.Errorf("%s: opens a window", s.Name)
				}
			}
			switch n.Data {
			case "style", "iframe", "object", "embed", "base", "img":
				t.Errorf("%s: <%s>", s.Name, n.Data)
			case "script":
				if n.FirstChild != nil || attr(n, "src") == "" {
					t.Errorf("%s: inline script", s.Name)
				}
			case "meta":
				referrer = referrer || attr(n, "name") == "referrer" && attr(n, "content") == "no-referrer"
				if attr(n, "http-equiv") != "" && attr(n, "content") != "3" {
					t.Errorf("%s: meta refresh with an address", s.Name)
				}
			case "form":
				if attr(n, "method") == "post" && s.Name != "form-post" && !holdsCSRF(n) {
					t.Errorf("%s: form to %s without csrf", s.Name, attr(n, "action"))
				}
			}
		})
		if !referrer {
			t.Errorf("%s: no referrer policy", s.Name)
		}
	}
}

func holdsCSRF(form *html.Node) bool {
	for n := range form.Descendants() {
		if n.Data == "input" && attr(n, "name") == "csrf" && attr(n, "value") == "csrf-token" {
			return true
		}
	}
	return false
}
