package kv

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"
)

const (
	// laneCount is how many commands or batches are under way at once.
	laneCount = 2
	laneBatch = 64
)

// lanes sends commands to one Redis. While a lane is free a command goes out by
// itself, under its caller's context. Those that come while all are taken wait, and
// go out together as soon as one is free, in one write with one answer read: under
// load that spares both ends most of their system calls. A batch has its own time,
// the client's for one reply; its callers wait for what became of their commands
// even if their own time is over before.
//
// Commands of a batch are carried out in order but not as one: each has its own
// reply. If the connection breaks, each caller is told so and settles its own.
type lanes struct {
	c *redis.Client

	mu    sync.Mutex
	taken int
	queue []*queued
}

type queued struct {
	cmds  []redis.Cmder
	batch []*queued     // of the one that is to send it
	turn  chan struct{} // cmds are done, or batch is to be sent
}

// do sends the commands, in order, and returns once each has its reply or error.
func (l *lanes) do(ctx context.Context, cmds ...redis.Cmder) {
	l.mu.Lock()
	if l.taken < laneCount {
		l.taken++
		l.mu.Unlock()
		defer l.free()
		l.send(ctx, cmds)
		return
	}
	q := &queued{cmds: cmds, turn: make(chan struct{}, 1)}
	l.queue = append(l.queue, q)
	l.mu.Unlock()
	<-q.turn
	if len(q.batch) > 0 {
		defer l.free()
		for _, other := range q.batch[1:] {
			cmds = append(cmds, other.cmds...)
		}
		l.send(ctx, cmds)
		for _, other := range q.batch[1:] {
			other.turn <- struct{}{}
		}
	}
}

// free gives the lane to those who wait, if there are any.
func (l *lanes) free() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		l.taken--
		return
	}
	n := min(len(l.queue), laneBatch)
	first := l.queue[0]
	first.batch = l.queue[:n:n]
	l.queue = l.queue[n:]
	if len(l.queue) == 0 {
		l.queue = nil
	}
	first.turn <- struct{}{}
}

// send sends the commands in one write. A single one has its caller's time.
func (l *lanes) send(ctx context.Context, cmds []redis.Cmder) {
	if len(cmds) == 1 {
		_ = l.c.Process(ctx, cmds[0]) // the command keeps it
		return
	}
	pipe := l.c.Pipeline()
	_ = pipe.BatchProcess(ctx, cmds...) // puts them down, no more
	// The first one's error is told; each command has its own.
	_, _ = pipe.Exec(context.WithoutCancel(ctx))
}
