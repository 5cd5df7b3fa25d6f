package templates

import "time"

// Shop is what every page of the demo shop has. The shop is a relying party on
// an origin of its own; only its looks come from here.
type Shop struct {
	Page
	Name     string // of the shop
	LoggedIn string // who is logged in, shown in the header; empty when nobody is
	CSRF     string // for the logout form
}

// Product is one thing the shop has to show. Icon is mug, lamp or bag.
type Product struct{ Name, Note, Price, Icon string }

// ShopHomeView is / of the shop. Login is a link to /login, logout a POST of
// csrf to /logout.
type ShopHomeView struct {
	Shop
	Products []Product
	Notice   string // one sentence about what went wrong with the last login
	Detail   string // for a developer, such as the OAuth error code
}

// ShopAccountView is /account of the shop: what the ID token said.
type ShopAccountView struct {
	Shop
	Subject  string
	ACR      string
	AMR      []string
	AuthTime time.Time
	Txn      string
	Issuer   string
	Claims   []Param // further claims, in the order to show them
}

// Step is one command of a walk-through with a sentence about it.
type Step struct{ Title, Note, Command string }

// ShopBackchannelView is /ciba of the shop: how a backend asks for a login.
type ShopBackchannelView struct {
	Shop
	Steps []Step
}
