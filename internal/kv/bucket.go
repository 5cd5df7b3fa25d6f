package kv

import (
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// Bucket is a typed view of the records under one prefix, kept as JSON, or in the
// form of T's own if it has MarshalBinary and *T has UnmarshalBinary.
// The zero Bucket is not usable.
type Bucket[T any] struct {
	kv     KV
	prefix string
}

// NewBucket returns the bucket of records prefix/{id}. It panics on a prefix
// that is empty or holds a brace: such keys could be those of another bucket.
func NewBucket[T any](kv KV, prefix string) Bucket[T] {
	if prefix == "" || strings.ContainsAny(prefix, "{}") {
		panic("kv: bad bucket prefix " + prefix)
	}
	return Bucket[T]{kv: kv, prefix: prefix + "/{"}
}

func (b Bucket[T]) key(id string) string { return b.prefix + id + "}" }

// Create writes a new record, or returns ErrExists.
func (b Bucket[T]) Create(ctx context.Context, id string, v T, ttl time.Duration) error {
	key := b.key(id)
	val, err := encode(v)
	if err != nil {
		return opError("encode", key, err)
	}
	return b.kv.Create(ctx, key, val, ttl)
}

// Get returns the record, or ErrNotFound.
func (b Bucket[T]) Get(ctx context.Context, id string) (T, error) {
	v, _, err := b.read(ctx, b.key(id))
	return v, err
}

// ErrRemove, returned by the function of Update, has the record removed: it becomes
// what the function made of it and is over a millisecond later, so that a writer
// who comes meanwhile is not lost.
var ErrRemove = errors.New("kv: remove the record")

// removed is how long such a record is still there.
const removed = time.Millisecond

// Update replaces the record by what fn makes of it and keeps its remaining
// life. It returns the record as it then is, or ErrNotFound. fn runs again when
// another writer came first, so it must not act on the world; an error of fn
// ends Update without a write and is returned as it is, unless it is ErrRemove.
func (b Bucket[T]) Update(ctx context.Context, id string, fn func(T) (T, error)) (T, error) {
	var zero T
	key := b.key(id)
	for try := 0; ; try++ {
		cur, old, err := b.read(ctx, key)
		if err != nil {
			return zero, err
		}
		next, err := fn(cur)
		life := KeepTTL
		if err == ErrRemove {
			life, err = removed, nil
		}
		if err != nil {
			return zero, err
		}
		val, err := encode(next)
		if err != nil {
			return zero, opError("encode", key, err)
		}
		if life == KeepTTL && bytes.Equal(old, val) {
			return next, nil
		}
		err = b.kv.Swap(ctx, key, old, val, life)
		if err == nil {
			return next, nil
		}
		if !errors.Is(err, ErrConflict) {
			return zero, err
		}
		if err := pause(ctx, try); err != nil {
			return zero, err
		}
	}
}

// Upsert is Update for a record that may not be there: fn then gets the zero
// value and exists is false. Each write gives the record the life ttl anew.
func (b Bucket[T]) Upsert(ctx context.Context, id string, ttl time.Duration, fn func(v T, exists bool) (T, error)) (T, error) {
	var zero T
	if ttl <= 0 {
		return zero, errTTL
	}
	key := b.key(id)
	for try := 0; ; try++ {
		cur, old, err := b.read(ctx, key)
		exists := err == nil
		if err != nil && !errors.Is(err, ErrNotFound) {
			return zero, err
		}
		next, err := fn(cur, exists)
		if err != nil {
			return zero, err
		}
		val, err := encode(next)
		if err != nil {
			return zero, opError("encode", key, err)
		}
		if exists {
			err = b.kv.Swap(ctx, key, old, val, ttl)
		} else {
			err = b.kv.Create(ctx, key, val, ttl)
		}
		if err == nil {
			return next, nil
		}
		if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrExists) {
			return zero, err
		}
		if err := pause(ctx, try); err != nil {
			return zero, err
		}
	}
}

// Take returns the record and deletes it; see KV.Take for what it may be used.
func (b Bucket[T]) Take(ctx context.Context, id string) (T, error) {
	var v T
	key := b.key(id)
	val, err := b.kv.Take(ctx, key)
	if err != nil {
		return v, err
	}
	return v, decode(key, val, &v)
}

// Delete removes the record; that it was not there is no error.
func (b Bucket[T]) Delete(ctx context.Context, id string) error {
	return b.kv.Delete(ctx, b.key(id))
}

// Notify wakes those who Watch the record.
func (b Bucket[T]) Notify(ctx context.Context, id string) error {
	return b.kv.Notify(ctx, b.key(id))
}

// Watch returns hints that the record may have changed; see KV.Watch.
func (b Bucket[T]) Watch(id string) (hint <-chan struct{}, stop func()) {
	return b.kv.Watch(b.key(id))
}

func (b Bucket[T]) read(ctx context.Context, key string) (v T, val []byte, err error) {
	val, err = b.kv.Get(ctx, key)
	if err != nil {
		return v, nil, err
	}
	return v, val, decode(key, val, &v)
}

func encode[T any](v T) ([]byte, error) {
	if own, ok := any(v).(encoding.BinaryMarshaler); ok {
		return own.MarshalBinary()
	}
	return json.Marshal(v)
}

func decode[T any](key string, val []byte, v *T) (err error) {
	if own, ok := any(v).(encoding.BinaryUnmarshaler); ok {
		err = own.UnmarshalBinary(val)
	} else {
		err = json.Unmarshal(val, v)
	}
	if err != nil {
		return opError("decode", key, err)
	}
	return nil
}

// pause waits before the next attempt of a compare-and-swap. In each round some
// writer wins, so the first attempts follow at once; under heavy contention a
// growing wait keeps the losers from crowding out the winner.
func pause(ctx context.Context, try int) error {
	if try < 3 {
		return nil // the next read looks at ctx
	}
	t := time.NewTimer(time.Duration(min(try, 40)) * 100 * time.Microsecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
