package registration

import (
	"context"
	"errors"

	"mobileid/internal/channel"
	"mobileid/internal/kv"
	"mobileid/internal/limit"
	"mobileid/internal/operation"
	"mobileid/sdk/wire"
)

const (
	mostWrongAddress  = 20  // wrong typed entries an address block has in wrongWindow
	mostWrongMerchant = 200 // and a merchant
)

// wrongCount counts in windows that start with the first wrong entry.
type wrongCount struct {
	N     int   `json:"n"`
	Since int64 `json:"since"` // Unix ms
}

func (r *Registrations) over(n wrongCount) bool {
	return r.Clock.Now().UnixMilli()-n.Since >= wrongWindow.Milliseconds()
}

// typed is claimable for a locator and code. Each try is counted against
// address block, merchant and ticket before the code is looked at, and given
// back if it was right: however many come at once, no more than the limit are
// compared.
func (r *Registrations) typed(ctx context.Context, c *channel.Call, body *wire.RegBegin) (*ticket, *wire.Error, error) {
	from := limit.Block(c.RemoteIP)
	if ok, err := r.spendTry(ctx, from, mostWrongAddress); !ok || err != nil {
		return nil, refused, err
	}
	id, err := r.locators.Get(ctx, body.Locator)
	if errors.Is(err, kv.ErrNotFound) {
		return nil, refused, nil
	}
	if err != nil {
		return nil, nil, err
	}
	t, err := r.tickets.Get(ctx, id)
	if errors.Is(err, kv.ErrNotFound) || err == nil && !t.expires().After(r.Clock.Now()) {
		return nil, refused, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if ok, err := r.spendTry(ctx, t.MerchantID, mostWrongMerchant); !ok || err != nil {
		return nil, refused, err
	}
	t, err = r.tickets.Update(ctx, id, func(t ticket) (ticket, error) {
		if t.WrongCodes >= mostCodes {
			return t, errSpent
		}
		t.WrongCodes++
		return t, nil
	})
	if errors.Is(err, errSpent) || errors.Is(err, kv.ErrNotFound) {
		return nil, refused, nil
	}
	if err != nil {
		return nil, nil, err
	}
	ok, err := proves([]byte(t.Code), c, body)
	if err != nil {
		return nil, nil, err
	}
	if !ok {
		return r.wrongCode(ctx, &t)
	}
	_, err = r.tickets.Update(ctx, id, func(t ticket) (ticket, error) { t.WrongCodes--; return t, nil })
	if errors.Is(err, kv.ErrNotFound) {
		err = nil
	}
	return &t, nil, errors.Join(err, r.giveBack(ctx, from), r.giveBack(ctx, t.MerchantID))
}

var errSpent = errors.New("registration: no try is left")

// wrongCode tells what is left; the ticket that has nothing left ends.
func (r *Registrations) wrongCode(ctx context.Context, t *ticket) (*ticket, *wire.Error, error) {
	left := max(0, mostCodes-t.WrongCodes)
	if left == 0 {
		if _, err := r.end(ctx, t, operation.Lock, "too many wrong activation codes"); err != nil {
			return nil, nil, err
		}
	}
	return nil, &wire.Error{Code: wire.ActivationFailed, Left: &left}, nil
}

// spendTry counts one entry under key, in windows; false if none is left.
func (r *Registrations) spendTry(ctx context.Context, key string, most int) (bool, error) {
	_, err := r.wrong.Upsert(ctx, key, wrongWindow, func(n wrongCount, _ bool) (wrongCount, error) {
		if r.over(n) {
			n = wrongCount{Since: r.Clock.Now().UnixMilli()}
		}
		if n.N >= most {
			return n, errSpent
		}
		n.N++
		return n, nil
	})
	if errors.Is(err, errSpent) {
		return false, nil
	}
	return err == nil, err
}

// giveBack undoes spendTry after an entry that was right.
func (r *Registrations) giveBack(ctx context.Context, key string) error {
	_, err := r.wrong.Update(ctx, key, func(n wrongCount) (wrongCount, error) { n.N = max(0, n.N-1); return n, nil })
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	return err
}
