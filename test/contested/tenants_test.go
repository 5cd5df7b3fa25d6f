package contested

import (
	"bytes"
	"net/url"
	"testing"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/identity"
	"mobileid/test/rig"
)

// neighbour is the same server as another merchant has it, with clients of the
// same names.
func neighbour(t *testing.T, r *rig.Rig, name string) *rig.Rig {
	t.Helper()
	out := *r
	var err error
	if out.Merchant, out.App, err = r.Node.CreateMerchant(t.Context(), name, identity.Policy{}); err != nil {
		t.Fatal(err)
	}
	out.Web = out.Client(node.ClientOptions{Name: "Acme Shop", Grants: []string{"authorization_code", "refresh_token"},
		RedirectURIs: []string{rig.Callback}, Scopes: []string{"openid", "offline_access"}})
	out.Backend = out.Client(node.ClientOptions{Name: "Acme Backend", Binding: "trusted", RevealUnknownUser: true,
		Grants: []string{"client_credentials", "urn:openid:params:grant-type:ciba"}, Scopes: []string{"openid", "mobileid.users", "mobileid.devices"}})
	return &out
}

// R12: what one merchant, client or scope has is never another's, whatever was
// asked for a moment before. Behind some of it stand two checks, each of which
// refuses another merchant alone: a poll meets the comparison of the clients and then
// the issuing transaction, which compares the merchants; a registration meets the
// comparison of the merchants and then, where the user has a phone, the proof that a
// further one needs. So the test also asks as another client of the same merchant,
// and for a user without a phone: there only the first check is left.
func TestR12_MerchantsClientsAndScopesAreNotMixedUp(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		other := neighbour(t, r, "Umbrella")
		sides := []*rig.Rig{r, other}
		siblings := make([]node.NewClient, len(sides)) // of the same merchant
		for i, side := range sides {
			siblings[i] = side.Client(node.ClientOptions{Name: "Acme Call Centre", Binding: "trusted", Grants: []string{"urn:openid:params:grant-type:ciba"}, Scopes: []string{"openid"}})
		}
		const ref = "bob@example.com" // of both
		for range 2 {
			ids := make([]string, len(sides))
			for i, side := range sides {
				u, err := side.Node.Users.Resolve(t.Context(), side.Merchant.ID, identity.Hint{ExternalRef: ref})
				if err != nil {
					if u, err = side.Node.Users.CreateUser(t.Context(), side.Merchant.ID, ref, nil); err != nil {
						t.Fatal(err)
					}
				}
				p := side.Registered(u)
				ids[i] = side.Ask(side.Backend, u).Text("auth_req_id")
				op := side.Waiting(p)
				if !bytes.Contains(op.View, []byte(side.Merchant.Name)) || op.ClientID != side.Backend.ClientID {
					t.Fatalf("the phone of %s's user is shown %s for client %s", side.Merchant.Name, op.View, op.ClientID)
				}
				side.Approve(p, "")
			}
			for i, side := range sides {
				stranger := sides[1-i]
				if a := stranger.Poll(stranger.Backend, ids[i]); rig.Word(a, nil) != "400 invalid_grant" {
					t.Fatalf("another merchant's client polls: %s", a)
				}
				if a := side.Poll(siblings[i], ids[i]); rig.Word(a, nil) != "400 invalid_grant" {
					t.Fatalf("another client of the merchant polls: %s", a)
				}
				if a := side.Poll(side.Backend, ids[i]); a.Status != 200 {
					t.Fatalf("its own client polls after that: %s", a)
				}
			}
		}

		// A browser that is logged in at one merchant is not at the other.
		u, p := r.Person()
		b := r.Browser()
		tokens := r.Redeem(r.Login(b, u, p).Get("code"))
		at := b.Open(other.AuthorizeURL("prompt", "none"))
		if at.Left == nil || at.Left.Query().Get("error") != "login_required" {
			t.Fatalf("a session of another merchant's: %s %v", at.Answer, at.Left)
		}
		for _, stranger := range []node.NewClient{other.Web, siblings[0]} {
			for _, kind := range []string{"access_token", "refresh_token"} {
				token := url.Values{"token": {tokens.Text(kind)}}
				if a := r.Post("/introspect", stranger, token); a.Status != 200 || a.JSON["active"] != false {
					t.Fatalf("another client introspects the %s: %s", kind, a)
				}
				r.Post("/revoke", stranger, token)
				if a := r.Post("/introspect", r.Web, token); a.JSON["active"] != true {
					t.Fatalf("after another client revoked the %s: %s", kind, a)
				}
			}
		}
		if a := r.Get("/userinfo", "Authorization", "Bearer "+tokens.Text("access_token")); a.Status != 200 {
			t.Fatalf("after other clients revoked it: %s", a)
		}

		// Registrations are their merchant's, and a token is good for its scope only.
		reg := r.REST("POST", "/registrations", map[string]any{"userId": u.ID, "proofing": map[string]any{"reference": "case-1"}})
		path := "/registrations/" + reg.Text("id")
		if a := other.REST("GET", path, nil); a.Status != 404 {
			t.Fatalf("another merchant's registration: %s", a)
		}
		if a := r.REST("GET", path, nil); a.Status != 200 {
			t.Fatalf("its own: %s", a)
		}
		for name, user := range map[string]string{"with a phone": u.ID, "without a phone": r.User().ID} {
			if a := other.REST("POST", "/registrations", map[string]any{"userId": user}); a.Status != 404 {
				t.Fatalf("a phone for another merchant's user %s: %s", name, a)
			}
		}
		narrow := r.Post("/token", r.Backend, url.Values{"grant_type": {"client_credentials"}, "scope": {"mobileid.users"}}).Text("access_token")
		if a := r.Get("/api/v1"+path, "Authorization", "Bearer "+narrow); a.Status != 403 {
			t.Fatalf("a token without the scope: %s", a)
		}
	})
}
