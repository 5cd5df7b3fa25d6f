package kv

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	dialTimeout   = 2 * time.Second
	ioTimeout     = 2 * time.Second // one reply
	poolTimeout   = time.Second     // a free connection
	settleTimeout = 2 * time.Second
)

// writeID is the length of the random mark before each stored value. No two
// writes to a key share one, so a writer whose reply was lost recognises its own
// write when it reads the record.
const writeID = 8

// swap replaces a record's value if what follows the write id equals ARGV[1].
// The new life is ARGV[3] milliseconds, or the old one if that is 0.
const swapSource = `
local cur = redis.call('GET', KEYS[1])
if not cur or string.sub(cur, 9) ~= ARGV[1] then return 0 end
if ARGV[3] == '0' then
  redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1`

var swapHash = redis.NewScript(swapSource).Hash()

// redisStore is the backend on Redis 7 or later, shared by several nodes: one
// Redis, a master found by Sentinel, or a Cluster. Every command and script
// touches one key, so that no Cluster refuses it for keys on two slots.
//
// A node that refuses a command for its state (READONLY, LOADING, CLUSTERDOWN,
// TRYAGAIN, NOREPLICAS) did nothing; the caller gets an error and answers
// "unavailable".
type redisStore struct {
	c     redis.UniversalClient
	lanes *lanes // nil for a Cluster, whose commands go to different nodes
	wakes interface {
		watch(key string) (<-chan struct{}, func())
		close()
	}

	closer   sync.Once
	closeErr error
}

// redisOptions reads the URL. Its query may tune what go-redis lets it tune,
// such as pool_size; the settings that the contract depends on are fixed here.
func redisOptions(rawURL string) (*redis.Options, error) {
	opt, err := redis.ParseURL(rawURL)
	if err != nil {
		var parse *url.Error
		if errors.As(err, &parse) { // quotes the URL, password and all
			return nil, errors.New("kv: the Redis URL cannot be parsed")
		}
		return nil, fmt.Errorf("kv: Redis URL: %w", err)
	}
	opt.MaxRetries = -1 // a write must not be sent twice; reads are repeated below
	opt.DialerRetries = 1
	opt.ContextTimeoutEnabled = true
	opt.Protocol = 2 // RESP3 would look for push messages around each command
	opt.DisableIdentity = true
	opt.PipelinePoolSize = -1 // batches are few and small: no buffers of their own
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	for _, t := range []struct {
		set   *time.Duration
		value time.Duration
	}{{&opt.DialTimeout, dialTimeout}, {&opt.ReadTimeout, ioTimeout}, {&opt.WriteTimeout, ioTimeout}, {&opt.PoolTimeout, poolTimeout}} {
		if *t.set <= 0 {
			*t.set = t.value
		}
	}
	return opt, nil
}

func openRedis(ctx context.Context, rawURL string) (*redisStore, error) {
	c, err := redisClient(rawURL)
	if err != nil {
		return nil, err
	}
	s := &redisStore{c: c}
	if err := s.check(ctx); err != nil {
		return nil, errors.Join(err, s.c.Close())
	}
	if cluster, ok := c.(*redis.ClusterClient); ok {
		s.wakes = newShards(cluster)
	} else {
		s.wakes = newWakes(c)
		s.lanes = &lanes{c: c.(*redis.Client)}
	}
	return s, nil
}

// check refuses a Redis that may drop live records when memory runs out: a
// pending operation or a replay mark would vanish without a trace. A Redis that
// does not let us ask is taken at its operator's word.
func (s *redisStore) check(ctx context.Context) error {
	if err := s.Ping(ctx); err != nil {
		return err
	}
	return s.masters(ctx, func(ctx context.Context, c *redis.Client) error {
		conf, err := c.ConfigGet(ctx, "maxmemory-policy").Result()
		var refused redis.Error
		if errors.As(err, &refused) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("kv: read maxmemory-policy: %w", err)
		}
		if policy, ok := conf["maxmemory-policy"]; ok && policy != "noeviction" {
			return fmt.Errorf("kv: Redis has maxmemory-policy %s and may drop live records; set it to noeviction", policy)
		}
		return nil
	})
}

// masters calls fn for every node that is written to, of several at once, and
// returns the first error.
func (s *redisStore) masters(ctx context.Context, fn func(ctx context.Context, c *redis.Client) error) error {
	if c, ok := s.c.(*redis.Client); ok {
		return fn(ctx, c)
	}
	var n atomic.Int32
	err := s.c.(*redis.ClusterClient).ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		n.Add(1)
		return fn(ctx, c)
	})
	if err == nil && n.Load() == 0 {
		err = errors.New("the Redis Cluster has no masters")
	}
	return err
}

