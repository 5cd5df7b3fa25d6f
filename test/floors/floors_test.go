package floors_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// goFiles calls do with every Go file of the module, by its path from the root.
func goFiles(t *testing.T, do func(name string, src []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(p, root+string(filepath.Separator)))
		if d.IsDir() {
			switch base := d.Name(); {
			case p == root:
			case strings.HasPrefix(base, "."), strings.HasPrefix(base, "_"), base == "testdata", base == "node_modules":
				return filepath.SkipDir
			case name == "tools", name == "bin", name == "data", name == "tmp":
				return filepath.SkipDir
			case name == "internal/pin": // names modules so that go.mod keeps them; no code
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		do(name, src)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheHouseStands(t *testing.T) {
	files := 0
	goFiles(t, func(name string, src []byte) {
		files++
		for _, broken := range check(name, src) {
			t.Error(broken)
		}
	})
	if files < 20 {
		t.Fatalf("read only %d files: the walk does not see the module", files)
	}
}

func TestTheReadmeMapsEveryRoomThatIsThere(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for dir := range floor {
		if _, err := os.Stat(filepath.Join(root, dir)); err == nil && !strings.Contains(string(readme), "`"+dir+"`") {
			t.Errorf("the map in README.md does not name `%s`", dir)
		}
	}
}

// Generated pages call the templ library that they were generated for.
func TestTheTemplToolIsTheLibrarysVersion(t *testing.T) {
	version := func(file string) string {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`(?m)github\.com/a-h/templ (v\S+)`).FindSubmatch(b)
		if m == nil {
			t.Fatalf("%s does not name templ", file)
		}
		return string(m[1])
	}
	if lib, tool := version("go.mod"), version("tools/go.mod"); lib != tool {
		t.Errorf("go.mod has templ %s, tools/go.mod %s", lib, tool)
	}
}

func TestTheCheckerSeesWhatIsBroken(t *testing.T) {
	long := strings.Repeat("// line\n", maxLines+1)
	for _, tc := range []struct {
		name, file, src string
		want            string // part of the one complaint; empty: none
	}{
		{"an arrow down is fine", "web/a.go", `package web; import _ "mobileid/internal/kv"`, ""},
		{"an arrow along a floor is fine", "internal/channel/a.go", `package channel; import _ "mobileid/internal/identity"`, ""},
		{"an arrow up", "internal/kv/a.go", `package kv; import _ "mobileid/web"`, "upward, from floor 0 to 5"},
		{"an arrow up by one", "flows/a.go", `package flows; import _ "mobileid/provider"`, "upward, from floor 3 to 4"},
		{"an arrow up from a folder below", "provider/token/a.go", `package token; import _ "mobileid/web/session"`, "upward"},
		{"an arrow up in a test is fine", "internal/kv/a_test.go", `package kv; import _ "mobileid/web"`, ""},
		{"cmd may import everything", "cmd/mobileid/a.go", `package main; import (_ "mobileid/web"; _ "mobileid/sdk")`, ""},
		{"nobody imports cmd", "web/a.go", `package web; import _ "mobileid/cmd/mobileid/shop"`, "upward"},
		{"a package nobody placed", "stuff/a.go", `package stuff`, "stands on no floor"},
		{"an import of a package nobody placed", "web/a.go", `package web; import _ "mobileid/stuff"`, "stands on no floor"},
		{"the phone may import its messages", "sdk/a.go", `package sdk; import _ "mobileid/sdk/wire"`, ""},
		{"the phone may not import the server", "sdk/a.go", `package sdk; import _ "mobileid/internal/fault"`, "only sdk/wire"},
		{"the messages import nothing of ours", "sdk/wire/a.go", `package wire; import _ "mobileid/internal/fault"`, "only sdk/wire"},
		{"the server may not import the phone", "flows/a.go", `package flows; import _ "mobileid/sdk"`, "imports the phone"},
		{"the server may import the messages", "internal/channel/a.go", `package channel; import _ "mobileid/sdk/wire"`, ""},
		{"fosite in the provider is fine", "provider/a.go", `package provider; import _ "github.com/ory/fosite/compose"`, ""},
		{"fosite elsewhere", "flows/a.go", `package flows; import _ "github.com/ory/fosite/handler/oauth2"`, "imports github.com/ory/fosite"},
		{"a name that only begins alike is fine", "flows/a.go", `package flows; import _ "github.com/ory/fositex"`, ""},
		{"go-jose v3", "provider/a.go", `package provider; import _ "github.com/go-jose/go-jose/v3/jwt"`, "go-jose/v3"},
		{"go-jose v3 in a test", "provider/a_test.go", `package provider; import _ "github.com/go-jose/go-jose/v3"`, "go-jose/v3"},
		{"go-jose v4 is fine", "provider/a.go", `package provider; import _ "github.com/go-jose/go-jose/v4"`, ""},
		{"Redis outside kv", "web/a.go", `package web; import _ "github.com/redis/go-redis/v9"`, "go-redis"},
		{"SQL outside db", "internal/identity/a.go", `package identity; import _ "database/sql"`, "SQL has one home"},
		{"a SQL driver outside db", "cmd/mobileid/a.go", `package main; import _ "modernc.org/sqlite"`, "SQL has one home"},
		{"sessions outside web", "provider/a.go", `package provider; import _ "github.com/gorilla/sessions"`, "gorilla/sessions"},
		{"templ outside templates", "provider/a.go", `package provider; import _ "github.com/a-h/templ"`, "a-h/templ"},
		{"math/rand", "internal/outbox/a.go", `package outbox; import _ "math/rand/v2"`, "math/rand/v2"},
		{"a dot import", "web/a.go", `package web; import . "time"`, "by a dot"},
		{"the machine's time", "web/a.go", `package web; import "time"; var t = time.Now()`, "uses time.Now"},
		{"the machine's time under another name", "web/a.go", `package web; import tm "time"; var t = tm.Since(x)`, "uses time.Since"},
		{"the machine's time as a value", "web/a.go", `package web; import "time"; var now = time.Now`, "uses time.Now"},
		{"the machine's time in the clock is fine", "internal/clock/a.go", `package clock; import "time"; var t = time.Now()`, ""},
		{"the machine's time in a test is fine", "web/a_test.go", `package web; import "time"; var t = time.Now()`, ""},
		{"another Now is fine", "web/a.go", `package web; import "time"; func f(time clock, d time.Duration) { time.Now() }`, ""},
		{"the default client", "web/a.go", `package web; import "net/http"; var c = http.DefaultClient`, "DefaultClient"},
		{"http.Get", "internal/outbox/a.go", `package outbox; import "net/http"; func f() { http.Get("x") }`, "uses net/http.Get"},
		{"an init", "web/a.go", `package web; func init() {}`, "has an init"},
		{"a method named init is fine", "web/a.go", `package web; func (s *S) init() {}`, ""},
		{"a vague package", "web/util/a.go", `package util`, "does not say"},
		{"a vague folder", "web/helpers/a.go", `package web`, "does not say"},
		{"a long file", "web/a.go", "package web\n" + long, "lines"},
		{"a long generated file is fine", "web/a.go", "// Code generated by hand. DO NOT EDIT.\n\npackage web\n" + long, ""},
		{"a long test is fine", "web/a_test.go", "package web\n" + long, ""},
		{"a file that does not parse", "web/a.go", "package", "expected"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := check(tc.file, []byte(tc.src))
			switch {
			case tc.want == "" && len(got) > 0:
				t.Errorf("complains: %q", got)
			case tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)):
				t.Errorf("got %q, want one complaint with %q", got, tc.want)
			}
		})
	}
}
