package kvtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
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
	until(t, "the replica is in step", s.inStep)
	for i := range s.Sentinels {
		s.Sentinels[i] = StartSentinel(t, s.Master)
	}
	until(t, "the Sentinels know each other", s.ready)
	return s
}

func (s *RedisSentinel) inStep() bool {
	return strings.Contains(s.Replica.CLI("info", "replication"), "master_link_status:up") &&
		strings.Contains(s.Master.CLI("info", "replication"), "state=online")
}

// ready reports whether the Sentinels know of all others and could fail over.
func (s *RedisSentinel) ready() bool {
	for _, n := range s.Sentinels {
		known := n.CLI("sentinel", "master", masterName)
		if !strings.Contains(known, "num-other-sentinels\n1\n") || !strings.Contains(known, "num-slaves\n1\n") || !strings.Contains(known, "flags\nmaster\n") ||
			!strings.Contains(n.CLI("sentinel", "replicas", masterName), "master-link-status\nok\n") {
			return false
		}
	}
	return true
}

// Lag has the replica lose the master and not find it again. How far it is behind
// from then on is told by Behind.
func (s *RedisSentinel) Lag() {
	s.Master.CLI("acl", "setuser", "default", "-psync", "-sync")
	s.Master.CLI("client", "kill", "type", "replica")
}

// Behind is how many bytes of the master's writes the replica has not seen.
func (s *RedisSentinel) Behind() int { return offset(s.Master) - offset(s.Replica) }

func offset(s *RedisServer) (n int) {
	for line := range strings.Lines(s.CLI("info", "replication")) {
		if text, ok := strings.CutPrefix(line, "master_repl_offset:"); ok {
			n, _ = strconv.Atoi(strings.TrimSpace(text))
		}
	}
	return n
}

// FailOver kills the master and waits until the replica has taken over, as far as it
// is; Rejoin starts the old master again, as the new one's replica.
func (s *RedisSentinel) FailOver(t testing.TB) {
	t.Helper()
	s.Master.Kill()
	until(t, "the replica is the master", func() bool { return strings.Contains(s.Replica.CLI("info", "replication"), "role:master") })
}

// Rejoin waits until the Sentinels could fail over again.
func (s *RedisSentinel) Rejoin(t testing.TB) {
	t.Helper()
	s.Master, s.Replica = s.Replica, s.Master
	s.Replica.Start()
	s.Replica.CLI("replicaof", "127.0.0.1", fmt.Sprint(s.Master.port))
	until(t, "the old master is in step", s.inStep)
	until(t, "the Sentinels could fail over again", s.ready)
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
