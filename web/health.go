package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

type metrics struct {
	requests *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mobileid_http_requests_total", Help: "Requests received, by route.",
	}, []string{"route"})}
	reg.MustRegister(m.requests)
	return m
}

func (m *metrics) count(pattern string, next http.Handler) http.Handler {
	c := m.requests.WithLabelValues(pattern)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.Inc()
		next.ServeHTTP(w, r)
	})
}

// AdminHandler serves the admin listener: whether the process lives, whether it
// can work (its stores answer, and it is not draining), and its metrics.
func (s *Server) AdminHandler(gather prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { tell(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		tell(w, s.ready(ctx))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(gather, promhttp.HandlerOpts{}))
	return mux
}

func (s *Server) ready(ctx context.Context) error {
	select {
	case <-s.streams.ended:
		return errors.New("draining")
	default:
	}
	if err := s.DB.Ping(ctx); err != nil {
		return errors.New("the database does not answer")
	}
	if err := s.KV.Ping(ctx); err != nil {
		return errors.New("the shared store does not answer")
	}
	return nil
}

func tell(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	text := "ok\n"
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		text = err.Error() + "\n"
	}
	_ = hungUp(second(io.WriteString(w, text)))
}

func second(_ int, err error) error { return err }
