package kv_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"
)

type counter struct {
	N   int      `json:"n"`
	Who []string `json:"who,omitempty"`
}

func TestBucketKeepsTypedRecordsUnderHashTaggedKeys(t *testing.T) {
	ctx := context.Background()
	kvtest.Each(t, func(t *testing.T, s kv.KV) {
		b := kv.NewBucket[counter](s, "user/pending")
		ok(t, b.Create(ctx, "u1", counter{N: 1}, time.Minute))
		is(t, b.Create(ctx, "u1", counter{N: 2}, time.Minute), kv.ErrExists)
		holds(t, s, "user/pending/{u1}", `{"n":1}`)
		v, err := b.Get(ctx, "u1")
		if err != nil || v.N != 1 {
			t.Fatalf("get: %+v, %v", v, err)
		}
		v, err = b.Take(ctx, "u1")
		if err != nil || v.N != 1 {
			t.Fatalf("take: %+v, %v", v, err)
		}
		_, err = b.Take(ctx, "u1")
		is(t, err, kv.ErrNotFound)
		_, err = b.Update(ctx, "u1", func(c counter) (counter, error) { return c, nil })
		is(t, err, kv.ErrNotFound)

		ok(t, b.Create(ctx, "u2", counter{}, time.Minute))
		ok(t, b.Delete(ctx, "u2"))
		_, err = b.Get(ctx, "u2")
		is(t, err, kv.ErrNotFound)

		ok(t, s.Create(ctx, "user/pending/{u3}", []byte("not JSON"), time.Minute))
		if _, err = b.Get(ctx, "u3"); err == nil || errors.Is(err, kv.ErrNotFound) {
			t.Fatalf("a record that cannot be decoded gives %v", err)
		}
	})
}

func TestUpdateKeepsTheLifeAndUpsertRenewsIt(t *testing.T) {
	ctx := context.Background()
	kvtest.Each(t, func(t *testing.T, s kv.KV) {
		const short = 150 * time.Millisecond
		inc := func(c counter) (counter, error) { c.N++; return c, nil }
		b := kv.NewBucket[counter](s, "c")
		ok(t, b.Create(ctx, "updated", counter{}, short))
		ok(t, b.Create(ctx, "upserted", counter{}, short))
		if v, err := b.Update(ctx, "updated", inc); err != nil || v.N != 1 {
			t.Fatalf("update: %+v, %v", v, err)
		}
		v, err := b.Upsert(ctx, "upserted", time.Minute, func(c counter, exists bool) (counter, error) {
			if !exists {
				t.Error("the record is there, yet exists is false")
			}
			return c, nil
		})
		if err != nil || v.N != 0 {
			t.Fatalf("upsert: %+v, %v", v, err)
		}
		time.Sleep(2 * short)
		_, err = b.Get(ctx, "updated")
		is(t, err, kv.ErrNotFound)
		_, err = b.Get(ctx, "upserted")
		ok(t, err)
	})
}

func TestARecordIsRemovedUnlessAnotherWriterCameFirst(t *testing.T) {
	ctx := context.Background()
	kvtest.Each(t, func(t *testing.T, s kv.KV) {
		b := kv.NewBucket[counter](s, "c")
		ok(t, b.Create(ctx, "1", counter{N: 1}, time.Minute))
		first := true
		v, err := b.Update(ctx, "1", func(c counter) (counter, error) {
			if first {
				first = false
				ok(t, s.Swap(ctx, "c/{1}", []byte(`{"n":1}`), []byte(`{"n":2}`), time.Minute))
				return counter{}, kv.ErrRemove
			}
			c.N++
			return c, nil
		})
		if err != nil || v.N != 3 {
			t.Fatalf("beside another writer: %+v, %v", v, err)
		}
		v, err = b.Update(ctx, "1", func(counter) (counter, error) { return counter{}, kv.ErrRemove })
		if err != nil || v.N != 0 {
			t.Fatalf("%+v, %v", v, err)
		}
		time.Sleep(20 * time.Millisecond)
		_, err = b.Get(ctx, "1")
		is(t, err, kv.ErrNotFound)
		ok(t, b.Create(ctx, "1", counter{N: 1}, time.Minute))
	})
}

