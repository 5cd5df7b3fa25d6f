// Package interop_test holds the real binary against programs that are not
// ours: relying parties in JavaScript and Go, and a browser with a person in it.
package interop_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// binary is the built program, one for the whole package.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mobileid-interop-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	// What the caller's shell sets for another server is not meant for these.
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "MOBILEID_") {
			os.Unsetenv(name)
		}
	}
	// The tests may run under the race detector; what is shipped does not.
	binary = filepath.Join(dir, "mobileid")
	build := exec.Command("go", "build", "-o", binary, "./cmd/mobileid")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, bytes.TrimSpace(out))
		return 1
	}
	// The tests mostly wait, for people and their phones, not for processors.
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
