package attacks

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mobileid/test/rig"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2 speaks HTTP/2 to the server's own TLS listener, frame by frame.
type h2 struct {
	*http2.Framer
	conn  *tls.Conn
	heads bytes.Buffer
	enc   *hpack.Encoder
	next  uint32
	sent  atomic.Int64 // bytes

	gone   chan struct{} // closed once the server has hung up
	why    atomic.Uint32 // of its GOAWAY
	status atomic.Value  // of the last answer
}

// Write implements io.Writer for the framer.
func (c *h2) Write(p []byte) (int, error) {
	n, err := c.conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// dialH2 opens a connection. With listen false nothing is ever read from it.
func dialH2(t *testing.T, r *rig.Rig, listen bool, settings ...http2.Setting) *h2 {
	t.Helper()
	conf := r.HTTP.Transport.(*http.Transport).TLSClientConfig.Clone()
	conf.NextProtos = []string{"h2"}
	conf.ServerName = "localhost"
	wire, err := net.Dial("tcp", strings.TrimPrefix(r.Issuer, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { wire.Close() })
	if !listen { // so that the server soon cannot get rid of what it has to say
		if err := wire.(*net.TCPConn).SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
	}
	conn := tls.Client(wire, conf)
	if err := conn.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := conn.ConnectionState().NegotiatedProtocol; got != "h2" {
		t.Fatalf("the server speaks %q", got)
	}
	c := &h2{conn: conn, next: 1, gone: make(chan struct{})}
	c.enc = hpack.NewEncoder(&c.heads)
	c.Framer = http2.NewFramer(c, conn)
	c.AllowIllegalWrites = true
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	if !listen { // it takes no more than it can answer: enough of that after a while
		if err := wire.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	go func() {
		defer close(c.gone)
		for {
			f, err := c.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.GoAwayFrame:
				c.why.Store(uint32(f.ErrCode))
			case *http2.MetaHeadersFrame:
				c.status.Store(f.PseudoValue("status"))
			}
		}
	}()
	return c
}

// fields encodes a request.
func (c *h2) fields(method, path string, more ...string) []byte {
	c.heads.Reset()
	for _, f := range [][2]string{{":method", method}, {":scheme", "https"}, {":authority", "localhost"}, {":path", path}} {
		_ = c.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	for i := 0; i+1 < len(more); i += 2 {
		_ = c.enc.WriteField(hpack.HeaderField{Name: more[i], Value: more[i+1]})
	}
	return bytes.Clone(c.heads.Bytes())
}

// open starts a request and returns its stream.
func (c *h2) open(whole bool, block []byte) (uint32, error) {
	id := c.next
	c.next += 2
	return id, c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: whole})
}

// closes waits for the server to hang up.
func (c *h2) closes() bool {
	select {
	case <-c.gone:
		return true
	case <-time.After(15 * time.Second):
		return false
	}
}

func TestH5_FloodsOfHTTP2FramesEndTheConnectionOrAreBounded(t *testing.T) {
	r := rig.Start(t, rig.Options{TLS: true})
	u, _ := r.Person()
	held := "grant_type=urn%3Aopenid%3Aparams%3Agrant-type%3Aciba&auth_req_id=" + r.Ask(r.Backend, u).Text("auth_req_id")
	const many = 6_000
	// repeat does something until it fails, which is how a client learns that it was
	// hung up on.
	repeat := func(n int, fn func(i int) error) error {
		for i := range n {
			if err := fn(i); err != nil {
				return err
			}
		}
		return nil
	}
	type attack struct {
		deaf     bool // reads nothing
		settings []http2.Setting
		run      func(c *h2) error
		ends     bool  // the connection must end
		most     int64 // bytes that the server takes
	}
	for name, a := range map[string]attack{
		"rapid reset": {run: func(c *h2) error {
			get := c.fields("GET", "/authorize")
			return repeat(many, func(int) error {
				id, err := c.open(true, get)
				if err == nil {
					err = c.WriteRSTStream(id, http2.ErrCodeCancel)
				}
				return err
			})
		}},
		"rapid reset of requests that are held": {run: func(c *h2) error {
			post := c.fields("POST", "/token", "content-type", urlencoded, "authorization", basic(r.Backend, r.Backend.ClientSecret))
			return repeat(many, func(int) error {
				id, err := c.open(false, post)
				if err == nil {
					err = c.WriteData(id, true, []byte(held))
				}
				if err == nil {
					err = c.WriteRSTStream(id, http2.ErrCodeCancel)
				}
				return err
			})
		}},
		"resets that the server is made to send": {run: func(c *h2) error {
			get := c.fields("GET", "/authorize")
			return repeat(many, func(int) error {
				id, err := c.open(true, get)
				if err == nil {
					err = c.WriteWindowUpdate(id, 0)
				}
				return err
			})
		}},
		"streams beyond what was agreed": {run: func(c *h2) error {
			post := c.fields("POST", "/token", "content-type", urlencoded)
			return repeat(many, func(int) error { _, err := c.open(false, post); return err })
		}},
		"CONTINUATION without end": {run: func(c *h2) error {
			if err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.fields("GET", "/")}); err != nil {
				return err
			}
			c.heads.Reset()
			_ = c.enc.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 4000), Sensitive: true})
			block := bytes.Clone(c.heads.Bytes())
			return repeat(many, func(int) error { return c.WriteContinuation(1, false, block) })
		}, ends: true, most: 8 << 20},
		"empty CONTINUATION without end": {run: func(c *h2) error {
			if err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.fields("GET", "/")}); err != nil {
				return err
			}
			return repeat(many, func(int) error { return c.WriteContinuation(1, false, nil) })
		}},
		"a header packed a thousandfold": {run: func(c *h2) error {
			c.heads.Reset()
			block := c.fields("GET", "/")
			big := hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 3000)}
			for range 5000 { // the table holds it: a byte or two each
				_ = c.enc.WriteField(big)
			}
			block = append(block[:0:0], c.heads.Bytes()...)
			_, err := c.open(true, block)
			return err
		}},
		"PING without reading":     {deaf: true, run: func(c *h2) error { return repeat(20*many, func(int) error { return c.WritePing(false, [8]byte{}) }) }},
		"SETTINGS without reading": {deaf: true, run: func(c *h2) error { return repeat(20*many, func(int) error { return c.WriteSettings() }) }},
		"PRIORITY": {run: func(c *h2) error {
			return repeat(many, func(i int) error { return c.WritePriority(uint32(2*i+1), http2.PriorityParam{StreamDep: 0}) })
		}},
		"answers that nobody takes": {settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}, run: func(c *h2) error {
			get := c.fields("GET", "/jwks")
			return repeat(200, func(int) error { _, err := c.open(true, get); return err })
		}},
		"empty DATA": {run: func(c *h2) error {
			id, err := c.open(false, c.fields("POST", "/token", "content-type", urlencoded))
			if err != nil {
				return err
			}
			return repeat(many, func(int) error { return c.WriteData(id, false, nil) })
		}},
		"not HTTP/2 at all": {run: func(c *h2) error { _, err := io.WriteString(c, strings.Repeat("x", 1<<20)); return err }, ends: true},
	} {
		t.Run(name, func(t *testing.T) {
			// Somebody else, all the while.
			stop := make(chan struct{})
			var other sync.WaitGroup
			other.Go(func() {
				for {
					if a := r.Get("/jwks"); a.Status != http.StatusOK {
						t.Errorf("somebody else is told %s", a)
						return
					}
					select {
					case <-stop:
						return
					case <-time.After(10 * time.Millisecond):
					}
				}
			})
			defer func() { close(stop); other.Wait() }()
			before := usage()
			c := dialH2(t, r, !a.deaf, a.settings...)
			err := a.run(c)
			if a.ends && !c.closes() {
				t.Error("the connection goes on")
			}
			if a.deaf {
				t.Logf("sent %d bytes: %v", c.sent.Load(), err)
			}
			if why := http2.ErrCode(c.why.Load()); why != 0 {
				t.Logf("hung up on with %s after %d streams", why, c.next/2)
			}
			if n := c.sent.Load(); a.most > 0 && n > a.most {
				t.Errorf("%d bytes were taken", n)
			}
			during := usage()
			if grown := int64(during.heap) - int64(before.heap); grown > 64<<20 {
				t.Errorf("the heap grew by %d MiB", grown>>20)
			}
			// 250 streams at once, with what belongs to each.
			if grown := during.routines - before.routines; grown > 600 {
				t.Errorf("%d goroutines more", grown)
			}
			c.conn.NetConn().Close() // not with a farewell that nobody takes
		})
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		r.HTTP.CloseIdleConnections()
		if n := usage().routines; n < 100 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%d goroutines stay", n)
		}
	}
}

