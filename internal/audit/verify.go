package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"mobileid/internal/db"
)

// Broken names the first thing that is not as it was written.
type Broken struct {
	Seq     int64  // number in the chain; 0: not in it yet
	Writer  string // and number of the record, where one is meant
	Record  int64
	Problem string
}

func (b *Broken) Error() string {
	switch {
	case b.Seq == 0:
		return fmt.Sprintf("record %d of writer %s, not in the chain yet: %s", b.Record, b.Writer, b.Problem)
	case b.Writer == "":
		return fmt.Sprintf("entry %d of the chain: %s", b.Seq, b.Problem)
	}
	return fmt.Sprintf("entry %d of the chain, record %d of writer %s: %s", b.Seq, b.Record, b.Writer, b.Problem)
}

// Report is what Verify found in order.
type Report struct {
	Sealed   int64  // entries of the chain
	Unsealed int64  // records that no sealer has linked yet
	Head     string // hex; "" while the chain is empty
	Anchors  int    // anchors that agree
}

// Verify reads every record and the whole chain, and holds them against the
// anchors. The error is a *Broken, or says that the database could not be read.
// A server may be running: anchors are taken to be older than the call. What was
// taken off a writer's end before it was linked leaves no trace.
func Verify(ctx context.Context, d *db.DB, anchors []Anchor) (Report, error) {
	v := &verifier{head: db.AuditLink{Hash: genesis()}, last: map[string]int64{}}
	var err error
	if v.anchors, err = inOrder(anchors); err != nil {
		return v.report, err
	}
	err = eachEntry(ctx, d, v.entry)
	if err == nil && len(v.anchors) > 0 {
		a := v.anchors[0]
		err = &Broken{Seq: v.head.Seq + 1, Problem: fmt.Sprintf("is missing: the chain ends before it, and entry %d was anchored at %s", a.Seq, a.At.Format(time.RFC3339))}
	}
	if err == nil {
		v.sealed, v.last = v.last, map[string]int64{}
		err = eachRecord(ctx, d, v.record)
	}
	if v.report.Sealed > 0 {
		v.report.Head = hex.EncodeToString(v.head.Hash)
	}
	return v.report, err
}

// inOrder sorts anchors of any number of files. Two that contradict each other
// are the trace of a fork: a copy of the database that went its own way.
func inOrder(anchors []Anchor) ([]Anchor, error) {
	out := slices.Clone(anchors)
	slices.SortStableFunc(out, func(a, b Anchor) int { return cmp.Compare(a.Seq, b.Seq) })
	for i := 1; i < len(out); i++ {
		if a, b := out[i-1], out[i]; a.Seq == b.Seq && a.Hash != b.Hash {
			return nil, &Broken{Seq: a.Seq, Problem: fmt.Sprintf("was anchored twice and differently, at %s and at %s: the chain forked", a.At.Format(time.RFC3339), b.At.Format(time.RFC3339))}
		}
	}
	return out, nil
}

type verifier struct {
	report  Report
	head    db.AuditLink
	anchors []Anchor         // those still ahead
	agreed  int64            // the last entry that an anchor confirmed
	last    map[string]int64 // of each writer, so far
	sealed  map[string]int64 // of each writer, in the chain
}

// entry checks the next entry of the chain and its record.
func (v *verifier) entry(e db.AuditEntry) error {
	l, r := e.AuditLink, e.Record
	want := v.head.Seq + 1
	broken := func(problem string) error {
		return &Broken{Seq: l.Seq, Writer: l.Writer, Record: l.RecordSeq, Problem: problem}
	}
	switch {
	case l.Seq != want:
		return &Broken{Seq: want, Problem: "is missing"}
	case r.Hash == nil:
		return broken("the record is missing")
	case !intact(r):
		return broken("the record was changed")
	case l.RecordSeq != v.last[l.Writer]+1:
		return broken(fmt.Sprintf("is out of order: record %d should come here", v.last[l.Writer]+1))
	case !bytes.Equal(l.Prev, v.head.Hash):
		return broken("does not follow the entry before it")
	case !bytes.Equal(l.Hash, linkHash(l.Prev, l.Seq, l.Writer, l.RecordSeq, r.Hash)):
		return broken("the record or its entry was changed")
	}
	for len(v.anchors) > 0 && v.anchors[0].Seq == l.Seq {
		a := v.anchors[0]
		if a.Hash != hex.EncodeToString(l.Hash) {
			return broken(fmt.Sprintf("is not the one that was anchored at %s; the chain was rewritten or forked after entry %d, the last that an anchor confirms", a.At.Format(time.RFC3339), v.agreed))
		}
		v.anchors, v.agreed = v.anchors[1:], l.Seq
		v.report.Anchors++
	}
	v.head = l
	v.last[l.Writer] = l.RecordSeq
	v.report.Sealed++
	return nil
}

// record checks the next record of a writer; those in the chain were read
// before, and only must not have company.
func (v *verifier) record(r db.AuditRecord) error {
	if want := v.last[r.Writer] + 1; r.Seq != want {
		return &Broken{Writer: r.Writer, Record: min(want, r.Seq), Problem: "is missing, or was put in by hand"}
	}
	v.last[r.Writer] = r.Seq
	if r.Seq <= v.sealed[r.Writer] {
		return nil
	}
	v.report.Unsealed++
	if !intact(r) {
		return &Broken{Writer: r.Writer, Record: r.Seq, Problem: "was changed"}
	}
	return nil
}

// intact reports whether the record's own hash and time are those of its body.
func intact(r db.AuditRecord) bool {
	var body struct {
		At int64 `json:"at"`
	}
	return bytes.Equal(r.Hash, Hash(r.Writer, r.Seq, []byte(r.Body))) && json.Unmarshal([]byte(r.Body), &body) == nil && body.At == r.At
}

// IsBroken reports whether err is a finding and not a failure to read.
func IsBroken(err error) bool {
	_, ok := errors.AsType[*Broken](err)
	return ok
}
