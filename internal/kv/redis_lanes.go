package kv

import (
	"context"
	"runtime"
	"sync"

	"github.com/redis/go-redis/v9"
)

const (
	// laneCount is how many commands or batches are under way at once.
	laneCount = 2
	laneBatch = 64
	// yields is how often who has a lane lets others run who may join.
	yields = 2
)

// lanes sends commands to one Redis. Who finds a lane free lets those run who are
// about to send something too, and takes theirs along. Those that come while all are
// taken wait, and go out together as soon as one is free. That is one write with one
// answer read, and under load it spares both ends most of their system calls; and
// callers who were let go together, by a commit, stay together for the next one. A
// command that goes out alone has its caller's context; a batch has its own time,
// the client's for one reply; its callers wait for what became of their commands
// even if their own time is over before.
//
// Commands of a batch are carried out in order but not as one: each has its own
// reply. If the connection breaks, each caller is told so and settles its own.
type lanes struct {
	c *redis.Client

	mu        sync.Mutex
	taken     int
	gathering bool // a lane is taken, and others may still join
	queue     []*queued
}

type queued struct {
	cmds  []redis.Cmder
	batch []*queued     // of the one that is to send it
	turn  chan struct{} // cmds are done, or batch is to be sent
}

// do sends the commands, in order, and returns once each has its reply or error.
func (l *lanes) do(ctx context.Context, cmds ...redis.Cmder) {
	l.mu.Lock()
	if l.taken < laneCount && !l.gathering {
		l.taken++
		l.gathering = true
		l.mu.Unlock()
		for range yields {
			runtime.Gosched()
		}
		l.mu.Lock()
		l.gathering = false
		others := l.next(laneBatch - 1)
		l.mu.Unlock()
		defer l.free()
		l.together(ctx, cmds, others)
		return
	}
	q := &queued{cmds: cmds, turn: make(chan struct{}, 1)}
	l.queue = append(l.queue, q)
	l.mu.Unlock()
	<-q.turn
	if len(q.batch) > 0 {
		defer l.free()
		l.together(ctx, cmds, q.batch[1:])
	}
}

// next takes the first of those who wait, most at most.
func (l *lanes) next(most int) []*queued {
	n := min(len(l.queue), most)
	first := l.queue[:n:n]
	l.queue = l.queue[n:]
	if len(l.queue) == 0 {
		l.queue = nil
	}
	return first
}

// free gives the lane to those who wait, if there are any.
func (l *lanes) free() {
	l.mu.Lock()
	defer l.mu.Unlock()
	batch := l.next(laneBatch)
	if len(batch) == 0 {
		l.taken--
		return
	}
	batch[0].batch = batch
	batch[0].turn <- struct{}{}
}

// together sends the commands and those of the others behind them.
func (l *lanes) together(ctx context.Context, cmds []redis.Cmder, others []*queued) {
	for _, other := range others {
		cmds = append(cmds, other.cmds...)
	}
	l.send(ctx, cmds)
	for _, other := range others {
		other.turn <- struct{}{}
	}
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
