// Package gallery is one example of every page in every state. The golden tests
// and the screenshots are made from it, so a new state is added here once.
package gallery

import (
	"fmt"
	"time"

	"github.com/a-h/templ"

	"mobileid/templates"
)

// Sample is one page to look at.
type Sample struct {
	Name string // as a file name
	Page templ.Component
	// Fragment is what follows # in the address when it is opened.
	Fragment string
}

// at is when all examples happen.
var at = time.Date(2026, time.March, 14, 9, 26, 53, 0, time.UTC)

var page = templates.Page{Lang: "en", RequestID: "req_3kq7vx2m5d"}

// Interaction is the login page in one state, with names like those of real use.
func Interaction(state templates.InteractionState) templates.InteractionView {
	v := templates.InteractionView{
		Page:         page,
		ID:           "i7Qm2xKd",
		CSRF:         "csrf-token",
		Merchant:     "Nordlys Retail AS",
		ClientName:   "Fjord & Field",
		Browser:      "Firefox on Linux",
		Time:         at,
		State:        state,
		Identifier:   "alice",
		CanChange:    true,
		BlockedUntil: at.Add(5 * time.Minute),
		ExpiresAt:    at.Add(3 * time.Minute),
		SecondsLeft:  174,
		FinishURL:    "/i/i7Qm2xKd/finish",
	}
	if state == templates.StateDeclined {
		v.BlockedUntil = time.Time{} // it was declined just now; see login-declined-again
	}
	return v
}

// Link is a registration link as the server makes it.
const Link = "http://localhost:8080/r#u=http://localhost:8080&t=tk4mzq7wxa2b&s=Zk3vQ0nT8yWmJx1LrB5uEg&k=K9dT2mVxYw0QfLh7sN4cRpAz8uJe1GbXoI6tHvMkSdE"

// Demo is the registration page in one state.
func Demo(state templates.DemoState) (templates.DemoView, error) {
	code, err := templates.QR(Link)
	if err != nil {
		return templates.DemoView{}, fmt.Errorf("gallery: %w", err)
	}
	v := templates.DemoView{
		Page:         page,
		Path:         "/demo",
		CSRF:         "csrf-token",
		ID:           "op_4mzq7wxa2b",
		UserName:     "alice",
		State:        state,
		Link:         Link,
		QR:           code,
		Locator:      "K7M2QX",
		Code:         "482913",
		LinkCommand:  "bin/mobileid phone --state alice.json register '" + Link + "'",
		CodeCommand:  "bin/mobileid phone --state alice.json --server http://localhost:8080 register K7M2QX 482913",
		CommitDigits: "48159263",
		Device:       "alice's laptop",
		SecondsLeft:  141,
		NextURL:      "http://localhost:8081/",
	}
	if state == templates.DemoStart {
		v.ID, v.SecondsLeft = "", 0
	}
	return v, nil
}

// All is every page in every state.
func All() ([]Sample, error) {
	var all []Sample
	add := func(name string, c templ.Component) { all = append(all, Sample{Name: name, Page: c}) }

	for _, s := range []templates.InteractionState{
		templates.StateIdentify, templates.StateWaiting, templates.StateDeclined, templates.StateReported,
		templates.StateExpired, templates.StateLocked, templates.StateBlocked, templates.StateNoDevice,
		templates.StateUnavailable, templates.StateCancelled, templates.StateUnfit, templates.StateSuperseded, templates.StateDone,
	} {
		add("login-"+string(s), templates.Interaction(Interaction(s)))
	}
	match := Interaction(templates.StateWaiting)
	match.MatchCode, match.Approves = "47", true
	add("login-waiting-match", templates.Interaction(match))
	add("login-live", templates.InteractionLive(match))
	again := Interaction(templates.StateDeclined)
	again.BlockedUntil = at.Add(30 * time.Second)
	add("login-declined-again", templates.Interaction(again))
	wrong := Interaction(templates.StateIdentify)
	wrong.Identifier, wrong.BadName = "userId:", true
	add("login-identify-fault", templates.Interaction(wrong))
	for _, lang := range []string{"nb", "de", "es"} {
		for _, c := range []struct {
			name string
			view templates.InteractionView
		}{{"waiting-match", match}, {"identify-fault", wrong}, {"declined-again", again}, {"blocked", Interaction(templates.StateBlocked)},
			{"reported", Interaction(templates.StateReported)}, {"superseded", Interaction(templates.StateSuperseded)}} {
			c.view.Lang = lang
			add("login-"+c.name+"-"+lang, templates.Interaction(c.view))
		}
		there := templates.Page{Lang: lang, RequestID: page.RequestID}
		add("consent-"+lang, consent(there))
		add("logout-"+lang, templates.Logout(templates.LogoutView{Page: there, CSRF: "csrf-token", ClientName: "Fjord & Field"}))
		add("logged-out-"+lang, templates.LoggedOut(templates.LoggedOutView{Page: there, ClientName: "Fjord & Field"}))
	}

	for _, s := range []templates.DemoState{
		templates.DemoStart, templates.DemoWaiting, templates.DemoCompare, templates.DemoActive,
		templates.DemoRefused, templates.DemoExpired, templates.DemoUnavailable,
	} {
		v, err := Demo(s)
		if err != nil {
			return nil, err
		}
		add("demo-"+string(s), templates.Demo(v))
		if s == templates.DemoCompare {
			add("demo-live", templates.DemoLive(v))
		}
	}

	register := templates.Register(templates.RegisterView{Page: page})
	all = append(all, Sample{Name: "register", Page: register, Fragment: "here"})
	all = append(all, Sample{Name: "register-bad", Page: register, Fragment: "t=';rm -rf ~;'"})
	add("register-none", register)

	add("verify", templates.Verify(templates.VerifyView{Page: page, Issuer: "http://localhost:8080"}))
	add("error", templates.Error(templates.ErrorView{
		Page: page, Status: 400, Title: "This login cannot start",
		Message: "The site that sent you here asked for something we cannot do.",
		Detail:  "invalid_request: redirect_uri is not registered",
	}))
	add("error-bare", templates.Error(templates.ErrorView{Page: page, Status: 500}))
	add("index", templates.Index(templates.IndexView{
		Page: page, Issuer: "http://localhost:8080",
		DiscoveryURL: "http://localhost:8080/.well-known/openid-configuration",
		ShopURL:      "http://localhost:8081/", DemoURL: "http://localhost:8080/demo",
	}))
	add("consent", consent(page))
	add("logout", templates.Logout(templates.LogoutView{
		Page: page, CSRF: "csrf-token", ClientName: "Fjord & Field", Params: []templates.Param{{Name: "state", Value: "s\"1"}},
	}))
	add("logout-unknown", templates.Logout(templates.LogoutView{Page: page, CSRF: "csrf-token"}))
	add("logged-out", templates.LoggedOut(templates.LoggedOutView{
		Page: page, ClientName: "Fjord & Field", ContinueURL: "http://localhost:8081/",
	}))
	add("form-post", templates.FormPost(templates.FormPostView{
		Page: page, Action: "http://localhost:8081/callback", ClientName: "Fjord & Field",
		Params: []templates.Param{{Name: "code", Value: "mid_ac_x"}, {Name: "state", Value: "s\"1"}, {Name: "iss", Value: "http://localhost:8080"}},
	}))
	return append(all, shop()...), nil
}

