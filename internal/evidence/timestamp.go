package evidence

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	tsp "github.com/notaryproject/tspclient-go"
)

// Media types of RFC 3161 section 3.4.
const (
	TimestampQuery = tsp.MediaTypeTimestampQuery
	TimestampReply = tsp.MediaTypeTimestampReply
)

// A Query asks a time-stamping authority (RFC 3161) to say that evidence existed.
// It holds the evidence's SHA-256 and a nonce, nothing else.
type Query struct {
	req   *tsp.Request
	token string
}

// NewQuery makes a query for the evidence.
func NewQuery(token string) (*Query, error) {
	req, err := tsp.NewRequest(tsp.RequestOptions{Content: []byte(token), HashAlgorithm: crypto.SHA256})
	if err != nil {
		return nil, fmt.Errorf("evidence: time-stamp query: %w", err)
	}
	return &Query{req, token}, nil
}

// Body is what is sent to the authority, in DER.
func (q *Query) Body() ([]byte, error) { return q.req.MarshalBinary() }

// Token reads the authority's reply and returns the time-stamp token in DER: what
// is kept. It fits the query; whether its signer is to be believed is left to those
// who verify it.
func (q *Query) Token(reply []byte) ([]byte, error) {
	var res tsp.Response
	if err := res.UnmarshalBinary(reply); err != nil {
		return nil, fmt.Errorf("evidence: time-stamp reply: %w", err)
	}
	if err := res.Validate(q.req); err != nil {
		return nil, fmt.Errorf("evidence: time-stamp reply: %w", err)
	}
	return res.TimestampToken.FullBytes, nil
}

// Stamped is when an authority says that evidence existed, give or take Accuracy.
type Stamped struct {
	At       time.Time
	Accuracy time.Duration
	By       string // the subject of the certificate that signed it
}

// VerifyTimestamp checks that the time-stamp token is for this evidence and was
// signed by an authority under one of the roots, whose certificates were valid at
// that time. The error is a *Refusal.
func VerifyTimestamp(ctx context.Context, token string, stamp []byte, roots *x509.CertPool) (Stamped, error) {
	signed, err := tsp.ParseSignedToken(stamp)
	if err != nil {
		return Stamped{}, refuse("timestamp", "it is not an RFC 3161 token")
	}
	info, err := signed.Info()
	if err != nil {
		return Stamped{}, refuse("timestamp", "it is not an RFC 3161 token")
	}
	at, err := info.Validate([]byte(token))
	if err != nil {
		return Stamped{}, refuse("timestamp", "it is not of this evidence: %v", err)
	}
	chain, err := signed.Verify(ctx, x509.VerifyOptions{Roots: roots, CurrentTime: at.Value})
	if err == nil && len(chain) == 0 {
		err = errors.New("no chain")
	}
	if err != nil {
		return Stamped{}, refuse("timestamp", "its signer is not believed: %v", err)
	}
	return Stamped{At: at.Value.UTC(), Accuracy: at.Accuracy, By: chain[0].Subject.String()}, nil
}

// Bound checks that the server's time of the evidence goes with the authority's: it
// was made before it was stamped, and within most of it.
func (s *Statement) Bound(by Stamped, most time.Duration) error {
	const slack = time.Minute // between two clocks
	switch age := by.At.Sub(s.At()); {
	case age < -by.Accuracy-slack:
		return refuse("timestamp", "it is older than the evidence says to be")
	case age > most+by.Accuracy:
		return refuse("timestamp", "it was made %s after the time that the evidence says", age.Round(time.Second))
	}
	return nil
}
