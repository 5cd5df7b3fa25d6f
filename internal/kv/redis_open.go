package kv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// maxRedirects bounds how often one command follows a slot to another node.
const maxRedirects = 4

// redisClient makes the client that a URL asks for: one Redis, the master that
// Sentinels name, or the masters of a Cluster. Nothing is ever read from a
// replica.
func redisClient(rawURL string) (redis.UniversalClient, error) {
	scheme, rest, _ := strings.Cut(rawURL, "://")
	base, kind, several := strings.Cut(scheme, "-")
	if !several {
		opt, err := redisOptions(rawURL)
		if err != nil {
			return nil, err
		}
		return redis.NewClient(opt), nil
	}
	defaultPort := "6379"
	if kind == "sentinel" {
		defaultPort = "26379"
	}
	// net/url knows one host only: it reads the URL with the first.
	user, hosts, tail := splitHosts(rest)
	addrs, err := hostPorts(hosts, defaultPort)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(base + "://" + user + addrs[0] + tail)
	if err != nil || u.Fragment != "" { // the error quotes the password
		return nil, errors.New("kv: the Redis URL cannot be parsed")
	}
	q := u.Query()
	master, sentinelUser, sentinelPassword := q.Get("master"), q.Get("sentinel_username"), q.Get("sentinel_password")
	if kind == "sentinel" {
		for _, own := range []string{"master", "sentinel_username", "sentinel_password"} {
			q.Del(own)
		}
		if master == "" {
			return nil, errors.New("kv: a Sentinel URL must name the master, as in ?master=NAME")
		}
	}
	u.RawQuery = q.Encode()
	opt, err := redisOptions(u.String())
	if err != nil {
		return nil, err
	}
	all := universal(opt, addrs)
	if kind == "sentinel" {
		all.MasterName, all.SentinelUsername, all.SentinelPassword = master, sentinelUser, sentinelPassword
		all.OnConnect = refuseReplica
		c := redis.NewFailoverClient(all.Failover())
		c.AddHook(dialHook{})
		return c, nil
	}
	if opt.DB != 0 {
		return nil, errors.New("kv: a Redis Cluster has database 0 only")
	}
	cluster := all.Cluster()
	cluster.MaxRedirects = maxRedirects
	cluster.DisableRoutingPolicies = true // all our commands have one key
	c := redis.NewClusterClient(cluster)
	c.OnNewNode(func(node *redis.Client) { node.AddHook(dialHook{}) })
	return c, nil
}

// splitHosts takes apart what follows the scheme: user and password with their
// @, the hosts, and the rest from the first slash or question mark on.
func splitHosts(s string) (user, hosts, tail string) {
	if i := strings.IndexAny(s, "/?#"); i >= 0 {
		s, tail = s[:i], s[i:]
	}
	i := strings.LastIndexByte(s, '@') + 1
	return s[:i], s[i:], tail
}

func hostPorts(hosts, defaultPort string) ([]string, error) {
	var out []string
	for _, addr := range strings.Split(hosts, ",") {
		u, err := url.Parse("//" + addr)
		if err != nil || u.Hostname() == "" || u.Host != addr {
			return nil, errors.New("kv: the Redis URL must list its nodes as HOST:PORT,HOST:PORT")
		}
		port := u.Port()
		if port == "" {
			port = defaultPort
		}
		out = append(out, net.JoinHostPort(u.Hostname(), port))
	}
	return out, nil
}

// universal carries the options of one Redis over to those of several.
func universal(o *redis.Options, addrs []string) *redis.UniversalOptions {
	tls := o.TLSConfig
	if tls != nil {
		tls = tls.Clone()
		tls.ServerName = "" // each node's certificate is for its own name
	}
	return &redis.UniversalOptions{
		Addrs: addrs, ClientName: o.ClientName, DB: o.DB, Username: o.Username, Password: o.Password, TLSConfig: tls,
		Protocol: o.Protocol, DisableIdentity: o.DisableIdentity, ContextTimeoutEnabled: o.ContextTimeoutEnabled,
		MaxRetries: o.MaxRetries, DialerRetries: o.DialerRetries,
		DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
		PipelinePoolSize: o.PipelinePoolSize, PoolFIFO: o.PoolFIFO, PoolSize: o.PoolSize, PoolTimeout: o.PoolTimeout, MinIdleConns: o.MinIdleConns,
		MaxIdleConns: o.MaxIdleConns, MaxActiveConns: o.MaxActiveConns, MaxConcurrentDials: o.MaxConcurrentDials,
		ConnMaxIdleTime: o.ConnMaxIdleTime, ConnMaxLifetime: o.ConnMaxLifetime, ConnMaxLifetimeJitter: o.ConnMaxLifetimeJitter,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// refuseReplica ends a new connection to a node that is no master: a Sentinel
// that has not heard of a fail-over still names the old one, and its records
// are stale. Sentinels themselves are asked too and say so. A user that may not
// ask is taken at the operator's word.
func refuseReplica(ctx context.Context, cn *redis.Conn) error {
	cmd := redis.NewSliceCmd(ctx, "role")
	err := cn.Process(ctx, cmd)
	var refused redis.Error
	if errors.As(err, &refused) {
		return nil
	}
	if err != nil {
		return &unreached{err}
	}
	reply := cmd.Val()
	if len(reply) == 0 || reply[0] != "master" && reply[0] != "sentinel" {
		return &unreached{fmt.Errorf("the node that Sentinel names is no master but %v", reply[:min(1, len(reply))])}
	}
	return nil
}

// unreached marks an error met before a connection was there to write to.
type unreached struct{ error }

func (e *unreached) Unwrap() error { return e.error }

// dialHook marks errors of dialling, which may come from asking the Sentinels.
type dialHook struct{}

func (dialHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := next(ctx, network, addr)
		if err != nil {
			return nil, &unreached{err}
		}
		return c, nil
	}
}

func (dialHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (dialHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// once is a command that the Cluster client sends on when a node redirects it,
// but not again after its reply was lost.
type once struct{ redis.Cmder }

func (once) NoRetry() bool { return true }
