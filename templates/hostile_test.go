package templates_test

import (
	"fmt"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/a-h/templ"
	"golang.org/x/net/html"

	"mobileid/templates"
)

// hostile are words that have got out of their place in other systems.
var hostile = []string{
	`<script>alert(1)</script>`,
	`"><img src=x onerror=alert(1)>`,
	`' onmouseover='alert(1)`,
	`" autofocus onfocus="alert(1)" x="`,
	"` onload=alert(1) `",
	`</title></textarea></noscript><svg/onload=alert(1)>`,
	`--><!-- <base href=//evil.example>`,
	`{{constructor.constructor("alert(1)")()}} ${7*7} <%= 7*7 %>`,
	"\x00<\x00script>\ufeff",
	"Acme\u202egnp.exe\u2066 \u200fBank\u2029",
	"&lt;script&gt; &#x3c;script&#x3e;",
	"\xff\xfe broken utf-8 \xc3",
	strings.Repeat("very long ", 400),
}

// filled sets every string of a view, in embedded structs and slices too, except
// those that are choices of the program. Addresses are tested on their own.
func filled[T any](v T, with string) T {
	var set func(v reflect.Value)
	set = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Struct:
			if v.Type() == reflect.TypeFor[time.Time]() {
				return
			}
			for i := range v.NumField() {
				set(v.Field(i))
			}
		case reflect.Slice:
			for i := range v.Len() {
				set(v.Index(i))
			}
		case reflect.String:
			if v.Type() == reflect.TypeFor[string]() {
				v.SetString(with)
			}
		}
	}
	set(reflect.ValueOf(&v).Elem())
	return v
}

// pages renders each kind of page with one word in every place.
func pages(word string) map[string]templ.Component {
	all := map[string]templ.Component{}
	for _, s := range []templates.InteractionState{
		templates.StateIdentify, templates.StateWaiting, templates.StateDeclined, templates.StateBlocked,
		templates.StateCancelled, templates.StateUnfit, templates.StateSuperseded, templates.StateDone, templates.InteractionState(word),
	} {
		v := filled(templates.InteractionView{State: s, CanChange: true, SecondsLeft: 9, Time: time.Unix(0, 0)}, word)
		all["login "+string(s)] = templates.Interaction(v)
		all["live "+string(s)] = templates.InteractionLive(v)
	}
	for _, s := range []templates.DemoState{
		templates.DemoStart, templates.DemoWaiting, templates.DemoCompare, templates.DemoActive, templates.DemoState(word),
	} {
		all["demo "+string(s)] = templates.Demo(filled(templates.DemoView{State: s, SecondsLeft: 9}, word))
	}
	params := []templates.Param{{Name: "x", Value: "x"}}
	all["register"] = templates.Register(filled(templates.RegisterView{}, word))
	all["error"] = templates.Error(filled(templates.ErrorView{Status: 400}, word))
	all["index"] = templates.Index(filled(templates.IndexView{}, word))
	all["consent"] = templates.Consent(filled(templates.ConsentView{Scopes: []string{""}}, word))
	all["logout"] = templates.Logout(filled(templates.LogoutView{Params: params}, word))
	all["logged out"] = templates.LoggedOut(filled(templates.LoggedOutView{}, word))
	post := filled(templates.FormPostView{Params: params}, word)
	post.Action = "https://shop.example/callback"
	all["form post"] = templates.FormPost(post)
	all["shop"] = templates.ShopHome(filled(templates.ShopHomeView{Products: []templates.Product{{}}}, word))
	all["account"] = templates.ShopAccount(filled(templates.ShopAccountView{AMR: []string{""}, Claims: params}, word))
	all["ciba"] = templates.ShopBackchannel(filled(templates.ShopBackchannelView{Steps: []templates.Step{{}}}, word))
	return all
}

