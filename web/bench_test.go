package web

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"mobileid/internal/clock"
	"mobileid/internal/keys"

	"github.com/prometheus/client_golang/prometheus"
)

// sent takes an answer as net/http does: the header is copied, sorted and written.
type sent struct{ header http.Header }

func (s *sent) Header() http.Header         { return s.header }
func (s *sent) Write(b []byte) (int, error) { return len(b), nil }
func (s *sent) WriteHeader(int)             { _ = s.header.Clone().Write(io.Discard) }

// BenchmarkPublicKeys is what this package and the header of its answer cost, for an
// answer that is ready.
func BenchmarkPublicKeys(b *testing.B) {
	box, err := keys.NewBox(make([]byte, 32))
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(Config{Issuer: "http://localhost:8080", Box: box, Clock: clock.System{}, Machine: clock.System{}, Log: slog.New(slog.DiscardHandler),
		Metrics: prometheus.NewRegistry(), EvidenceKeys: func(context.Context) ([]byte, error) { return []byte(`{"keys":[]}`), nil }})
	if err != nil {
		b.Fatal(err)
	}
	h := s.Handler()
	r := httptest.NewRequest(http.MethodGet, "/evidence/jwks", nil)
	r.Body = http.NoBody
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(&sent{http.Header{}}, r)
	}
}
