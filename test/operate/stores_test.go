package operate_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mobileid/internal/db/dbtest"
	"mobileid/internal/kv/kvtest"
	"mobileid/test/program"
)

// forPostgres gives the key to the user that PostgreSQL runs as.
func forPostgres(t *testing.T, key string) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	if err := os.Chown(key, uid, -1); err != nil {
		t.Fatal(err)
	}
}

func TestTheStoresAreReachedOverTLS(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // PostgreSQL is another user
		t.Fatal(err)
	}
	cert, key, _ := certified(t, dir)
	port := freePort(t)
	redis := kvtest.StartRedis(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "no")
	forPostgres(t, key)
	if err := os.Chmod(cert, 0o644); err != nil {
		t.Fatal(err)
	}
	pg := dbtest.StartPostgres(t, dbtest.Options{Settings: []string{"ssl=on", "ssl_cert_file=" + cert, "ssl_key_file=" + key}})
	_, pgPort, _ := strings.Cut(pg.Addr(), ":")
	db := func(host, more string) string {
		return fmt.Sprintf("postgres://mobileid@%s:%s/postgres?sslmode=verify-full%s", host, pgPort, more)
	}
	env := func(db, kv, roots string) []string {
		return []string{"MOBILEID_DB__URL=" + db, "MOBILEID_KV__URL=" + kv, "SSL_CERT_FILE=" + roots}
	}
	good, kv := db("localhost", "&sslrootcert="+cert), "rediss://localhost:"+port+"/0"

	home := t.TempDir()
	s := program.Start(t, binary, home, env(good, kv, cert)...)
	if out, errs, code := s.Run(nil, "smoke", "--data-dir", home); code != 0 {
		t.Fatalf("smoke: %d\n%s%s\n%s", code, out, errs, s.Log())
	}
	if plain := pg.SQL(t, `SELECT count(*)::text FROM pg_stat_activity a JOIN pg_stat_ssl USING (pid) WHERE a.application_name = 'mobileid' AND NOT ssl`); plain[0] != "0" {
		t.Errorf("%s connections to PostgreSQL are in clear", plain[0])
	}
	if over := pg.SQL(t, `SELECT count(*)::text FROM pg_stat_activity a JOIN pg_stat_ssl USING (pid) WHERE a.application_name = 'mobileid' AND ssl`); over[0] == "0" {
		t.Error("no connection to PostgreSQL")
	}
	over := 0
	for line := range strings.Lines(redis.CLI("client", "list")) {
		switch {
		case strings.Contains(line, "laddr=127.0.0.1:"+port+" "):
			over++
		case !strings.Contains(line, "cmd=client"):
			t.Errorf("a connection to Redis in clear: %s", line)
		}
	}
	if over == 0 {
		t.Error("no connection to Redis")
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}

	other, _, _ := certified(t, t.TempDir())
	for name, e := range map[string][]string{
		"PostgreSQL under an unknown authority": env(db("localhost", "&sslrootcert="+other), kv, cert),
		"PostgreSQL by another name":            env(db("127.0.0.1", "&sslrootcert="+cert), kv, cert),
		"Redis under an unknown authority":      env(good, kv, other),
		"Redis by another name":                 env(good, "rediss://127.0.0.1:"+port+"/0", cert),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		cmd := exec.CommandContext(ctx, binary, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", home)
		cmd.Env = program.Environ(e...)
		out, err := cmd.CombinedOutput()
		if ctx.Err() != nil || err == nil || !strings.Contains(string(out), "certificate") {
			t.Errorf("%s: %v, %s", name, err, out)
		}
		cancel()
	}
}

func TestWhatTheRedisClientSaysIsInTheLog(t *testing.T) {
	redis := kvtest.StartRedis(t)
	s := program.Start(t, binary, t.TempDir(), "MOBILEID_KV__URL="+redis.URL(), "MOBILEID_LOG__FORMAT=json")
	redis.Kill()
	for deadline := time.Now().Add(15 * time.Second); !strings.Contains(s.Log(), `"msg":"redis client"`); time.Sleep(100 * time.Millisecond) {
		if res, err := http.Get(s.Issuer + "/authorize?" + url.Values{"client_id": {s.Shop.ID}, "redirect_uri": {s.ShopURL + "/callback"}, "response_type": {"code"},
			"scope": {"openid"}, "state": {"st4te-st4te"}, "code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"}}.Encode()); err == nil {
			res.Body.Close()
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing was said:\n%s", s.Log())
		}
	}
	for line := range strings.Lines(s.Log()) {
		if strings.HasPrefix(line, "redis: ") {
			t.Errorf("beside the log: %s", line)
		}
	}
	redis.Start() // the end drains
}
