// Package operate_test holds what an operator relies on: TLS, backup and
// restore, metrics, traces, and the files under deploy/, each tried on the real
// program.
package operate_test

import (
	"fmt"
	"os"
	"testing"

	"mobileid/test/program"
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "mobileid-operate-")
	if err == nil {
		binary, err = program.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}
