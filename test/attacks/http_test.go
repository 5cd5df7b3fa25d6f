package attacks

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mobileid/test/rig"
)

// dial opens a socket to the server and writes text.
func dial(t *testing.T, r *rig.Rig, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(strings.Replace(r.Issuer, "localhost", "127.0.0.1", 1), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

// statuses reads all that the server sends until it closes, and returns the
// statuses of its answers.
func statuses(t *testing.T, c net.Conn, within time.Duration) (out []int, closed bool) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	for {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			e, timeout := err.(net.Error)
			return out, !timeout || !e.Timeout()
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		out = append(out, res.StatusCode)
	}
}

// sockets is how many connections a test may have open with both ends in this
// process: most, or what half of its descriptors allow.
func sockets(t *testing.T, most int) int {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return min(most, int(min(limit.Cur, 1<<20))/4)
}

func TestH1_SlowSendersAreCutOff(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	each := sockets(t, 3000) / 3
	var all sync.WaitGroup
	var mu sync.Mutex
	wrong := map[string]int{} // the first of each kind is told
	for name, c := range map[string]struct {
		text  string
		drip  string
		least time.Duration // an honest slow sender has this long
		most  time.Duration
	}{
		"nothing at all":         {"", "", 4 * time.Second, 10 * time.Second},
		"a header, drop by drop": {"GET / HTTP/1.1\r\nHost: localhost\r\n", "X: y\r\n", 4 * time.Second, 10 * time.Second},
		"a body, drop by drop":   {"POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 60000\r\n\r\n", "a", 9 * time.Second, 16 * time.Second},
	} {
		for range each {
			conn := dial(t, r, c.text)
			all.Go(func() {
				start := time.Now()
				gone := make(chan struct{})
				go func() {
					for tick := time.NewTicker(time.Second); ; {
						select {
						case <-gone:
							tick.Stop()
							return
						case <-tick.C:
							_, _ = io.WriteString(conn, c.drip)
						}
					}
				}()
				_ = conn.SetReadDeadline(start.Add(20 * time.Second))
				_, err := io.Copy(io.Discard, conn)
				close(gone)
				took := time.Since(start)
				mu.Lock()
				defer mu.Unlock()
				if took < c.least || took > c.most {
					if wrong[name]++; wrong[name] == 1 {
						t.Errorf("%s: the connection ended after %s (%v), want %s to %s", name, took.Round(time.Millisecond), err, c.least, c.most)
					}
				}
			})
		}
	}
	time.Sleep(time.Second)
	if a := r.Get("/"); a.Status != http.StatusOK { // beside normal load
		t.Errorf("somebody else is told %s", a)
	}
	all.Wait()
	if len(wrong) > 0 {
		t.Errorf("of %d each: %v", each, wrong)
	}
}

func TestH1_WhoTakesNoAnswerIsCutOff(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	sheet := regexp.MustCompile(`/static/[^"]+\.css`).FindString(r.Get("/").Body)
	ask := strings.Repeat("GET "+sheet+" HTTP/1.1\r\nHost: localhost\r\n\r\n", 20)
	var all sync.WaitGroup
	for range 20 {
		conn := dial(t, r, "")
		if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
		all.Go(func() { // asks and asks until the server, stuck with its answers, hangs up
			var err error
			for err == nil {
				// 30 s are what the server gives an answer; the rest is for a busy machine.
				if err = conn.SetWriteDeadline(time.Now().Add(40 * time.Second)); err == nil {
					_, err = io.WriteString(conn, ask)
				}
			}
			if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
				t.Error("the connection is still open 40 s after it took something, 30 are allowed")
			}
		})
	}
	all.Wait()
}

