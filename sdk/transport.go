package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"mobileid/sdk/wire"
)

// maxReply bounds what the phone reads of any answer.
const maxReply = 1 << 20

// serverNow is the server's time as far as the phone knows it: the key set and
// a clock error tell it, so the phone's own clock may be wrong by any amount.
func (p *Phone) serverNow() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Now().Add(p.skew)
}

func (p *Phone) learnTime(server int64) {
	if d := time.Unix(server, 0).Sub(p.Now()); server > 0 {
		p.mu.Lock()
		p.skew = d
		p.mu.Unlock()
	}
}

func (p *Phone) random(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(p.Rand, b); err != nil {
		return nil, fmt.Errorf("phone: random: %w", err)
	}
	return b, nil
}

func (p *Phone) token() (string, error) {
	b, err := p.random(16)
	return wire.Encode(b), err
}

// keySet returns the server's keys, from memory while they last. An empty pin
// is for typed registration only; the thumbprint that came is returned.
func (p *Phone) keySet(ctx context.Context, origin, pin string, fresh bool) (*wire.KeySet, string, error) {
	now := p.serverNow().Unix()
	p.mu.Lock()
	set, have := p.set, p.pin
	p.mu.Unlock()
	if !fresh && set != nil && set.Iss == origin && have == pin && now+5 < set.Exp {
		return set, have, nil
	}
	c, err := p.token()
	if err != nil {
		return nil, "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, origin+"/mid/v1/keys?c="+url.QueryEscape(c), nil)
	if err != nil {
		return nil, "", err
	}
	body, err := p.roundTrip(req)
	if err != nil {
		return nil, "", err
	}
	set, pinned, err := wire.OpenKeySet(string(body), origin, pin, c)
	if err != nil {
		return nil, "", err
	}
	if err := served(set); err != nil {
		return nil, "", err
	}
	p.learnTime(set.Iat)
	p.mu.Lock()
	p.set, p.pin = set, pinned
	p.mu.Unlock()
	return set, pinned, nil
}

// post sends the bytes of a request and opens the reply. ErrNoReply covers
// everything after which the request may or may not have been carried out.
func (p *Phone) post(ctx context.Context, sent *wire.Sent) (*wire.Reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, sent.Aud+"/mid/v1/rpc", bytes.NewReader([]byte(sent.JWE)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/jose")
	body, err := p.roundTrip(req)
	if err != nil {
		return nil, err
	}
	reply, err := wire.OpenReply(sent, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoReply, err)
	}
	return reply, nil
}

// roundTrip returns the body of a 200, a *wire.Outer for a problem with a known
// code, and ErrNoReply for the rest.
func (p *Phone) roundTrip(req *http.Request) ([]byte, error) {
	res, err := p.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoReply, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoReply, err)
	}
	if res.StatusCode == http.StatusOK {
		return body, nil
	}
	var problem wire.Problem
	if json.Unmarshal(body, &problem) == nil {
		switch problem.Code {
		case wire.OuterUnknownKey, wire.OuterUnsupportedSuite, wire.OuterMalformed, wire.OuterRateLimited, wire.OuterUpgrade:
			return nil, &wire.Outer{Code: problem.Code}
		}
	}
	return nil, fmt.Errorf("%w: status %d", ErrNoReply, res.StatusCode)
}

// insist is post with the same bytes again while there is no reply. unknown-key
// and upgrade come without a seal, so anybody on the way may say them: they count only
// if the signed key set says so too.
func (p *Phone) insist(ctx context.Context, st *State, sent *wire.Sent) (*wire.Reply, error) {
	for try := 0; ; try++ {
		reply, err := p.post(ctx, sent)
		switch {
		case err == nil && reply.Err != nil && reply.Err.Code == wire.Upgrade:
			return nil, unserved(reply.Err.Min)
		case err == nil && (reply.Err == nil || reply.Err.Code != wire.Unavailable):
			return reply, nil
		case err == nil:
			err = reply.Err
		case isOuter(err, wire.OuterUnknownKey), isOuter(err, wire.OuterUpgrade):
			set, _, kerr := p.keySet(ctx, st.Origin, st.Pin, true)
			if kerr != nil {
				return nil, kerr
			}
			if isOuter(err, wire.OuterUnknownKey) && !listed(set, sent.Kid) {
				return nil, err
			}
			err = fmt.Errorf("%w: %w", ErrNoReply, err)
		case !errors.Is(err, ErrNoReply):
			return nil, err
		}
		if p.Pause == nil || try >= 3 || ctx.Err() != nil {
			return nil, err
		}
		p.Pause(try)
	}
}

func isOuter(err error, code string) bool {
	o, ok := errors.AsType[*wire.Outer](err)
	return ok && o.Code == code
}

func listed(set *wire.KeySet, kid string) bool {
	for _, k := range set.Keys {
		if k.Kid == kid {
			return true
		}
	}
	return false
}
