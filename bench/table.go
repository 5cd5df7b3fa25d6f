package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// table prints what the sides cost; peer may be nil. The last column is the floor's
// p50, which says how much of ours is the disk and the machine.
func table(to io.Writer, o options, engine string, ours, floor, peer *side) {
	fmt.Fprintf(to, "%s store; %d connections, closed loop; GOMAXPROCS=%d for each server; %s, %d CPUs, %s\n",
		engine, o.conns, o.cores, cpuModel(), runtime.NumCPU(), runtime.Version())
	fmt.Fprintf(to, "%-29s %8s %8s %7s %8s %8s %7s   %-15s %8s %8s %8s %8s\n",
		"flow", "CPU ms", "floor", "ratio", "peer", "to floor", "to ours", "must be", "flows/s", "p50 ms", "p99 ms", "floor's")
	for _, r := range rows {
		a, b := ours.figure(r), floor.figure(r)
		var c figure
		if peer != nil {
			c = peer.figure(r)
		}
		fmt.Fprintf(to, "%-29s %8.3f %8.3f %6.2fx %8s %8s %7s   %-15s %8.0f %8.2f %8.2f %8.2f\n", r.name, ms(a.cpu), ms(b.cpu), a.over(b),
			known("%.3f", ms(c.cpu)), known("%.2fx", c.over(b)), known("%.2fx", c.over(a)), r.goal(), a.rate, ms(a.p50), ms(a.p99), ms(b.p50))
	}
}

// known is the number as text, or a dash where there is none.
func known(format string, v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf(format, v)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// goal is what the row must reach.
func (r row) goal() string {
	switch {
	case r.most == 0:
		return ""
	case r.ratio == 0:
		return fmt.Sprintf("<= %.3g", r.most)
	}
	return fmt.Sprintf("<= %.3g, %.4gx", r.most, r.ratio)
}

// cpuModel is the processor's name as the system tells it.
func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	_, rest, found := strings.Cut(string(text), "model name")
	line, _, _ := strings.Cut(rest, "\n")
	if !found {
		return runtime.GOARCH
	}
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), ":"))
}