func consent(page templates.Page) templ.Component {
	return templates.Consent(templates.ConsentView{
		Page: page, ID: "c7Qm2xKd", CSRF: "csrf-token", Merchant: "Nordlys Retail AS", ClientName: "Fjord & Field", UserName: "alice",
		Scopes: []string{"openid", "profile", "email", "address", "phone", "offline_access", "orders:read"},
	})
}

func shop() []Sample {
	guest := templates.Shop{Page: page, Name: "Fjord & Field"}
	alice := guest
	alice.LoggedIn, alice.CSRF = "alice", "csrf-token"
	products := []templates.Product{
		{Name: "Morning mug", Note: "Stoneware, holds one good idea.", Price: "€24", Icon: "mug"},
		{Name: "Reading lamp", Note: "Warm light, no notifications.", Price: "€89", Icon: "lamp"},
		{Name: "Market bag", Note: "Canvas, carries a week of bread.", Price: "€32", Icon: "bag"},
	}
	return []Sample{
		{Name: "shop-home", Page: templates.ShopHome(templates.ShopHomeView{Shop: guest, Products: products})},
		{Name: "shop-home-notice", Page: templates.ShopHome(templates.ShopHomeView{
			Shop: guest, Products: products, Notice: "You said no on your phone.", Detail: "access_denied",
		})},
		{Name: "shop-home-in", Page: templates.ShopHome(templates.ShopHomeView{Shop: alice, Products: products})},
		{Name: "shop-account", Page: templates.ShopAccount(templates.ShopAccountView{
			Shop: alice, Subject: "usr_2c5q7kx3m4n6p8r9s2t4v6w8xy", ACR: "urn:mobileid:acr:web",
			AMR: []string{"pop", "swk", "pin", "mfa", "mca"}, AuthTime: at, Txn: "op_4mzq7wxa2b5c6d7e2f3g4h5j6k",
			Issuer: "http://localhost:8080", Claims: []templates.Param{{Name: "nonce", Value: "checked"}},
		})},
		{Name: "shop-ciba", Page: templates.ShopBackchannel(templates.ShopBackchannelView{Shop: guest, Steps: []templates.Step{
			{Title: "Ask for the login", Note: "Name the user and say what it is about. The answer holds auth_req_id.",
				Command: "curl -s -u demo-backend:secret http://localhost:8080/bc-authorize \\\n  -d scope=openid -d login_hint=alice -d binding_message=Order-4711"},
			{Title: "Answer on the phone", Note: "The phone shows who asks and the message.",
				Command: "bin/mobileid phone --state alice.json watch --approve --pin"},
			{Title: "Fetch the tokens", Note: "The request waits up to 25 seconds for the answer.",
				Command: "curl -s -u demo-backend:secret http://localhost:8080/token \\\n  -d grant_type=urn:openid:params:grant-type:ciba -d auth_req_id=…"},
		}})},
	}
}
