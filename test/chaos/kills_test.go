package chaos

import (
	mathrand "math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mobileid/test/program"
)

// TestKillsUnderLoadLoseNothingAcknowledged kills the server at random points of
// 30 logins a round and starts it again each time. What it leaves is then spoilt,
// to see that the judge would have found it.
func TestKillsUnderLoadLoseNothingAcknowledged(t *testing.T) {
	const workers = 10
	each := 3 * rounds(t)
	dir := t.TempDir()
	srv := program.Start(t, bin, dir, "MOBILEID_EGRESS__ALLOW=127.0.0.0/8")
	c := &client{t: t, srv: srv, c: http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}, sky: &sky{}}
	h := startHook(t)
	c.listen(h)
	people := make([]*someone, workers)
	for i := range people {
		people[i] = c.person(dir)
	}
	shop := c.as(srv.Shop, srv.ShopURL+"/callback")
	var all diary
	var wg sync.WaitGroup
	for _, s := range people {
		wg.Go(func() {
			for i := range each {
				if i%3 == 1 {
					all.add(shop.login(s))
				} else {
					all.add(c.login(s, i%6 == 5))
				}
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	kills := 0
	for running := true; running; {
		select {
		case <-finished:
			running = false
		case <-time.After(time.Duration(50+mathrand.IntN(300)) * time.Millisecond):
			if kills < 10*rounds(t) {
				c.sky.during(func() {
					srv.Kill()
					srv.Start()
				})
				kills++
			}
		}
	}
	j := openJudge(t, "sqlite:"+filepath.Join(dir, "mobileid.db"))
	eventually(t, "everything is told", func() error { return h.taken(t.Context(), j) })
	eventually(t, "the audit is sealed", func() error { return j.chain(t.Context(), dir) })
	if err := srv.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	owed, err := j.owed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := j.all(t.Context(), dir, all.lines, people, owed, h.messages())
	j.report(t)
	t.Logf("%d kills, %d logins: %v", kills, len(all.lines), got)
	if kills < 5 {
		t.Errorf("only %d kills: the load was over too soon to prove anything", kills)
	}
	if got["token"] < len(all.lines)/2 || got["refreshed"] == 0 {
		t.Errorf("too few of %d logins came to tokens, or were refreshed: %v", len(all.lines), got)
	}
	if !t.Failed() {
		plant(t, j, dir, all.lines, people, h.messages())
	}
}
