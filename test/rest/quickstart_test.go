package rest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mobileid/test/rig"
)

// block is the first code block of the language in docs/rest.md, as it stands.
func block(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/rest.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindSubmatch(text)
	if m == nil {
		t.Fatalf("docs/rest.md has no %s", language)
	}
	return string(m[1])
}

// quick runs a quick start as a newcomer does and returns what it prints.
func quick(t *testing.T, r *rig.Rig, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "ISSUER="+r.Issuer, "CLIENT_ID="+r.Backend.ClientID, "CLIENT_SECRET="+r.Backend.ClientSecret)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), errs.String())
	}
	return out.String()
}

func TestTheQuickStartWithCurlWorksAsItStands(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	got := quick(t, r, t.TempDir(), "sh", "-euc", block(t, "sh"))
	if !strings.Contains(got, `"link":"`+r.Issuer+`/r#`) || strings.Count(got, `"state":"PENDING"`) != 2 {
		t.Errorf("it printed %s", got)
	}
}

func TestTheQuickStartWithGoWorksAsItStands(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	dir := t.TempDir()
	for name, text := range map[string]string{"main.go": block(t, "go"), "go.mod": "module quickstart\n\ngo 1.26\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := quick(t, r, dir, "go", "run", ".")
	if !regexp.MustCompile(`^usr_[a-z2-7]{26} ACTIVE\n$`).MatchString(got) {
		t.Errorf("it printed %q", got)
	}
	if a := r.REST("GET", "/users", nil); len(a.JSON["items"].([]any)) != 1 {
		t.Errorf("the server has %s", a)
	}
}

func TestTheReferenceHasEveryCallWithItsLineForCurl(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	a := r.Get("/api")
	if a.Status != 200 || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") || strings.Contains(a.Body, "<script") {
		t.Fatalf("%d %s", a.Status, a.Header)
	}
	for path, item := range contract(t).Paths.Map() {
		for method, op := range item.Operations() {
			line := "curl -s -X " + method + " " + r.Issuer + base + strings.ReplaceAll(path, "{id}", "$ID")
			if !strings.Contains(a.Body, `id="`+op.OperationID+`"`) || !strings.Contains(a.Body, line) {
				t.Errorf("%s %s is not there with %s", method, path, line)
			}
		}
	}
	if spec := r.Get("/api/v1/openapi.yaml"); spec.Status != 200 || !strings.HasPrefix(spec.Body, "openapi: 3.1.0\n") {
		t.Errorf("openapi.yaml: %d", spec.Status)
	}
}
