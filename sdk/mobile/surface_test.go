package mobile

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// strange imports every package as an empty one: whatever stands in the surface is of
// this package or of the language.
type strange struct{}

func (strange) Import(path string) (*types.Package, error) {
	pkg := types.NewPackage(path, filepath.Base(path))
	pkg.MarkComplete()
	return pkg, nil
}

// check type-checks the declarations of one package.
func check(t *testing.T, fset *token.FileSet, files []*ast.File) *types.Package {
	t.Helper()
	conf := types.Config{Importer: strange{}, IgnoreFuncBodies: true, Error: func(error) {}} // of strangers' members
	pkg, err := conf.Check("mobileid/sdk/mobile", fset, files, nil)
	if pkg == nil {
		t.Fatal(err)
	}
	return pkg
}

// surface is this package without its tests.
func surface(t *testing.T) *types.Package {
	t.Helper()
	fset := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, n := range names {
		if strings.HasSuffix(n, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, n, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return check(t, fset, files)
}

// unbound lists what gobind would leave out or refuse, by the rules of its
// documentation (golang.org/x/mobile/cmd/gobind, "Type restrictions"): signed integers,
// floating point numbers, strings, booleans, byte slices, and interfaces and structs of
// the package itself whose exported methods and fields have such types. A function
// returns nothing, one result, or a result and an error.
func unbound(pkg *types.Package) (out []string) {
	say := func(where string, t types.Type) { out = append(out, fmt.Sprintf("%s: %s", where, t)) }
	ok := func(t types.Type) bool {
		switch t := types.Unalias(t).(type) {
		case *types.Basic:
			return t.Info()&(types.IsBoolean|types.IsString|types.IsFloat) != 0 || t.Info()&types.IsInteger != 0 && t.Info()&types.IsUnsigned == 0
		case *types.Slice:
			return types.Identical(t.Elem(), types.Typ[types.Byte])
		case *types.Pointer:
			n, named := types.Unalias(t.Elem()).(*types.Named)
			if !named || n.Obj().Pkg() != pkg || n.TypeParams().Len() > 0 {
				return false
			}
			_, isStruct := n.Underlying().(*types.Struct)
			return isStruct
		case *types.Named:
			if t.Obj().Pkg() == nil && t.Obj().Name() == "error" {
				return true
			}
			_, isInterface := t.Underlying().(*types.Interface)
			return t.Obj().Pkg() == pkg && isInterface && t.TypeParams().Len() == 0
		}
		return false
	}
	function := func(where string, sig *types.Signature) {
		if sig.Variadic() || sig.TypeParams().Len() > 0 {
			say(where, sig)
		}
		for p := range sig.Params().Variables() {
			if !ok(p.Type()) {
				say(where+" takes", p.Type())
			}
		}
		for r := range sig.Results().Variables() {
			if !ok(r.Type()) {
				say(where+" returns", r.Type())
			}
		}
		if n := sig.Results().Len(); n > 2 || n == 2 && sig.Results().At(1).Type().String() != "error" {
			say(where, sig.Results())
		}
	}
	for _, name := range pkg.Scope().Names() {
		obj := pkg.Scope().Lookup(name)
		if !obj.Exported() {
			continue
		}
		switch obj := obj.(type) {
		case *types.Const, *types.Var:
			if b, basic := obj.Type().(*types.Basic); !(basic && b.Info()&types.IsUntyped != 0) && !ok(obj.Type()) {
				say(name, obj.Type())
			}
		case *types.Func:
			function(name, obj.Signature())
		case *types.TypeName:
			named, isNamed := obj.Type().(*types.Named)
			if !isNamed || named.TypeParams().Len() > 0 {
				say(name, obj.Type())
				continue
			}
			switch u := named.Underlying().(type) {
			case *types.Struct:
				for f := range u.Fields() {
					if f.Exported() && (f.Embedded() || !ok(f.Type())) {
						say(name+"."+f.Name(), f.Type())
					}
				}
			case *types.Interface:
				for m := range u.Methods() {
					function(name+"."+m.Name(), m.Signature())
				}
			default:
				say(name, u)
			}
			for m := range named.Methods() {
				if m.Exported() {
					function(name+"."+m.Name(), m.Signature())
				}
			}
		}
	}
	return out
}

func TestGomobileBindsAllOfTheSurface(t *testing.T) {
	for _, fault := range unbound(surface(t)) {
		t.Error(fault)
	}
}

func TestTheRulesFindWhatGomobileDoesNotBind(t *testing.T) {
	for src, bad := range map[string]bool{
		"func F(a int, b []byte, c string, d bool, e float64, g int64) (string, error) { return \"\", nil }": false,
		"type T struct { A string; b map[string]int }\nfunc (t *T) M(u *T) error { return nil }":             false,
		"type I interface { M(name string) ([]byte, error) }\nfunc F(i I) {}":                                false,
		"const C = 3\nconst S = \"s\"":                                   false,
		"func F(a uint32) {}":                                            true,
		"func F(a []string) {}":                                          true,
		"func F() map[string]string { return nil }":                      true,
		"func F() (a, b int) { return }":                                 true,
		"func F() (int, int, error) { return 0, 0, nil }":                true,
		"func F(c chan int) {}":                                          true,
		"func F[T any](t T) {}":                                          true,
		"func F(f func()) {}":                                            true,
		"func F(names ...string) {}":                                     true,
		"type T struct { A []int }":                                      true,
		"type T struct{}\nfunc F(t T) {}":                                true,
		"type T struct{}\nfunc F() []*T { return nil }":                  true,
		"type I interface { M(a []string) }":                             true,
		"type M map[string]int":                                          true,
		"import \"context\"\nfunc F(ctx context.Context) {}":             true,
		"import \"time\"\ntype T struct { At time.Time }":                true,
		"type U struct{}\ntype T struct { U }\nfunc (u *U) M(x uint) {}": true,
		"type G[T any] struct { A string }":                              true,
		"type T struct{}\nfunc (t *T) M() <-chan string { return nil }":  true,
	} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "x.go", "package mobile\n"+src, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := unbound(check(t, fset, []*ast.File{f})); (len(got) > 0) != bad {
			t.Errorf("%s: %v", src, got)
		}
	}
}

var (
	snippet = regexp.MustCompile("(?s)```(kotlin|swift)\n(.*?)```")
	called  = regexp.MustCompile(`\b(phone|registration|inbox|operation|result|attestation|statement|push|Mobile)!?\??\.(\w+)`)
	made    = regexp.MustCompile(`\bMobile(New\w+)\(`)
)

// TestTheSnippetsOfTheDocumentationCallWhatIsThere: Kotlin and Swift are not compiled
// here, but each name they use after one of these receivers stands in the surface.
func TestTheSnippetsOfTheDocumentationCallWhatIsThere(t *testing.T) {
	pkg := surface(t)
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "sdk.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{"phone": "Phone", "registration": "Registration", "inbox": "Inbox", "operation": "Operation", "result": "Result", "attestation": "Attestation",
		"statement": "Statement", "push": "Push"}
	there := func(receiver, name string) bool {
		name = strings.ToUpper(name[:1]) + name[1:]
		if receiver == "Mobile" {
			return pkg.Scope().Lookup(name) != nil
		}
		obj, _, _ := types.LookupFieldOrMethod(types.NewPointer(pkg.Scope().Lookup(names[receiver]).Type()), true, pkg, name)
		return obj != nil
	}
	seen := map[string]int{}
	for _, s := range snippet.FindAllStringSubmatch(string(doc), -1) {
		for _, c := range called.FindAllStringSubmatch(s[2], -1) {
			seen[s[1]]++
			if !there(c[1], c[2]) && !upperRun(c[2], func(n string) bool { return there(c[1], n) }) {
				t.Errorf("%s: %s.%s is not there", s[1], c[1], c[2])
			}
		}
		for _, c := range made.FindAllStringSubmatch(s[2], -1) {
			if pkg.Scope().Lookup(c[1]) == nil {
				t.Errorf("%s: %s is not there", s[1], c[1])
			}
		}
	}
	if seen["kotlin"] < 8 || seen["swift"] < 8 {
		t.Errorf("the documentation calls %v", seen)
	}
}

// upperRun tries the spellings that gobind makes of a name that begins in capitals
// (OK becomes ok, PINMin becomes pinMin).
func upperRun(name string, there func(string) bool) bool {
	for i := 1; i <= len(name); i++ {
		if there(strings.ToUpper(name[:i]) + name[i:]) {
			return true
		}
	}
	return false
}