func TestH2_BodiesAreAtMost64KiBAndNotPacked(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	fmt.Fprint(z, strings.Repeat("a", 10<<20))
	z.Close()
	token := r.Post("/token", r.Backend, map[string][]string{"grant_type": {"client_credentials"}}).Text("access_token")
	type route struct{ path, kind string }
	seen := map[string]int{}
	routes := []route{{"/token", urlencoded}, {"/bc-authorize", urlencoded}, {"/authorize", urlencoded},
		{"/mid/v1/rpc", "application/jose"}, {"/api/v1/users", "application/json"}, {"/api/v1/registrations", "application/json"}}
	for _, rt := range routes {
		for name, c := range map[string]struct {
			body    io.Reader
			coding  string
			allowed []int
		}{
			"one byte too many": {strings.NewReader(strings.Repeat("a", 64<<10+1)), "", []int{413}},
			// A reader of unknown length is sent in chunks.
			"chunks":          {io.LimitReader(endless{}, 1<<20), "", []int{413}},
			"a packed bomb":   {bytes.NewReader(packed.Bytes()), "gzip", []int{415}},
			"packed by proxy": {strings.NewReader("x"), "br", []int{415}},
		} {
			req, err := http.NewRequest(http.MethodPost, r.Issuer+rt.path, c.body)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", rt.kind)
			req.Header.Set("Authorization", "Bearer "+token)
			if strings.HasPrefix(rt.path, "/token") || strings.HasPrefix(rt.path, "/bc") {
				req.Header.Del("Authorization")
			}
			if c.coding != "" {
				req.Header.Set("Content-Encoding", c.coding)
			}
			a, err := r.Send(req)
			if err != nil {
				// The server may close before it has read what it refuses.
				t.Logf("%s %s: %v", rt.path, name, err)
				continue
			}
			if seen[name]++; !slices.Contains(c.allowed, a.Status) {
				t.Errorf("%s, %s: %s", rt.path, name, a)
			}
		}
	}
	if len(seen) != 4 {
		t.Errorf("some refusals were never told, only %v", seen)
	}
	c := dial(t, r, "POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n")
	go func() {
		for {
			if _, err := io.WriteString(c, "1000\r\n"+strings.Repeat("a", 0x1000)+"\r\n"); err != nil {
				return
			}
		}
	}()
	if got, closed := statuses(t, c, 8*time.Second); len(got) != 1 || got[0] != 413 || !closed {
		t.Errorf("chunks without end: %v, closed %v", got, closed)
	}
}

// endless is a body of a's.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

func TestH3_HostileJSONIsRefusedAtOnce(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	token := r.Post("/token", r.Backend, map[string][]string{"grant_type": {"client_credentials"}, "scope": {"mobileid.users mobileid.devices"}}).Text("access_token")
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	nested := func(n int) string {
		return `{"attributes":` + strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) + "}"
	}
	for name, body := range map[string]string{
		"nested 33 deep":            nested(32),
		"nested 10 000 deep":        nested(10_000),
		"10 000 lists":              `{"externalRef":` + strings.Repeat("[", 10_000),
		"lists up to the limit":     strings.Repeat("[", 64<<10),
		"very many members":         `{` + many(6000, `"a%d":1,`) + `}`,
		"very many attributes":      `{"externalRef":5,"attributes":{` + many(5000, `"%d":"",`) + `}}`,
		"a member twice":            `{"externalRef":"a","externalRef":"b"}`,
		"a member twice, escaped":   `{"externalRef":"a","\u0065xternalRef":"b"}`,
		"a member in another case":  `{"externalRef":"a","EXTERNALREF":"b"}`,
		"an attribute twice":        `{"externalRef":"a","attributes":{"x":"1","x":"2"}}`,
		"a huge number":             `{"externalRef":` + strings.Repeat("9", 60_000) + `}`,
		"a huge exponent":           `{"externalRef":1e999999999}`,
		"not UTF-8":                 "{\"externalRef\":\"\xff\xfe\"}",
		"half a surrogate is no id": `{"externalRef":"\ud800","externalRef":"x"}`,
		"two values":                `{"externalRef":"a"}{"externalRef":"b"}`,
		"a list":                    `[{"externalRef":"a"}]`,
		"nothing":                   ``,
	} {
		a := promptly(t, name, func() rig.Answer {
			return send(t, r, "POST", "/api/v1/users", body, "Authorization", "Bearer "+token, "Content-Type", "application/json")
		})
		if a.Status != http.StatusBadRequest || a.Text("code") != "invalid_request" {
			t.Errorf("%s: %s", name, a)
		}
	}
	if a := send(t, r, "POST", "/api/v1/users", nested(30), "Authorization", "Bearer "+token, "Content-Type", "application/json"); a.Status != http.StatusBadRequest || strings.Contains(a.Body, "deep") {
		t.Errorf("31 levels are not too deep: %s", a)
	}
}

