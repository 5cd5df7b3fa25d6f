package main

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test's own program be the floor server.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "floor" {
		main()
		return
	}
	os.Exit(m.Run())
}

// installedPeer is the peer's folder if make deps or an earlier run has been there.
func installedPeer() string {
	if _, err := os.Stat("peer/node_modules/.installed-lock"); err != nil {
		return ""
	}
	return "peer"
}

func TestAShortRunFillsEveryRowOfItsTable(t *testing.T) {
	engines := "embedded"
	if _, err := exec.LookPath("redis-server"); err == nil {
		engines = "embedded,redis"
	}
	var out strings.Builder
	o := options{engines: engines, rounds: 1, people: 3, growth: 20, peer: installedPeer(), count: 4, conns: 2, cores: 1, settle: time.Millisecond}
	if err := bench(t.Context(), o, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, engine := range strings.Split(engines, ",") {
		_, table, found := strings.Cut(out.String(), engine+" store")
		if !found {
			t.Fatalf("no table of %s:\n%s", engine, out.String())
		}
		if _, grown, found := strings.Cut(table, "growth: 3 users against 20 more"); !found || !strings.Contains(grown, rows[0].name) {
			t.Errorf("%s: no table of growth", engine)
		}
		for _, r := range rows {
			_, rest, found := strings.Cut(table, r.name)
			line, _, _ := strings.Cut(rest, "\n")
			if !found || len(strings.Fields(line)) < 6 || strings.Contains(line, "NaN") || strings.Contains(line, "Inf") {
				t.Errorf("%s: row %q reads %q", engine, r.name, line)
			}
		}
	}
}

func TestTheCPUTimeOfAProcessGrowsWithItsWork(t *testing.T) {
	p, err := start(1, plainEnv(), "sh", "-c", "while :; do :; done")
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	for range 500 {
		used, err := cpuTime(p.pid())
		if err != nil {
			t.Skip(err)
		}
		if used > 5*time.Millisecond {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("a busy process used no CPU time in five seconds")
}

func TestAFloorMessageWithAWrongSignatureIsRefused(t *testing.T) {
	f, fix, err := newFloor(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if f.kv == nil || len(fix.Answer) <= len(fix.List) {
		t.Fatal("the fixture is not whole")
	}
	plain := make([]byte, 200)
	if err := verifyFloor(f.device, plain, 1); err == nil {
		t.Error("a text without a signature was accepted")
	}
}

func TestARefusalIsNotMeasuredAsAFlow(t *testing.T) {
	f, fix, err := newFloor(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(f.handler(fix))
	defer srv.Close()
	ts := hostOf(srv.URL)
	c, err := dial(ts)
	if err != nil {
		t.Fatal(err)
	}
	defer c.c.Close()
	if _, err := c.want(200, request("POST", ts, "/token", []byte("grant_type=client_credentials"), formType)); err == nil {
		t.Error("a request without a secret passed as a success")
	}
}
