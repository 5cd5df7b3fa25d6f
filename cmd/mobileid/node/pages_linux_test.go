package node

import (
	"bytes"
	"os"
	"strconv"
	"testing"
)

// ofFiles is how many kB of files are in this process's memory (proc(5), RssFile).
func ofFiles(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(status, []byte("RssFile:"))
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		t.Fatal("the system does not tell RssFile")
	}
	n, err := strconv.Atoi(string(fields[0]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWhatTheStartNeededOfTheProgramIsForgotten(t *testing.T) {
	before := ofFiles(t)
	if err := forgetPages(); err != nil {
		t.Fatal(err)
	}
	if after := ofFiles(t); after >= before {
		t.Errorf("%d kB of files in memory, and %d before", after, before)
	}
}
