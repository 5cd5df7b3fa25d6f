package evidence

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"mobileid/internal/evidence/tsatest"
)

// stamped is the authority's time stamp over the evidence.
func stamped(t *testing.T, a *tsatest.Authority, token string) []byte {
	t.Helper()
	q, err := NewQuery(token)
	if err != nil {
		t.Fatal(err)
	}
	body, err := q.Body()
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(a.URL, TimestampQuery, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	reply, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	stamp, err := q.Token(reply)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := NewQuery(token); err != nil {
		t.Fatal(err)
	} else if _, err := other.Token(reply); err == nil {
		t.Error("a reply to another query is taken")
	}
	return stamp
}

func TestATimestampOfOpenSSLBindsEvidenceToATime(t *testing.T) {
	v, set := load(t)
	a, other := tsatest.Start(t), tsatest.Start(t)
	token := v.Good[0].Token
	began := time.Now().Truncate(time.Second)
	stamp := stamped(t, a, token)
	at, err := VerifyTimestamp(t.Context(), token, stamp, a.Roots)
	if err != nil || at.At.Before(began) || at.Accuracy != time.Second || !strings.Contains(at.By, "Test TSA") {
		t.Fatalf("%+v, %v", at, err)
	}
	refused := func(name string, err error) {
		t.Helper()
		if r, ok := errors.AsType[*Refusal](err); !ok || r.Part != "timestamp" {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = VerifyTimestamp(t.Context(), v.Good[1].Token, stamp, a.Roots)
	refused("of other evidence", err)
	_, err = VerifyTimestamp(t.Context(), token, stamp, other.Roots)
	refused("by another authority", err)
	for i := 0; i < len(stamp); i += 7 {
		changed := bytes.Clone(stamp)
		changed[i] ^= 1
		if got, err := VerifyTimestamp(t.Context(), token, changed, a.Roots); err == nil && !got.At.Equal(at.At) {
			t.Errorf("byte %d changed: another time is taken", i)
		}
	}
	s, err := Verify(token, set, Expect{})
	if err != nil {
		t.Fatal(err)
	}
	said := s.At()
	if err := s.Bound(Stamped{At: said.Add(5 * time.Second)}, time.Hour); err != nil {
		t.Error(err)
	}
	refused("stamped before it was made", s.Bound(Stamped{At: said.Add(-2 * time.Minute)}, time.Hour))
	refused("stamped long after", s.Bound(Stamped{At: said.Add(2 * time.Hour)}, time.Hour))
}