func TestH4_LongQueriesAndHeadersAreRefused(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	query := make([]byte, 0, 10<<20)
	for i := range 1_000_000 {
		query = append(strconv.AppendInt(append(query, 'a'), int64(i), 10), "=&"...)
	}
	for name, c := range map[string]struct {
		text string
		want []int
	}{
		"a million query parameters":  {"GET /authorize?" + string(query) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{431, 414, 400}},
		"a header of a megabyte":      {"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", []int{431}},
		"headers of 17 KiB":           {"GET / HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X: "+strings.Repeat("a", 1019)+"\r\n", 17) + "\r\n", []int{431}},
		"headers of 15 KiB are fine":  {"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + strings.Repeat("X: "+strings.Repeat("a", 1019)+"\r\n", 15) + "\r\n", []int{200}},
		"a query of 8 KiB is read":    {"GET /authorize?" + strings.Repeat("a", 8<<10) + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", []int{400}},
		"12 000 parameters in a form": {form("/token", strings.Repeat("a=&", 12_000)), []int{400}},
		"30 000 parameters, page":     {form("/authorize", strings.Repeat("a&", 30_000)), []int{400}},
	} {
		c2 := dial(t, r, "")
		go func() { _, _ = io.WriteString(c2, c.text) }()
		got, closed := statuses(t, c2, 8*time.Second)
		ok := len(got) == 1 && closed
		if ok {
			ok = false
			for _, w := range c.want {
				ok = ok || w == got[0]
			}
		}
		// A server that closes on unread bytes resets the line, and its answer may be lost.
		if len(got) == 0 && closed && len(c.text) > 100_000 {
			ok = true
		}
		if !ok {
			t.Errorf("%s: %v, closed %v; want %v", name, got, closed, c.want)
		}
	}
}

func form(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", path, urlencoded, len(body), body)
}

func TestH6_NothingIsSmuggledBehindARequest(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	for name, text := range rig.Smuggling() {
		got, closed := statuses(t, dial(t, r, text), 3*time.Second)
		if len(got) > 1 || !closed || len(got) == 1 && got[0] < 400 {
			t.Errorf("%s: answered %v, closed %v", name, got, closed)
		}
	}
	// The line itself can carry two requests: the cases above mean something.
	if got, _ := statuses(t, dial(t, r, rig.Smuggled+rig.Smuggled), time.Second); len(got) != 2 {
		t.Errorf("two honest requests: %v", got)
	}
}

// promptly is what ask is answered. 5 ms is what that may take on a machine of its own;
// tests share theirs, so one of three that is not much slower will do. Whoever asks
// does not run beside other tests.
func promptly(t *testing.T, name string, ask func() rig.Answer) (a rig.Answer) {
	t.Helper()
	const most = 20 * time.Millisecond
	fastest := time.Hour
	for tries := 0; tries < 3 && fastest > most*slower; tries++ {
		start := time.Now()
		a = ask()
		fastest = min(fastest, time.Since(start))
	}
	if fastest > most*slower {
		t.Errorf("%s: took %s, want %s", name, fastest, most*slower)
	}
	return a
}

// slower is how much more time things may take where they are watched.
var slower = map[bool]time.Duration{false: 1, true: 10}[raceEnabled]