func TestH2_H3_TheLimitsOfHeadersAndBodiesHoldForHTTP2(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{TLS: true})
	// Not by Go's client, which sends none that the server's settings forbid.
	c := dialH2(t, r, true)
	var headers []string
	for i := range 17 {
		headers = append(headers, "x-"+string(rune('a'+i)), strings.Repeat("y", 1019))
	}
	block := c.fields("GET", "/", headers...)
	const frame = 16 << 10
	err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:min(frame, len(block))], EndHeaders: len(block) <= frame, EndStream: true})
	if err == nil && len(block) > frame {
		err = c.WriteContinuation(1, true, block[frame:])
	}
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); c.status.Load() == nil && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	if got := c.status.Load(); got != "431" {
		t.Errorf("headers of 17 KiB: %v", got)
	}
	told := 0
	for _, path := range []string{"/token", "/authorize"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.Issuer+path, io.LimitReader(endless{}, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", urlencoded)
		a, err := r.Send(req)
		if err == nil && a.Status != http.StatusRequestEntityTooLarge {
			t.Errorf("a body of a megabyte to %s: %s", path, a)
		}
		if err == nil {
			told++
		}
	}
	if told == 0 {
		t.Error("nobody was ever told 413")
	}
}

// used is what the process, server and test, has in use.
type used struct {
	heap     uint64
	routines int
}

func usage() used {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return used{m.HeapAlloc, runtime.NumGoroutine()}
}
