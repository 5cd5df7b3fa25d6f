package floors_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// check reads one Go file, named by its slash path from the module's root, and
// returns what it breaks.
func check(name string, src []byte) []string {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, src, parser.ParseComments)
	if err != nil {
		return []string{err.Error()}
	}
	c := checker{file: f, fset: fset, name: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go")}
	c.imports()
	if c.test {
		return c.broken
	}
	c.packageName()
	c.uses()
	c.inits()
	if n := bytes.Count(src, []byte("\n")); n > maxLines && !ast.IsGenerated(f) {
		c.fail(token.NoPos, "has %d lines; %d are the most", n, maxLines)
	}
	return c.broken
}

type checker struct {
	file   *ast.File
	fset   *token.FileSet
	name   string
	dir    string
	test   bool
	broken []string
}

func (c *checker) fail(at token.Pos, format string, args ...any) {
	where := c.name
	if at.IsValid() {
		where = fmt.Sprintf("%s:%d", c.name, c.fset.Position(at).Line)
	}
	c.broken = append(c.broken, where+": "+fmt.Sprintf(format, args...))
}

// within reports whether dir is root or lies below it.
func within(dir, root string) bool { return dir == root || strings.HasPrefix(dir, root+"/") }

func withinAny(dir string, roots []string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return within(dir, root) })
}

// place finds the entry of the floor map that dir stands under.
func place(dir string) (root string, level int, ok bool) {
	for root = dir; root != "."; root = path.Dir(root) {
		if level, ok = floor[root]; ok {
			return root, level, true
		}
	}
	return "", 0, false
}

func (c *checker) imports() {
	for _, spec := range c.file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			c.fail(spec.Pos(), "import %s: %v", spec.Path.Value, err)
			continue
		}
		for _, f := range fences {
			if within(p, f.imports) && !withinAny(c.dir, f.inside) && (f.tests || !c.test) {
				c.fail(spec.Pos(), "imports %s: %s", p, f.why)
			}
		}
		if !c.test {
			c.arrow(spec, p)
		}
	}
}

// arrow checks an import of our own. Tests may reach up: they drive what they
// test through the front door.
func (c *checker) arrow(spec *ast.ImportSpec, p string) {
	if spec.Name != nil && spec.Name.Name == "." {
		c.fail(spec.Pos(), "imports %s by a dot, which hides where names come from", p)
	}
	root, level, ok := place(c.dir)
	if !ok {
		return // reported once, by packageName
	}
	to, ours := strings.CutPrefix(p, module+"/")
	if !ours {
		return
	}
	toRoot, toLevel, ok := place(to)
	switch allowed, narrow := only[root]; {
	case !ok:
		c.fail(spec.Pos(), "imports %s, which stands on no floor", p)
	case narrow && !slices.Contains(allowed, toRoot):
		c.fail(spec.Pos(), "imports %s: %s may import only %s", p, root, strings.Join(allowed, ", "))
	case toLevel > level:
		c.fail(spec.Pos(), "imports %s upward, from floor %d to %d", p, level, toLevel)
	case toRoot == "sdk" && !withinAny(c.dir, drivers):
		c.fail(spec.Pos(), "imports the phone; the server shares sdk/wire with it and nothing else")
	}
}

func (c *checker) packageName() {
	if _, _, ok := place(c.dir); !ok {
		c.fail(token.NoPos, "stands on no floor; place its folder in the map of test/floors and in the README")
	}
	for _, name := range []string{c.file.Name.Name, path.Base(c.dir)} {
		if slices.Contains(vague, name) {
			c.fail(c.file.Name.Pos(), "package %s: the name does not say what is inside", name)
			return
		}
	}
}

// uses looks for package members that have a home. A local name that hides the
// package is not one of them.
func (c *checker) uses() {
	local := map[string]string{} // name in this file → import path
	for _, spec := range c.file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		local[name] = p
	}
	ast.Inspect(c.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok || x.Obj != nil {
			return true
		}
		for _, u := range uses {
			if local[x.Name] == u.pkg && slices.Contains(u.names, sel.Sel.Name) && !withinAny(c.dir, u.inside) {
				c.fail(sel.Pos(), "uses %s.%s: %s", u.pkg, sel.Sel.Name, u.why)
			}
		}
		return true
	})
}

func (c *checker) inits() {
	for _, d := range c.file.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			c.fail(fn.Pos(), "has an init; run wires everything")
		}
	}
}
