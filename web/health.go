package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"mobileid/internal/clock"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// buckets reach from an answer out of memory to a poll that is held.
var buckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// metrics counts requests by route and class of status and times them. A route
// is its pattern, so there are as many series as there are routes.
type metrics struct {
	requests *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "mobileid_http_request_duration_seconds", Help: "Time to answer a request, by route and class of status. Polls and event streams are held on purpose.",
		Buckets: buckets,
	}, []string{"route", "code"})}
	reg.MustRegister(m.requests)
	return m
}

// classes of status, by their first digit.
var classes = [...]string{1: "1xx", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}

func (m *metrics) observe(clk clock.Clock, pattern string, next http.Handler) http.Handler {
	// A series is made when it is first needed: most routes never fail.
	var series [len(classes)]func() prometheus.Observer
	for i, class := range classes {
		series[i] = sync.OnceValue(func() prometheus.Observer { return m.requests.WithLabelValues(pattern, class) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := clk.Now()
		rec := w.(*recorder) // outermost's
		defer func() {
			class := rec.status / 100
			if class < 2 || class >= len(series) {
				class = 5 // a panic before anything was written
			}
			series[class]().Observe(clk.Now().Sub(begun).Seconds())
		}()
		next.ServeHTTP(w, r)
		if rec.status == 0 {
			rec.status = http.StatusOK // nothing was written
		}
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
