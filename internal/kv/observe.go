package kv

import (
	"context"
	"errors"
	"time"
)

// Observer is told what is asked of a store, for metrics and traces. Its
// functions may be nil; they run on hot paths and must not wait.
type Observer struct {
	// Failed is told of calls that could not be carried out, by their name. What
	// the contract expects (ErrExists, ErrNotFound, ErrConflict) is no failure.
	Failed func(call string)
	// Span is called before a call, by its name, and the function it returns
	// after it; that may be nil.
	Span func(ctx context.Context, name string) (context.Context, func(error))
}

// Observe returns the store with an observer before it.
func Observe(s KV, o Observer) KV { return &observed{s, o} }

type observed struct {
	KV
	o Observer
}

// expected reports whether err is an outcome that callers handle.
func expected(err error) bool {
	return err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict) || errors.Is(err, ErrExists)
}

func (s *observed) begin(ctx context.Context, call string) (context.Context, func(error)) {
	if s.o.Span == nil {
		return ctx, nil
	}
	return s.o.Span(ctx, "kv."+call)
}

func (s *observed) end(call string, end func(error), err error) {
	failed := !expected(err) && !errors.Is(err, context.Canceled)
	if failed && s.o.Failed != nil {
		s.o.Failed(call)
	}
	if end == nil {
		return
	}
	if !failed {
		err = nil
	}
	end(err)
}

func (s *observed) Create(ctx context.Context, key string, val []byte, ttl time.Duration) error {
	ctx, end := s.begin(ctx, "create")
	err := s.KV.Create(ctx, key, val, ttl)
	s.end("create", end, err)
	return err
}

func (s *observed) Get(ctx context.Context, key string) ([]byte, error) {
	ctx, end := s.begin(ctx, "get")
	val, err := s.KV.Get(ctx, key)
	s.end("get", end, err)
	return val, err
}

func (s *observed) Swap(ctx context.Context, key string, old, val []byte, ttl time.Duration) error {
	ctx, end := s.begin(ctx, "swap")
	err := s.KV.Swap(ctx, key, old, val, ttl)
	s.end("swap", end, err)
	return err
}

func (s *observed) Take(ctx context.Context, key string) ([]byte, error) {
	ctx, end := s.begin(ctx, "take")
	val, err := s.KV.Take(ctx, key)
	s.end("take", end, err)
	return val, err
}

func (s *observed) Delete(ctx context.Context, key string) error {
	ctx, end := s.begin(ctx, "delete")
	err := s.KV.Delete(ctx, key)
	s.end("delete", end, err)
	return err
}

func (s *observed) Batch(ctx context.Context, calls ...*Call) {
	ctx, end := s.begin(ctx, "batch")
	s.KV.Batch(ctx, calls...)
	var failed error
	for _, c := range calls {
		if failed == nil && !expected(c.Err) {
			failed = c.Err
		}
	}
	s.end("batch", end, failed)
}

func (s *observed) Notify(ctx context.Context, key string) error {
	ctx, end := s.begin(ctx, "notify")
	err := s.KV.Notify(ctx, key)
	s.end("notify", end, err)
	return err
}

func (s *observed) Ping(ctx context.Context) error {
	err := s.KV.Ping(ctx)
	s.end("ping", nil, err)
	return err
}
