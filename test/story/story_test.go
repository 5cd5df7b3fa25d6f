// Package story tells whole stories to a whole server.
package story

import (
	"testing"

	"mobileid/test/rig"
)

func TestALoginByRedirectGivesTokensThatUserinfoTakes(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		q := r.Login(r.Browser(), u, p)
		if q.Get("iss") != r.Issuer || q.Get("state") != "st4te" {
			t.Fatalf("the answer to the client: %v", q)
		}
		a := r.Redeem(q.Get("code"))
		if a.Status != 200 {
			t.Fatalf("redeem: %s", a)
		}
		info := r.Get("/userinfo", "Authorization", "Bearer "+a.Text("access_token"))
		if info.Text("sub") != u.ID {
			t.Fatalf("userinfo: %s", info)
		}
	})
}
