package kvtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// RedisCluster is a Redis Cluster of three masters without replicas.
type RedisCluster struct {
	t     testing.TB
	Nodes [3]*RedisServer
}

// StartRedisCluster starts three masters that share the slots evenly.
func StartRedisCluster(t testing.TB, args ...string) *RedisCluster {
	t.Helper()
	return startCluster(t, func(own ...string) *RedisServer { return StartRedis(t, append(own, args...)...) })
}

// shared is the cluster of this test process: to start one takes a second or two.
var shared struct {
	sync.Mutex // held by the one test that uses it
	cluster    *RedisCluster
	dir        string
}

// SharedCluster returns the URL of an empty cluster that this test has for itself
// until it ends; it must not ask for it twice. The package's TestMain calls
// EndShared.
func SharedCluster(t testing.TB) string {
	t.Helper()
	shared.Lock()
	t.Cleanup(shared.Unlock)
	if shared.cluster == nil {
		dir, err := os.MkdirTemp("", "mobileid-cluster-")
		if err != nil {
			t.Fatal(err)
		}
		shared.dir = dir
		shared.cluster = startCluster(t, func(own ...string) *RedisServer {
			s := &RedisServer{t: t, dir: filepath.Join(dir, own[3]), args: own}
			if err := os.Mkdir(s.dir, 0o700); err != nil {
				t.Fatal(err)
			}
			s.first()
			return s
		})
	}
	c := shared.cluster
	c.t = t
	for _, n := range c.Nodes {
		n.t = t
	}
	c.Flush()
	return c.URL()
}

// EndShared ends what SharedCluster started, if it did.
func EndShared() error {
	if shared.cluster == nil {
		return nil
	}
	for _, n := range shared.cluster.Nodes {
		n.Kill()
	}
	return os.RemoveAll(shared.dir)
}

func startCluster(t testing.TB, start func(args ...string) *RedisServer) *RedisCluster {
	t.Helper()
	c := &RedisCluster{t: t}
	ports := make([]string, len(c.Nodes))
	for i := range c.Nodes {
		ports[i] = fmt.Sprint(freePort(t))
		c.Nodes[i] = start("--cluster-enabled", "yes", "--cluster-port", ports[i], "--cluster-announce-ip", "127.0.0.1",
			"--cluster-node-timeout", "2000")
	}
	for i, n := range c.Nodes {
		n.CLI("cluster", "set-config-epoch", fmt.Sprint(i+1))
		n.CLI("cluster", "addslotsrange", fmt.Sprint(i*16384/3), fmt.Sprint((i+1)*16384/3-1))
	}
	for i, n := range c.Nodes[1:] {
		n.CLI("cluster", "meet", "127.0.0.1", fmt.Sprint(c.Nodes[0].port), ports[0])
		n.CLI("cluster", "meet", "127.0.0.1", fmt.Sprint(c.Nodes[2-2*i].port), ports[2-2*i])
	}
	until(t, "the cluster is complete", func() bool {
		for _, n := range c.Nodes {
			info := n.CLI("cluster", "info")
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3") {
				return false
			}
		}
		return true
	})
	return c
}

// URL lists all nodes.
func (c *RedisCluster) URL() string {
	return "redis-cluster://" + c.Nodes[0].Addr() + "," + c.Nodes[1].Addr() + "," + c.Nodes[2].Addr()
}

// Owner is the number of the node that has key's slot, and the slot.
func (c *RedisCluster) Owner(key string) (node int, slot string) {
	c.t.Helper()
	slot = c.Nodes[0].CLI("cluster", "keyslot", key)
	for i, n := range c.Nodes {
		// The migrating source still answers for its slot; others redirect.
		if !strings.Contains(n.CLI("get", key), "MOVED") {
			return i, slot
		}
	}
	c.t.Fatalf("no node has the slot of %s", key)
	return 0, ""
}

// Move brings the slot of key, with the records on it, to another node while
// clients go on working with them. Keys must be without blanks.
func (c *RedisCluster) Move(key string, to int) {
	c.t.Helper()
	from, slot := c.Owner(key)
	if from == to {
		return
	}
	src, dst := c.Nodes[from], c.Nodes[to]
	dst.CLI("cluster", "setslot", slot, "importing", src.CLI("cluster", "myid"))
	src.CLI("cluster", "setslot", slot, "migrating", dst.CLI("cluster", "myid"))
	for {
		keys := strings.Fields(src.CLI("cluster", "getkeysinslot", slot, "100"))
		if len(keys) == 0 {
			break
		}
		move := append([]string{"migrate", "127.0.0.1", fmt.Sprint(dst.port), "", "0", "5000", "keys"}, keys...)
		if out := src.CLI(move...); out != "OK" && out != "NOKEY" { // expired or deleted meanwhile
			c.t.Errorf("migrate: %s", out)
			break
		}
	}
	id := dst.CLI("cluster", "myid")
	for _, n := range []*RedisServer{dst, src, c.Nodes[3-from-to]} {
		if out := n.CLI("cluster", "setslot", slot, "node", id); out != "OK" {
			c.t.Errorf("setslot %s: %s", slot, out)
		}
	}
}

// Flush removes all records.
func (c *RedisCluster) Flush() {
	for _, n := range c.Nodes {
		n.CLI("flushall")
	}
}

func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 20 s in vain: %s", what)
		}
	}
}
