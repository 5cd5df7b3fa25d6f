package interop_test

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestAPINThatWillNotDoIsAskedForAgain(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := phone{s, filepath.Join(s.dir, "typed.json")}
	cmd := exec.Command(binary, "phone", "--state", p.file, "register", s.link(s.User))
	cmd.Stdin = strings.NewReader("12345\nabcdef\n" + pin + "\n")
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("register: %v: %s", err, &said)
	}
	if n := strings.Count(said.String(), "Choose a PIN"); n != 3 {
		t.Errorf("asked %d times, want 3: %s", n, &said)
	}
	if _, err := s.try("phone", "--state", p.file, "register", s.link(s.User)); err == nil || !strings.Contains(err.Error(), "exit status 2") || !strings.Contains(err.Error(), "--state") {
		t.Errorf("a second registration in the same file: %v", err)
	}
}