// do sends a command, which has one key, once: see types lanes and once.
func (s *redisStore) do(ctx context.Context, cmd redis.Cmder) error {
	if s.lanes != nil {
		s.lanes.do(ctx, cmd)
		return cmd.Err()
	}
	return s.c.Process(ctx, once{cmd})
}

// Batch sends the commands of all calls together. A Cluster gets them one by one,
// as they go to different nodes, and so does a script that Redis does not know yet.
func (s *redisStore) Batch(ctx context.Context, calls ...*Call) {
	if s.lanes == nil {
		each(ctx, s, calls)
		return
	}
	cmds, made := make([]redis.Cmder, 0, len(calls)), make([]func(), 0, len(calls))
	for _, c := range calls {
		var cmd redis.Cmder
		var settle func()
		switch {
		case c.Verb == Get:
			get := redis.NewStringCmd(ctx, "get", c.Key)
			cmd, settle = get, func() { c.Val, c.Err = s.got(ctx, c.Key, get) }
		case c.Verb == Create && c.TTL > 0:
			mine := stamp(c.Val)
			cmd = createCmd(ctx, c.Key, mine, c.TTL)
			settle = func() { c.Err = s.created(ctx, c.Key, cmd.Err(), mine) }
		case c.Verb == Swap && c.TTL >= 0:
			mine := stamp(c.Val)
			swap := swapCmd(ctx, "evalsha", swapHash, c.Key, c.Old, mine, c.TTL)
			cmd, settle = swap, func() { c.Err = s.swapped(ctx, c.Key, c.Old, mine, c.TTL, swap) }
		case c.Verb == Delete:
			cmd = redis.NewIntCmd(ctx, "del", c.Key)
			settle = func() { c.Err = s.settle(ctx, "delete", c.Key, cmd.Err(), nil) }
		case c.Verb == Notify:
			cmd = redis.NewIntCmd(ctx, "publish", c.Key, "")
			settle = func() {
				if err := cmd.Err(); err != nil {
					c.Err = opError("notify", c.Key, err)
				}
			}
		default:
			each(ctx, s, []*Call{c})
			continue
		}
		cmds, made = append(cmds, cmd), append(made, settle)
	}
	if len(cmds) == 0 {
		return
	}
	s.lanes.do(ctx, cmds...)
	for _, settle := range made {
		settle()
	}
}

// stamp returns val behind a new write id.
func stamp(val []byte) []byte {
	b := make([]byte, writeID+len(val))
	rand.Read(b[:writeID]) // never fails
	copy(b[writeID:], val)
	return b
}

func (s *redisStore) Create(ctx context.Context, key string, val []byte, ttl time.Duration) error {
	if ttl <= 0 {
		return opError("create", key, errTTL)
	}
	mine := stamp(val)
	return s.created(ctx, key, s.do(ctx, createCmd(ctx, key, mine, ttl)), mine)
}

func createCmd(ctx context.Context, key string, mine []byte, ttl time.Duration) redis.Cmder {
	return redis.NewStatusCmd(ctx, "set", key, mine, "px", millis(ttl), "nx")
}

func (s *redisStore) created(ctx context.Context, key string, err error, mine []byte) error {
	if errors.Is(err, redis.Nil) {
		return ErrExists
	}
	return s.settle(ctx, "create", key, err, mine)
}

func (s *redisStore) Get(ctx context.Context, key string) ([]byte, error) {
	cmd := redis.NewStringCmd(ctx, "get", key)
	_ = s.do(ctx, cmd) // got reads it
	return s.got(ctx, key, cmd)
}

func (s *redisStore) got(ctx context.Context, key string, cmd *redis.StringCmd) ([]byte, error) {
	raw, err := s.again(ctx, key, cmd)
	if errors.Is(err, redis.Nil) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, opError("get", key, err)
	}
	return value(key, raw)
}

func value(key string, raw []byte) ([]byte, error) {
	if len(raw) < writeID {
		return nil, opError("get", key, errors.New("not a record of ours"))
	}
	return raw[writeID:], nil
}

func (s *redisStore) Swap(ctx context.Context, key string, old, val []byte, ttl time.Duration) error {
	if ttl < 0 {
		return opError("swap", key, errTTL)
	}
	mine := stamp(val)
	cmd := swapCmd(ctx, "evalsha", swapHash, key, old, mine, ttl)
	_ = s.do(ctx, cmd) // swapped reads it
	return s.swapped(ctx, key, old, mine, ttl, cmd)
}

