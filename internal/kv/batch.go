package kv

import (
	"context"
	"errors"
	"time"
)

// Verb is what a Call of a batch does: as the method of that name.
type Verb int

// The verbs of a batch.
const (
	Get Verb = iota
	Create
	Swap
	Delete
	Notify
)

// Call is one call of a batch and, afterwards, what became of it.
type Call struct {
	Verb Verb
	Key  string
	Old  []byte // Swap
	Val  []byte // Create, Swap; and what Get has read
	TTL  time.Duration
	Err  error // as the method returns it
}

// each carries the calls out one by one.
func each(ctx context.Context, s KV, calls []*Call) {
	for _, c := range calls {
		switch c.Verb {
		case Get:
			c.Val, c.Err = s.Get(ctx, c.Key)
		case Create:
			c.Err = s.Create(ctx, c.Key, c.Val, c.TTL)
		case Swap:
			c.Err = s.Swap(ctx, c.Key, c.Old, c.Val, c.TTL)
		case Delete:
			c.Err = s.Delete(ctx, c.Key)
		case Notify:
			c.Err = s.Notify(ctx, c.Key)
		default:
			c.Err = opError("batch", c.Key, errors.New("no such verb"))
		}
	}
}

// GetCall is a Get for a batch; Got reads what it found.
func (b Bucket[T]) GetCall(id string) *Call { return &Call{Verb: Get, Key: b.key(id)} }

// Got is the record that a GetCall has read, or its error.
func (b Bucket[T]) Got(c *Call) (v T, err error) {
	if c.Err != nil {
		return v, c.Err
	}
	return v, decode(c.Key, c.Val, &v)
}

// CreateCall is a Create for a batch.
func (b Bucket[T]) CreateCall(id string, v T, ttl time.Duration) (*Call, error) {
	key := b.key(id)
	val, err := encode(v)
	if err != nil {
		return nil, opError("encode", key, err)
	}
	return &Call{Verb: Create, Key: key, Val: val, TTL: ttl}, nil
}

// UpdateCall is one attempt of an Update for a batch: it replaces what got has read
// by v, or with remove as ErrRemove says. Its error is ErrConflict if another writer
// came first; Update then does it again.
func (b Bucket[T]) UpdateCall(got *Call, v T, remove bool) (*Call, error) {
	val, err := encode(v)
	if err != nil {
		return nil, opError("encode", got.Key, err)
	}
	c := &Call{Verb: Swap, Key: got.Key, Old: got.Val, Val: val}
	if remove {
		c.TTL = removed
	}
	return c, nil
}

// DeleteCall is a Delete for a batch.
func (b Bucket[T]) DeleteCall(id string) *Call { return &Call{Verb: Delete, Key: b.key(id)} }

// NotifyCall is a Notify for a batch.
func (b Bucket[T]) NotifyCall(id string) *Call { return &Call{Verb: Notify, Key: b.key(id)} }
