package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"mobileid/internal/db"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	sealEvery   = 400 * time.Millisecond
	anchorEvery = time.Minute
	sinkFor     = 5 * time.Second // what one sink may take
	leaseName   = "audit sealer"
	leaseLife   = 3 * time.Second // how long a node that died holds the others up
	// sealMost bounds one transaction: on SQLite the acts wait behind it.
	sealMost = 128
)

// Sealer links committed records into the chain and anchors its head. Any number
// of nodes may run one; a lease lets one at a time link, and the chain's own key
// refuses a second entry with the same number whatever the lease says.
type Sealer struct {
	db      *db.DB
	log     *slog.Logger
	anchors []Sink
	file    string // whose last anchor is compared at the start; "": none
	id      string

	anchored int64 // the entry anchored last
	sealed   prometheus.Counter
	failed   *prometheus.CounterVec
}

// Sink takes anchors to where whoever can write the database cannot.
type Sink interface {
	Anchor(context.Context, Anchor) error
	String() string // for the log
}

// NewSealer makes a sealer. file names the anchors' file, which is one of the
// sinks, or is "".
func NewSealer(d *db.DB, log *slog.Logger, reg prometheus.Registerer, file string, sinks ...Sink) *Sealer {
	s := &Sealer{db: d, log: log, anchors: sinks, file: file, id: db.NewID("as_"),
		sealed: prometheus.NewCounter(prometheus.CounterOpts{Name: "mobileid_audit_sealed_total", Help: "Audit records that this node linked into the chain."}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mobileid_audit_failures_total", Help: "Rounds of the audit sealer that failed, by step."}, []string{"step"})}
	for _, step := range []string{"seal", "anchor"} {
		s.failed.WithLabelValues(step)
	}
	if file != "" {
		s.anchors = append([]Sink{File{file}}, s.anchors...)
	}
	reg.MustRegister(s.sealed, s.failed)
	return s
}

// Run seals and anchors until ctx ends, and then once more: what committed
// before the stop is in the chain and anchored after it.
func (s *Sealer) Run(ctx context.Context) {
	s.compare(context.WithoutCancel(ctx))
	var anchoring sync.WaitGroup
	anchoring.Go(func() { s.keepAnchoring(ctx) }) // a sink that hangs does not hold up the chain
	tick := time.NewTicker(sealEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			s.round(ctx)
		}
	}
	anchoring.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	s.round(last)
	s.anchor(last)
	// The lease ends by itself if this fails.
	_ = s.db.Update(last, func(tx *db.Tx) error { return tx.DropLease(leaseName, s.id) })
}

// keepAnchoring anchors every minute, and soon after the start, so that no run is
// without an anchor.
func (s *Sealer) keepAnchoring(ctx context.Context) {
	for {
		wait := anchorEvery
		if s.anchored == 0 {
			wait = sealEvery
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
			s.anchor(ctx)
		}
	}
}

func (s *Sealer) round(ctx context.Context) {
	for {
		n, err := s.Seal(ctx)
		s.sealed.Add(float64(n))
		if err != nil && ctx.Err() == nil && !errors.Is(err, db.ErrClosed) {
			s.failed.WithLabelValues("seal").Inc()
			s.log.ErrorContext(ctx, "audit records not linked into the chain", "error", err)
		}
		if err != nil || n < sealMost {
			return
		}
	}
}

// Seal links up to sealMost records, and returns how many. None if another node
// does the work.
func (s *Sealer) Seal(ctx context.Context) (int, error) {
	links, marks, err := s.next(ctx)
	if err != nil || len(links) == 0 {
		return 0, err
	}
	err = s.db.Update(ctx, func(tx *db.Tx) error {
		if err := tx.TakeLease(leaseName, s.id, leaseLife); err != nil {
			return err
		}
		if err := tx.AppendAuditLinks(links); err != nil {
			return err
		}
		for _, m := range marks {
			if err := tx.SealedThrough(m.writer, m.from, m.to); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, db.ErrConflict) {
		return 0, nil // another node came first; the next round reads its work
	}
	if err != nil {
		return 0, fmt.Errorf("audit: seal: %w", err)
	}
	return len(links), nil
}

// mark is how far a writer was in the chain, and how far it is with new entries.
type mark struct {
	writer   string
	from, to int64
}

// next computes the next entries outside any transaction.
func (s *Sealer) next(ctx context.Context) (links []db.AuditLink, marks []mark, err error) {
	err = s.db.View(ctx, func(tx *db.Tx) error {
		lags, err := tx.AuditLags()
		if err != nil || len(lags) == 0 {
			return err
		}
		if free, err := tx.LeaseFree(leaseName, s.id); err != nil || !free {
			return err
		}
		head, err := tx.AuditHead()
		if errors.Is(err, db.ErrNotFound) {
			head, err = db.AuditLink{Hash: genesis()}, nil
		}
		if err != nil {
			return err
		}
		for _, lag := range lags {
			records, err := tx.AuditRecordsAfter(lag.Writer, lag.Through, sealMost-len(links))
			if err != nil {
				return err
			}
			if len(records) == 0 {
				continue
			}
			for _, r := range records {
				head = link(head, r)
				links = append(links, head)
			}
			marks = append(marks, mark{lag.Writer, lag.Through, records[len(records)-1].Seq})
			if len(links) == sealMost {
				break
			}
		}
		return nil
	})
	return links, marks, err
}

// anchor hands the head to every sink. Each node does, whoever links.
func (s *Sealer) anchor(ctx context.Context) {
	var head db.AuditLink
	var at time.Time
	err := s.db.View(ctx, func(tx *db.Tx) (err error) {
		at = tx.Now()
		head, err = tx.AuditHead()
		return err
	})
	if errors.Is(err, db.ErrNotFound) || err == nil && head.Seq == s.anchored {
		return
	}
	failed := err
	if err == nil {
		a := Anchor{At: at.UTC(), Seq: head.Seq, Hash: hex.EncodeToString(head.Hash)}
		for _, sink := range s.anchors {
			if err := hand(ctx, sink, a); err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s: %w", sink, err))
			}
		}
	}
	if failed != nil && ctx.Err() == nil {
		s.failed.WithLabelValues("anchor").Inc()
		s.log.ErrorContext(ctx, "audit chain not anchored", "error", failed)
	}
	if err == nil && ctx.Err() == nil {
		s.anchored = head.Seq
	}
}

// hand gives the sink the anchor and a while to keep it. Not every sink can be
// told to stop waiting.
func hand(ctx context.Context, sink Sink, a Anchor) error {
	ctx, cancel := context.WithTimeout(ctx, sinkFor)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- sink.Anchor(ctx, a) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// compare holds the chain against the last anchor of the file: a database that
// was put back to an earlier state is noticed by the start that follows.
func (s *Sealer) compare(ctx context.Context) {
	if s.file == "" {
		return
	}
	all, err := ReadAnchors(s.file)
	if err != nil || len(all.Anchors) == 0 {
		return // none yet; if it cannot be read, it cannot be written either, which is told
	}
	last := all.Anchors[len(all.Anchors)-1]
	err = s.db.View(ctx, func(tx *db.Tx) error {
		l, err := tx.AuditLinkAt(last.Seq)
		if err == nil && hex.EncodeToString(l.Hash) != last.Hash {
			err = db.ErrConflict
		}
		return err
	})
	if errors.Is(err, db.ErrNotFound) || errors.Is(err, db.ErrConflict) {
		s.log.ErrorContext(ctx, "the database does not hold what was anchored: it was put back to an earlier state, or its audit records were changed; see mobileid audit verify",
			"file", s.file, "seq", last.Seq, "anchored", last.At)
	}
}
