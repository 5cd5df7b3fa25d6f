package rest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"mobileid/internal/kv/kvtest"
	"mobileid/test/rig"
)

const key = "Idempotency-Key"

// R4: sixteen of the same at once are one effect and one answer.
func TestR4_TheSameRequestSixteenTimesAtOnceIsOneEffect(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u := r.User()
		v, p := r.Person()
		token := r.Token()
		for name, c := range map[string]struct {
			path string
			body map[string]any
		}{
			"a user":         {"/users", map[string]any{"externalRef": "sixteen"}},
			"an App":         {"/apps", map[string]any{"name": "Sixteen"}},
			"a prompt":       {"/authentications", map[string]any{"userId": v.ID}},
			"a registration": {"/registrations", map[string]any{"userId": u.ID, "activationCode": true}},
		} {
			got := rig.Crowd(16, func(int) string {
				a, err := r.TryREST(token, "POST", c.path, c.body, key, "k-"+strings.ReplaceAll(name, " ", "-"))
				return fmt.Sprintf("%d %s %s %v", a.Status, a.Header.Get("Location"), a.Body, err)
			})
			for _, a := range got {
				if a != got[0] || a[:3] != "201" {
					t.Fatalf("%s: %s\nand %s", name, got[0], a)
				}
			}
			if a, err := r.TryREST(token, "POST", c.path, c.body, key, "k-"+strings.ReplaceAll(name, " ", "-")); err != nil || fmt.Sprintf("%d %s %s <nil>", a.Status, a.Header.Get("Location"), a.Body) != got[0] {
				t.Errorf("%s, later: %s %v", name, a, err)
			}
		}
		r.Waiting(p) // one
		if a := r.REST("GET", "/apps", nil); len(a.JSON["items"].([]any)) != 2 {
			t.Errorf("Apps: %s", a)
		}
	})
}

func TestR4_AKeyNamesOneRequestFor24Hours(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	first := r.REST("POST", "/users", map[string]any{"externalRef": "a"}, key, "k")
	if first.Status != http.StatusCreated {
		t.Fatal(first)
	}
	for name, c := range map[string]struct {
		path string
		body any
	}{"another body": {"/users", map[string]any{"externalRef": "b"}}, "another call": {"/apps", map[string]any{"name": "a"}}, "the same in other words": {"/users", `{ "externalRef":"a"}`}} {
		if a := r.REST("POST", c.path, c.body, key, "k"); rig.Word(a, nil) != "422 idempotency_mismatch" {
			t.Errorf("%s: %s", name, a)
		}
	}
	if a := r.REST("GET", "/users", nil); len(a.JSON["items"].([]any)) != 1 {
		t.Errorf("a mismatch had an effect: %s", a)
	}
	r.Clock.Advance(24*time.Hour - time.Second)
	if a := r.REST("POST", "/users", map[string]any{"externalRef": "a"}, key, "k"); a.Body != first.Body {
		t.Errorf("within 24 hours: %s", a)
	}
	r.Clock.Advance(2 * time.Second)
	if a := r.REST("POST", "/users", map[string]any{"externalRef": "b"}, key, "k"); a.Status != http.StatusCreated || a.Text("externalRef") != "b" {
		t.Errorf("after 24 hours: %s", a)
	}
}

func TestR4_ARequestWithoutEffectLeavesItsKeyFree(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u := r.User()
	move(t, r, "/users/"+u.ID+"/lock")
	body := map[string]any{"userId": u.ID}
	if a := r.REST("POST", "/registrations", body, key, "k"); rig.Word(a, nil) != "409 user_locked" {
		t.Fatal(a)
	}
	move(t, r, "/users/"+u.ID+"/unlock")
	if a := r.REST("POST", "/registrations", body, key, "k"); a.Status != http.StatusCreated {
		t.Errorf("the same once it may: %s", a)
	}
	for name, bad := range map[string]string{"a space": "a b", "empty": "", "too long": fmt.Sprintf("%0129d", 1)} {
		a := r.REST("POST", "/users", map[string]any{"externalRef": "k" + name}, key, bad)
		if a.Status != http.StatusBadRequest || !names(a, "/"+key) {
			t.Errorf("%s: %s", name, a)
		}
	}
}

func TestR4_TheAnswerOutlivesTheShortLivedStore(t *testing.T) {
	store := kvtest.StartRedis(t)
	r := rig.Start(t, rig.Options{KV: store.URL()})
	u := r.User()
	body := map[string]any{"userId": u.ID, "activationCode": true}
	first := r.REST("POST", "/registrations", body, key, "k")
	store.CLI("FLUSHALL")
	if again := r.REST("POST", "/registrations", body, key, "k"); first.Status != http.StatusCreated || again.Body != first.Body {
		t.Errorf("first %s\nagain %s", first, again)
	}
}