// shape is the set of elements with the names of their attributes, counted.
func shape(t *testing.T, page string) []string {
	t.Helper()
	var all []string
	walk(t, page, func(n *html.Node) {
		var keys []string
		for _, a := range n.Attr {
			keys = append(keys, a.Key)
		}
		sort.Strings(keys)
		all = append(all, n.Data+" "+strings.Join(keys, ","))
	})
	return all
}

func TestW1HostileWordsAddNoElementAndNoAttribute(t *testing.T) {
	for i, word := range hostile {
		harmless := pages("word")
		for name, page := range pages(word) {
			state := strings.Replace(name, word, "word", 1)
			want := shape(t, render(t, harmless[state]))
			html := render(t, page)
			if got := shape(t, html); !reflect.DeepEqual(got, want) {
				t.Errorf("word %d in %q changes the page:\n%s\n%s", i, state, got, want)
			}
		}
	}
}

func TestNamesCannotTurnTheTextAroundThem(t *testing.T) {
	v := templates.InteractionView{
		State: templates.StateWaiting, ClientName: "Acme\u202egnp\u2066\u200f\u2029Bank\x1b[2J", Merchant: "a\u202bb", Browser: "\u2067c", Identifier: "d\u061c",
	}
	page := render(t, templates.Interaction(v))
	if i := strings.IndexAny(page, "\u202e\u202b\u2066\u2067\u200f\u061c\u2029\x1b"); i >= 0 {
		t.Errorf("the page holds %q", page[i:i+6])
	}
	if !strings.Contains(page, "<bdi>AcmegnpBank[2J</bdi>") {
		t.Error("the name is not isolated")
	}
}

// W2: an address is rendered only where a browser goes to it and nowhere else.
func TestW2NoAddressRunsAScriptOrLeavesUnasked(t *testing.T) {
	scripts := []string{
		"javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", " javascript:alert(1)", "data:text/html,x",
		"vbscript:x", "file:///etc/passwd", "https:evil.example", "https:///evil.example", "\x01https://evil.example", "https://a\\@evil.example", "",
	}
	for _, to := range scripts {
		pages := map[string]string{
			"index":      render(t, templates.Index(templates.IndexView{ShopURL: to, DemoURL: to, DiscoveryURL: to})),
			"logged out": render(t, templates.LoggedOut(templates.LoggedOutView{ContinueURL: to})),
			"form post":  render(t, templates.FormPost(templates.FormPostView{Action: to})),
			"demo":       render(t, templates.Demo(templates.DemoView{State: templates.DemoActive, NextURL: to})),
		}
		for name, page := range pages {
			walk(t, page, func(n *html.Node) {
				if n.Data == "form" || n.Data == "a" && attr(n, "class") != "skip" {
					t.Errorf("%s: %q became <%s %v>", name, to, n.Data, n.Attr)
				}
			})
		}
	}
	for _, to := range append(scripts, "//evil.example", "/\\evil.example", "/\t/evil.example", "https://evil.example", "i/x", "/%0d\r\nx") {
		page := render(t, templates.Interaction(templates.InteractionView{ID: "x", State: templates.StateDone, FinishURL: to}))
		walk(t, page, func(n *html.Node) {
			if n.Data == "a" && attr(n, "class") != "skip" || attr(n, "data-finish") != "" {
				t.Errorf("finish: %q became %v", to, n.Attr)
			}
		})
	}
	page := render(t, templates.Interaction(templates.InteractionView{ID: "../x?y#z", State: templates.StateIdentify}))
	if want := `action="/i/..%2Fx%3Fy%23z/identify"`; !strings.Contains(page, want) {
		t.Errorf("the id is not one segment of the path: no %s", want)
	}
}

func FuzzPagesKeepTheirShape(f *testing.F) {
	for _, word := range hostile {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if word == "" {
			return // an empty word leaves lines out, which is no attack
		}
		got := shape(t, render(t, templates.Error(templates.ErrorView{Status: 400, Title: word, Message: word, Detail: word})))
		want := shape(t, render(t, templates.Error(templates.ErrorView{Status: 400, Title: "x", Message: "x", Detail: "x"})))
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q changes the page", word)
		}
	})
}
