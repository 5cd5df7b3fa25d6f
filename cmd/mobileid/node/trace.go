package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// exportFor bounds one delivery to the collector, and the last one at the end.
const exportFor = 5 * time.Second

// traces sends spans to the operator's collector. A span says which route or
// call it was, how long it took and whether it failed; it holds nothing of what
// was asked or answered: no address, no header, no error text, no id.
type traces struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	host     string // of the issuer
}

// newTraces returns nil without an endpoint: then nothing is wrapped, and
// tracing costs nothing. The collector need not be there.
func newTraces(ctx context.Context, endpoint, issuer string, log *slog.Logger) (*traces, error) {
	if endpoint == "" {
		return nil, nil
	}
	to, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	if to.Path == "" || to.Path == "/" {
		to.Path = "/v1/traces" // OTLP/HTTP's own
	}
	self, err := url.Parse(issuer)
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(to.String()), otlptracehttp.WithTimeout(exportFor),
		otlptracehttp.WithProxy(func(*http.Request) (*url.URL, error) { return nil, nil }))
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	// The library reports a collector that is away by this handler only, which is
	// one for the whole process.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces not delivered", "error", err) }))
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "mobileid"))))
	return &traces{provider: p, tracer: p.Tracer("mobileid"), host: self.Host}, nil
}

type originalKey struct{}

// route makes a span of each request to the route. The instrumentation sees a
// request of ours, with the pattern for a path and without query, headers and
// addresses: interaction ids, codes and tokens stand there.
func (t *traces) route(pattern string, next http.Handler) http.Handler {
	_, path, ok := strings.Cut(pattern, " ")
	if !ok {
		path = pattern
	}
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		original := r.Context().Value(originalKey{}).(*http.Request)
		next.ServeHTTP(w, original.WithContext(r.Context()))
	})
	h := otelhttp.NewHandler(inner, pattern, otelhttp.WithTracerProvider(t.provider), otelhttp.WithMeterProvider(metricnoop.NewMeterProvider()),
		otelhttp.WithPropagators(propagation.TraceContext{}), otelhttp.WithPublicEndpointFn(func(*http.Request) bool { return true }),
		otelhttp.WithSpanNameFormatter(func(string, *http.Request) string { return pattern }))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := &http.Request{Method: r.Method, URL: &url.URL{Path: path}, Proto: r.Proto, ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor,
			Host: t.host, Header: http.Header{}, Body: http.NoBody, Pattern: pattern}
		if parent := r.Header.Get("Traceparent"); parent != "" {
			seen.Header.Set("Traceparent", parent)
		}
		h.ServeHTTP(w, seen.WithContext(context.WithValue(r.Context(), originalKey{}, r)))
	})
}

// span is for the packages below: a span inside the one of the context. Without
// one, as in background work, there is none.
func (t *traces) span(ctx context.Context, name string) (context.Context, func(error)) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, nil
	}
	ctx, s := t.tracer.Start(ctx, name)
	return ctx, func(err error) {
		if err != nil {
			s.SetStatus(codes.Error, "") // its text is for the log
		}
		s.End()
	}
}

// close sends what is left. A collector that is away does not hold the end up.
func (t *traces) close() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), exportFor)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		otel.Handle(err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {})) // the log may be gone before the exporter's last word
	return nil
}
