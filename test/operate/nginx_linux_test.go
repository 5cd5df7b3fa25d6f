package operate_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mobileid/test/program"
	"mobileid/test/rig"
)

// fence returns the one piece of docs/operations.md in the language.
func fence(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllSubmatch(text, -1)
	if len(all) != 1 {
		t.Fatalf("docs/operations.md has %d pieces in %s", len(all), language)
	}
	return string(all[0][1])
}

// nginx is a real one with the configuration of docs/operations.md, on other
// ports and files.
type nginx struct {
	addr, access string
	pool         *x509.CertPool
	cert         string
}

// dieWithParent has the kernel end nginx when the tests die.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

func startNginx(t *testing.T, upstream string) *nginx {
	t.Helper()
	program := "/usr/sbin/nginx"
	if found, err := exec.LookPath("nginx"); err == nil {
		program = found
	}
	dir := t.TempDir()
	cert, key, pool := certified(t, dir)
	n := &nginx{addr: "127.0.0.1:" + freePort(t), access: filepath.Join(dir, "access.log"), pool: pool, cert: cert}
	site := fence(t, "nginx")
	for old, new := range map[string]string{
		"server 127.0.0.1:8080;": "server " + upstream + ";", "listen 443 ": "listen " + n.addr + " ", "server_name id.example.com;": "server_name localhost;",
		"/etc/nginx/tls/fullchain.pem": cert, "/etc/nginx/tls/privkey.pem": key,
	} {
		if strings.Count(site, old) != 1 {
			t.Fatalf("the documented configuration has no %q", old)
		}
		site = strings.Replace(site, old, new, 1)
	}
	var paths strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&paths, "%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf("daemon off;\nmaster_process off;\npid %s/pid;\nerror_log %s/error.log info;\nevents {}\nhttp {\n%slog_format seen '$request_method $uri $upstream_status';\naccess_log %s seen;\n%s}\n",
		dir, dir, paths.String(), n.access, site)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(program, "-c", conf, "-p", dir, "-e", filepath.Join(dir, "error.log"))
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &log, &log, dieWithParent()
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v; run `make deps` to install nginx", err)
	}
	gone := make(chan struct{})
	go func() { _ = cmd.Wait(); close(gone) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-gone })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", n.addr); err == nil {
			c.Close()
			return n
		}
		select {
		case <-gone:
			t.Fatalf("nginx refuses the documented configuration:\n%s", log.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("nginx does not listen:\n%s", log.String())
		}
	}
}

// passed lists the requests that nginx handed on, as METHOD PATH.
func (n *nginx) passed(t *testing.T) (out []string) {
	t.Helper()
	text, err := os.ReadFile(n.access)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] != "-" {
			out = append(out, f[0]+" "+f[1])
		}
	}
	slices.Sort(out)
	return out
}

// served lists the requests that the server's log, at level debug, tells of.
func served(log string) (out []string) {
	for _, m := range regexp.MustCompile(`msg=request .*?method=(\S+) path=(\S+) `).FindAllStringSubmatch(log, -1) {
		out = append(out, m[1]+" "+m[2])
	}
	slices.Sort(out)
	return out
}

// behindNginx is a demo whose issuer is what nginx serves.
func behindNginx(t *testing.T, env ...string) (*program.Server, *nginx, string) {
	t.Helper()
	// The server's port is known before the server is: nginx does not mind.
	upstream := "127.0.0.1:" + freePort(t)
	n := startNginx(t, upstream)
	_, port, _ := net.SplitHostPort(n.addr)
	dir := t.TempDir()
	env = append([]string{"SSL_CERT_FILE=" + n.cert, "MOBILEID_ISSUER=https://localhost:" + port, "MOBILEID_TRUSTED_PROXIES=127.0.0.0/8", "MOBILEID_LOG__LEVEL=debug"}, env...)
	return program.StartAt(t, binary, dir, upstream, env...), n, dir
}

func TestH6_TheDocumentedNginxServesTheWholeStoryAndLetsNothingBeSmuggled(t *testing.T) {
	s, n, dir := behindNginx(t)
	if out, errs, code := s.Run(nil, "smoke", "--data-dir", dir, "--ca", n.cert); code != 0 {
		t.Fatalf("smoke through nginx: %d\n%s%s\n%s", code, out, errs, s.Log())
	}
	for name, text := range rig.Smuggling() {
		conn, err := tls.Dial("tcp", n.addr, &tls.Config{RootCAs: n.pool, ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		in := bufio.NewReader(conn)
		for {
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				break
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				break
			}
			if strings.HasPrefix(name, "CL and TE") && res.StatusCode == http.StatusOK {
				t.Errorf("%s: the inner request is answered", name)
			}
		}
		conn.Close()
	}
	// Whatever each of them makes of these bytes, both see the same requests.
	var there, here []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		there, here = n.passed(t), served(s.Log())
		here = slices.DeleteFunc(here, func(r string) bool { return strings.HasSuffix(r, "/readyz") || strings.HasSuffix(r, "/healthz") })
		if slices.Equal(there, here) {
			break
		}
	}
	if !slices.Equal(there, here) {
		t.Errorf("nginx passed %d requests on:\n%v\nthe server saw %d:\n%v", len(there), there, len(here), here)
	}
	if len(here) < 20 {
		t.Errorf("only %d requests were seen", len(here))
	}
}

func TestW12_BehindTheDocumentedNginxNobodyChoosesTheirAddress(t *testing.T) {
	s, n, _ := behindNginx(t, "MOBILEID_LIMITS__EXEMPT=none", "MOBILEID_LIMITS__AUTHORIZE=5/1h")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: n.pool, ServerName: "localhost"}}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	last := 0
	for i := range 8 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+n.addr+"/authorize", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"X-Forwarded-For", "X_Forwarded_For", "Forwarded", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP"} {
			req.Header[name] = []string{fmt.Sprintf("198.51.%d.7", i)}
		}
		req.Header.Set("X-Forwarded-Host", "evil.example")
		req.Header.Set("X-Forwarded-Proto", "http")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err = errors.Join(err, res.Body.Close()); err != nil || bytes.Contains(body, []byte("evil.example")) {
			t.Errorf("%v: %s", err, body)
		}
		last = res.StatusCode
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("eight requests from one address, five an hour: the last is told %d", last)
	}
	if strings.Contains(s.Log(), "198.51.") {
		t.Error("an address that was made up is in the log")
	}
}