func TestAnErrorFromTheFunctionEndsTheChangeWithoutAWrite(t *testing.T) {
	ctx := context.Background()
	stop := errors.New("enough")
	kvtest.Each(t, func(t *testing.T, s kv.KV) {
		b := kv.NewBucket[counter](s, "c")
		ok(t, b.Create(ctx, "1", counter{N: 7}, time.Minute))
		_, err := b.Update(ctx, "1", func(c counter) (counter, error) { c.N = 8; return c, stop })
		is(t, err, stop)
		_, err = b.Upsert(ctx, "1", time.Minute, func(c counter, _ bool) (counter, error) { c.N = 8; return c, stop })
		is(t, err, stop)
		holds(t, s, "c/{1}", `{"n":7}`)
		_, err = b.Upsert(ctx, "2", time.Minute, func(c counter, _ bool) (counter, error) { return c, stop })
		is(t, err, stop)
		_, err = b.Get(ctx, "2")
		is(t, err, kv.ErrNotFound)
		if _, err = b.Upsert(ctx, "2", 0, func(c counter, _ bool) (counter, error) { return c, nil }); err == nil {
			t.Fatal("an upsert without a life is taken")
		}
	})
}

func TestContendedUpdatesAndUpsertsCountExactly(t *testing.T) {
	ctx := context.Background()
	const callers, each = 32, 5
	kvtest.Each(t, func(t *testing.T, s kv.KV) {
		b := kv.NewBucket[counter](s, "c")
		ok(t, b.Create(ctx, "updated", counter{}, time.Minute))
		race(t, callers, func(int) error {
			for range each {
				if _, err := b.Update(ctx, "updated", func(c counter) (counter, error) { c.N++; return c, nil }); err != nil {
					return err
				}
			}
			return nil
		})
		race(t, callers, func(int) error {
			for range each {
				if _, err := b.Upsert(ctx, "upserted", time.Minute, func(c counter, _ bool) (counter, error) { c.N++; return c, nil }); err != nil {
					return err
				}
			}
			return nil
		})
		for _, id := range []string{"updated", "upserted"} {
			if v, err := b.Get(ctx, id); err != nil || v.N != callers*each {
				t.Errorf("%s: %d, %v; want %d", id, v.N, err, callers*each)
			}
		}
	})
}

// R5: a cap held in one record is exact under contention.
func TestR5ACapInOneRecordIsExact(t *testing.T) {
	ctx := context.Background()
	full := errors.New("full")
	kvtest.Each(t, func(t *testing.T, s kv.KV) {
		b := kv.NewBucket[counter](s, "user")
		in := race(t, 32, func(int) error {
			_, err := b.Upsert(ctx, "pending", time.Minute, func(c counter, _ bool) (counter, error) {
				if len(c.Who) == 3 {
					return c, full
				}
				c.Who = append(c.Who, "x")
				return c, nil
			})
			return err
		}, full)
		v, err := b.Get(ctx, "pending")
		if err != nil || in != 3 || len(v.Who) != 3 {
			t.Fatalf("%d got in, the record lists %d, %v; want 3", in, len(v.Who), err)
		}
	})
}

func TestAContendedUpdateEndsWithItsContext(t *testing.T) {
	s := kvtest.SQLite(t, clock.System{})
	b := kv.NewBucket[counter](s, "c")
	ok(t, b.Create(context.Background(), "1", counter{}, time.Minute))
	ctx, cancel := context.WithCancel(context.Background())
	tries := 0
	_, err := b.Update(ctx, "1", func(c counter) (counter, error) {
		if tries++; tries == 20 {
			cancel()
		}
		// Another writer comes first, each time.
		_, err := b.Update(context.Background(), "1", func(c counter) (counter, error) { c.N++; return c, nil })
		c.N = -1
		return c, err
	})
	is(t, err, context.Canceled)
}

func TestABucketPrefixThatCouldMeetAnotherPanics(t *testing.T) {
	for _, prefix := range []string{"", "a/{b}", "a}"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("prefix %q is taken", prefix)
				}
			}()
			kv.NewBucket[counter](nil, prefix)
		}()
	}
}
