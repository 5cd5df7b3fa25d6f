package contested

import (
	"fmt"
	"os"
	"testing"

	"mobileid/internal/kv/kvtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := kvtest.EndShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
