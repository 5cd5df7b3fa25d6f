package rest

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"mobileid/internal/egress/egresstest"
	"mobileid/internal/notify/pushtest"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// inside listens at a port of https on this machine and counts who connects.
func inside(t *testing.T) (ip, port string, connected *atomic.Int64) {
	t.Helper()
	b := make([]byte, 2)
	rand.Read(b)
	var l net.Listener
	var err error
	// An address of its own is free whatever else runs here; not every system has one.
	for _, at := range []string{fmt.Sprintf("127.77.%d.%d:8443", b[0], b[1]), "127.0.0.1:8443", "127.0.0.1:443"} {
		if l, err = net.Listen("tcp", at); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	connected = &atomic.Int64{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connected.Add(1)
			c.Close()
		}
	}()
	ip, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return ip, port, connected
}

// A name says nothing about where it leads: that is found out where it is dialled,
// and egress.allow does not open the inside to phones.
func TestF1_APushAddressWhoseNameLeadsInsideIsNotCalled(t *testing.T) {
	for name, c := range map[string]struct {
		options rig.Options
		called  bool
	}{
		"where nothing is allowed":                 {rig.Options{}, false},
		"where clients may have the inside called": {rig.Options{Egress: loopback()}, false},
		"where phones may, it is":                  {rig.Options{Push: loopback()}, true},
	} {
		t.Run(name, func(t *testing.T) {
			ip, port, connected := inside(t)
			var asked atomic.Int64
			c.options.Resolver = egresstest.Resolver(t, func(string) []string {
				asked.Add(1)
				return []string{ip}
			})
			r := rig.Start(t, c.options)
			u, p := r.Person()
			s := pushtest.Start(t)
			if _, err := p.SetPush(t.Context(), wire.PushSet{Endpoint: "https://push.example:" + port + "/x", P256DH: s.P256DH, Auth: s.Auth}); err != nil {
				t.Fatal(err)
			}
			if a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "sendPush": true}); a.Status != http.StatusCreated {
				t.Fatalf("%s", a)
			}
			// Either way the push fails. The third question is the second try's, so that
			// the first is over by then.
			for end := time.Now().Add(30 * time.Second); asked.Load() < 3; time.Sleep(100 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%d questions for the name", asked.Load())
				}
				r.Clock.Advance(time.Second)
			}
			if n := connected.Load(); n > 0 != c.called {
				t.Errorf("%d connections", n)
			}
		})
	}
}
