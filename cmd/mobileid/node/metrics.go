package node

import (
	"context"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/operation"

	"github.com/prometheus/client_golang/prometheus"
)

// scrapeFor bounds what a scrape may ask of the database.
const scrapeFor = time.Second

var terminal = []operation.State{operation.Completed, operation.Declined, operation.Reported, operation.Locked,
	operation.Cancelled, operation.Superseded, operation.Expired}

// gauges are the numbers of /metrics that are not HTTP's. Every label has few
// values, all of them ours: nobody outside can make another series.
type gauges struct {
	started, decided, refused, tokens, kvFailed, webhooks *prometheus.CounterVec
	batch, commit                                         prometheus.Histogram
}

func newGauges(reg prometheus.Registerer) *gauges {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
		reg.MustRegister(h)
		return h
	}
	g := &gauges{
		started:  counter("mobileid_operations_started_total", "Operations started on this node, by kind.", "kind"),
		decided:  counter("mobileid_operations_decided_total", "Decisions this node made durable, by kind and state.", "kind", "state"),
		refused:  counter("mobileid_device_refusals_total", "Phones' requests that were refused, by code.", "code"),
		tokens:   counter("mobileid_tokens_issued_total", "Answers with tokens, by grant type.", "grant"),
		kvFailed: counter("mobileid_kv_errors_total", "Calls to the short-lived store that could not be carried out, by call.", "call"),
		webhooks: counter("mobileid_webhook_deliveries_total", "Attempts to deliver to webhooks, by result.", "result"),
		batch:    histogram("mobileid_db_commit_transactions", "Transactions that one commit made durable.", []float64{1, 2, 4, 8, 16, 32, 64}),
		commit:   histogram("mobileid_db_commit_duration_seconds", "Time of one commit.", []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1}),
	}
	// Series that exist from the start: a rate over one that appears with its
	// first event misses that event.
	for _, kind := range []string{operation.KindAuthentication, operation.KindSignature, operation.KindRegistration} {
		g.started.WithLabelValues(kind)
		for _, s := range terminal {
			g.decided.WithLabelValues(kind, string(s))
		}
	}
	for _, call := range []string{"create", "get", "swap", "take", "delete", "notify", "ping"} {
		g.kvFailed.WithLabelValues(call)
	}
	for _, result := range []string{delivered, failed} {
		g.webhooks.WithLabelValues(result)
	}
	return g
}

// Results of an attempt to deliver to a webhook.
const (
	delivered = "delivered"
	failed    = "failed"
)

func (g *gauges) webhookTried(ok bool) {
	result := failed
	if ok {
		result = delivered
	}
	g.webhooks.WithLabelValues(result).Inc()
}

func (g *gauges) operationStarted(kind string) { g.started.WithLabelValues(kind).Inc() }

func (g *gauges) operationDecided(kind string, s operation.State) {
	g.decided.WithLabelValues(kind, string(s)).Inc()
}

func (g *gauges) committed(transactions int, took time.Duration) {
	g.batch.Observe(float64(transactions))
	g.commit.Observe(took.Seconds())
}

// newClockOffset tells how far this node's own clock is off. Nothing goes by it
// but deadlines and durations; it is a machine that wants looking after.
func newClockOffset(d *db.DB) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mobileid_clock_offset_seconds", Help: "How far the database's clock is ahead of this node's.",
	}, func() float64 { return d.Offset().Seconds() })
}

// depth asks the database at every scrape how much waits to be told.
type depth struct {
	db             *db.DB
	read           func(*db.Tx) (items int64, overdue time.Duration, err error)
	items, overdue *prometheus.Desc
}

func newDepth(d *db.DB, name, what string, read func(*db.Tx) (int64, time.Duration, error)) *depth {
	return &depth{d, read,
		prometheus.NewDesc(name+"_items", what+" that are still to be told to somebody.", nil, nil),
		prometheus.NewDesc(name+"_overdue_seconds", "How long the oldest of them has been due.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (o *depth) Describe(ch chan<- *prometheus.Desc) { ch <- o.items; ch <- o.overdue }

// Collect implements prometheus.Collector. Without an answer there is no number.
func (o *depth) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeFor)
	defer cancel()
	var items int64
	var overdue time.Duration
	err := o.db.View(ctx, func(tx *db.Tx) (err error) {
		items, overdue, err = o.read(tx)
		return err
	})
	if err != nil {
		return
	}
	ch <- prometheus.MustNewConstMetric(o.items, prometheus.GaugeValue, float64(items))
	ch <- prometheus.MustNewConstMetric(o.overdue, prometheus.GaugeValue, overdue.Seconds())
}