func swapCmd(ctx context.Context, verb, script, key string, old, mine []byte, ttl time.Duration) *redis.Cmd {
	cmd := redis.NewCmd(ctx, verb, script, 1, key, blob(old), mine, millis(ttl))
	cmd.SetFirstKeyPos(3)
	return cmd
}

func (s *redisStore) swapped(ctx context.Context, key string, old, mine []byte, ttl time.Duration, cmd *redis.Cmd) error {
	err := cmd.Err()
	if redis.HasErrorPrefix(err, "NOSCRIPT") { // a new node, or SCRIPT FLUSH
		cmd = swapCmd(ctx, "eval", swapSource, key, old, mine, ttl)
		err = s.do(ctx, cmd)
	}
	if err == nil && cmd.Val() == int64(0) {
		return ErrConflict
	}
	return s.settle(ctx, "swap", key, err, mine)
}

func (s *redisStore) Take(ctx context.Context, key string) ([]byte, error) {
	cmd := redis.NewStringCmd(ctx, "getdel", key)
	err := s.do(ctx, cmd)
	switch {
	case errors.Is(err, redis.Nil):
		return nil, ErrNotFound
	case err == nil:
		return value(key, []byte(cmd.Val()))
	case unsent(err):
		return nil, opError("take", key, err)
	}
	// Were the record gone, nothing would tell who took it; were it there, the
	// command could still be under way.
	return nil, opError("take", key, fmt.Errorf("%w: %w", ErrUnknown, err))
}

func (s *redisStore) Delete(ctx context.Context, key string) error {
	return s.settle(ctx, "delete", key, s.do(ctx, redis.NewIntCmd(ctx, "del", key)), nil)
}

// settle turns a write's error into what is known about the write. If the reply
// was lost it reads the record once: finding mine proves that the write took
// place, finding nothing proves a deletion (mine nil). Anything else proves
// nothing, since the write may have been overtaken or still be on its way.
// The caller's context may be what cut the reply off, so settle has its own time.
func (s *redisStore) settle(ctx context.Context, name, key string, err error, mine []byte) error {
	if err == nil {
		return nil
	}
	if unsent(err) {
		return opError(name, key, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	raw, readErr := s.get(ctx, key)
	if mine == nil && errors.Is(readErr, redis.Nil) {
		return nil
	}
	if mine != nil && readErr == nil && len(raw) >= writeID && string(raw[:writeID]) == string(mine[:writeID]) {
		return nil
	}
	return opError(name, key, fmt.Errorf("%w: %w", ErrUnknown, err))
}

// unsent reports whether err proves that a command had no effect: Redis refused
// it, or no connection was there to send it on.
func unsent(err error) bool {
	var reply redis.Error
	if errors.As(err, &reply) || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrClosed) {
		return true
	}
	var none *unreached
	if errors.As(err, &none) {
		return true
	}
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// get reads the raw record.
func (s *redisStore) get(ctx context.Context, key string) ([]byte, error) {
	cmd := redis.NewStringCmd(ctx, "get", key)
	_ = s.do(ctx, cmd) // again reads it
	return s.again(ctx, key, cmd)
}

// again is the raw record that cmd has read, which is read a second time if the
// connection broke: after a restart of Redis the pool may hold connections that are
// dead already. It is then read by itself, so that it does not fail with what others
// send once more.
func (s *redisStore) again(ctx context.Context, key string, cmd *redis.StringCmd) ([]byte, error) {
	err := cmd.Err()
	if err != nil && !unsent(err) && ctx.Err() == nil {
		cmd = redis.NewStringCmd(ctx, "get", key)
		if s.lanes != nil {
			err = s.lanes.c.Process(ctx, cmd)
		} else {
			err = s.do(ctx, cmd)
		}
	}
	return []byte(cmd.Val()), err
}

func (s *redisStore) Notify(ctx context.Context, key string) error {
	verb := "publish"
	if _, ok := s.wakes.(*shards); ok {
		verb = "spublish"
	}
	cmd := redis.NewIntCmd(ctx, verb, key, "")
	cmd.SetFirstKeyPos(1)
	if err := s.do(ctx, cmd); err != nil {
		return opError("notify", key, err)
	}
	return nil
}

func (s *redisStore) Watch(key string) (<-chan struct{}, func()) { return s.wakes.watch(key) }

func (s *redisStore) Ping(ctx context.Context) error {
	if err := s.masters(ctx, func(ctx context.Context, c *redis.Client) error { return c.Ping(ctx).Err() }); err != nil {
		return fmt.Errorf("kv: ping: %w", err)
	}
	return nil
}

func (s *redisStore) Close() error {
	s.closer.Do(func() {
		s.wakes.close()
		s.closeErr = s.c.Close()
	})
	return s.closeErr
}
