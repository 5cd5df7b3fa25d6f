package web_test

import (
	"net/http"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/test/rig"
	"mobileid/web"
)

// A server that died between the effect and the answer left an id in SQL, and what
// was made under it, but no answer. The next who sends the request finishes it.
func TestR11_ARequestWhoseServerDiedIsFinishedByTheNext(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		const body = `{"externalRef":"half-made"}`
		in := db.Idempotent{ClientID: r.Backend.ClientID, Name: web.KeyName("k"), Request: web.RequestName("POST", "/users", body), ResourceID: db.NewID("usr_")}
		r.SQL(func(tx *db.Tx) error {
			_, mine, err := tx.BeginIdempotent(in, 10*time.Second, 24*time.Hour)
			if err == nil && !mine {
				t.Error("the key was taken")
			}
			return err
		})
		if _, err := r.Node.Users.AddUser(t.Context(), r.Merchant.ID, identity.NewUser{ID: in.ResourceID, ExternalRef: "half-made"}); err != nil {
			t.Fatal(err)
		}
		r.Clock.Advance(11 * time.Second) // its lease is over
		first := r.REST("POST", "/users", body, "Idempotency-Key", "k")
		if first.Status != http.StatusCreated || first.Text("id") != in.ResourceID {
			t.Fatalf("finished: %s", first)
		}
		if again := r.REST("POST", "/users", body, "Idempotency-Key", "k"); again.Body != first.Body {
			t.Errorf("again: %s", again)
		}
		if a := r.REST("GET", "/users", nil); len(a.JSON["items"].([]any)) != 1 {
			t.Errorf("two effects: %s", a)
		}
	})
}
