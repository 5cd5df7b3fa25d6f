package kvtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// masterName is what the Sentinels call the master.
const masterName = "mobileid"

// RedisSentinel is a master with one replica, watched by two Sentinels.
type RedisSentinel struct {
	Master, Replica *RedisServer
	Sentinels       [2]*RedisServer
}

// StartRedisSentinel starts the four processes and waits until the Sentinels
// know of all others and could fail over. They take a master for dead after
// half a second.
func StartRedisSentinel(t testing.TB) *RedisSentinel {
	t.Helper()
	s := &RedisSentinel{Master: StartRedis(t, "--repl-diskless-sync-delay", "0")}
	s.Replica = StartRedis(t, "--replicaof", "127.0.0.1", fmt.Sprint(s.Master.port), "--repl-diskless-sync-delay", "0")
	until(t, "the replica is in step", func() bool {
		return strings.Contains(s.Replica.CLI("info", "replication"), "master_link_status:up") &&
			strings.Contains(s.Master.CLI("info", "replication"), "state=online")
	})
	for i := range s.Sentinels {
		s.Sentinels[i] = StartSentinel(t, s.Master)
	}
	until(t, "the Sentinels know each other", func() bool {
		for _, n := range s.Sentinels {
			known := n.CLI("sentinel", "master", masterName)
			if !strings.Contains(known, "num-other-sentinels\n1\n") || !strings.Contains(known, "num-slaves\n1\n") ||
				!strings.Contains(n.CLI("sentinel", "replicas", masterName), "master-link-status\nok\n") {
				return false
			}
		}
		return true
	})
	return s
}

// StartSentinel starts one more Sentinel that watches master. Fail-over takes
// two that agree.
func StartSentinel(t testing.TB, master *RedisServer) *RedisServer {
	t.Helper()
	s := &RedisServer{t: t, dir: t.TempDir(), port: freePort(t)}
	conf := filepath.Join(s.dir, "sentinel.conf") // Sentinel writes what it learns into it
	text := fmt.Sprintf(`port %d
bind 127.0.0.1
dir %s
sentinel monitor %[3]s 127.0.0.1 %[4]d 2
sentinel down-after-milliseconds %[3]s 500
sentinel failover-timeout %[3]s 3000
`, s.port, s.dir, masterName, master.port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.command = []string{conf, "--sentinel"}
	t.Cleanup(s.Kill)
	if err := s.start(); err != nil {
		t.Fatalf("Sentinel does not start: %v\n%s", err, s.log.String())
	}
	return s
}

// URL lists both Sentinels.
func (s *RedisSentinel) URL() string {
	return SentinelURL(s.Sentinels[0], s.Sentinels[1])
}

// SentinelURL is the address of the master that these Sentinels watch.
func SentinelURL(sentinels ...*RedisServer) string {
	var addrs []string
	for _, s := range sentinels {
		addrs = append(addrs, s.Addr())
	}
	return "redis-sentinel://" + strings.Join(addrs, ",") + "/0?master=" + masterName
}
