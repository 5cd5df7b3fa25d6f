package attacks

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

func startTyped(t *testing.T, r *rig.Rig) (u db.User, id, locator, code string) {
	t.Helper()
	u = r.User()
	a := r.REST("POST", "/registrations", map[string]any{"userId": u.ID, "activationCode": true})
	if a.Status != 201 {
		t.Fatalf("start: %s", a)
	}
	return u, a.Text("id"), a.Text("locator"), a.Text("activationCode")
}

// typeIn registers a new phone by locator and code and returns the error.
func typeIn(t *testing.T, r *rig.Rig, locator, code string) error {
	_, err := r.Phone().RegisterTyped(t.Context(), r.Issuer, locator, code)
	return err
}

// guess is the nth code that is not the right one.
func guess(code string, n int) string {
	wrong := fmt.Sprintf("%06d", n)
	if wrong == code {
		wrong = "999999"
	}
	return wrong
}

func TestD12_ALinkIsForOnePhone(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	link := r.Link(r.User())
	if _, err := r.Phone().Register(t.Context(), link); err != nil {
		t.Fatal(err)
	}
	_, err := r.Phone().Register(t.Context(), link)
	r.Refused(err, wire.ActivationFailed)
}

func TestD12_ALinkLivesThreeMinutes(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	early, late := r.Link(r.User()), r.Link(r.User())
	r.Clock.Advance(3*time.Minute - time.Millisecond)
	if _, err := r.Phone().Register(t.Context(), early); err != nil {
		t.Fatal(err)
	}
	r.Clock.Advance(time.Millisecond)
	_, err := r.Phone().Register(t.Context(), late)
	r.Refused(err, wire.ActivationFailed)
}

func TestD12_ALinkWithAnotherSecretIsRefused(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u := r.User()
	ticket, err := wire.ParseLink(r.Link(u))
	if err != nil {
		t.Fatal(err)
	}
	right := ticket.Link()
	ticket.Secret = append(wire.Secret(nil), ticket.Secret...)
	ticket.Secret[0] ^= 1
	_, err = r.Phone().Register(t.Context(), ticket.Link())
	r.Refused(err, wire.ActivationFailed)
	if _, err := r.Phone().Register(t.Context(), right); err != nil {
		t.Fatalf("a stranger's guess ended the link: %v", err)
	}
}

func TestD12_TheFifthWrongCodeEndsTheTicket(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	_, id, locator, code := startTyped(t, r)
	for n := range 5 {
		e := r.Refused(typeIn(t, r, locator, guess(code, n)), wire.ActivationFailed)
		if e.Left == nil || *e.Left != 4-n {
			t.Fatalf("wrong code %d: %+v", n+1, e)
		}
	}
	r.Refused(typeIn(t, r, locator, code), wire.ActivationFailed)
	if st := r.REST("GET", "/registrations/"+id, nil); st.Text("state") != "LOCKED" {
		t.Fatalf("the merchant is told %s", st)
	}
}

// However many guesses come at once, five are looked at: with 40 guesses of
// which the last is right, a server that counts after comparing would take it.
func TestD12_GuessesInParallelAreFiveToo(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		told := rig.Tally{}
		for range 3 {
			r.Clock.Advance(10 * time.Minute) // the address block starts anew
			_, id, locator, code := startTyped(t, r)
			got := rig.Crowd(16, func(n int) string {
				e, ok := typeIn(t, r, locator, guess(code, n)).(*wire.Error)
				if !ok || e.Code != wire.ActivationFailed {
					return "another answer"
				}
				if e.Left == nil {
					return "not looked at"
				}
				return "wrong"
			})
			for word, n := range rig.Count(got) {
				told[word] += n
			}
			if st := r.REST("GET", "/registrations/"+id, nil); st.Text("state") != "LOCKED" {
				t.Fatalf("the merchant is told %s", st)
			}
		}
		if !told.Is(rig.Tally{"wrong": 15, "not looked at": 33}) {
			t.Fatal(told)
		}
	})
}

func TestD12_AnAddressBlockHasTwentyWrongEntries(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	_, _, locator, code := startTyped(t, r)
	for n := range 20 {
		none := "AAAA" + strings.ToUpper(string(rune('A'+n))) + "2"
		r.Refused(typeIn(t, r, none, "123456"), wire.ActivationFailed)
	}
	r.Refused(typeIn(t, r, locator, code), wire.ActivationFailed)
	r.Clock.Advance(10 * time.Minute)
	_, _, locator, code = startTyped(t, r)
	if err := typeIn(t, r, locator, code); err != nil {
		t.Fatalf("ten minutes later: %v", err)
	}
}

func TestD12_RightCodesDoNotUseUpTheAddressBlock(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	for n := range 25 {
		_, _, locator, code := startTyped(t, r)
		if err := typeIn(t, r, locator, code); err != nil {
			t.Fatalf("phone %d of the office: %v", n+1, err)
		}
	}
}
