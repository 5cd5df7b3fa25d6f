// Command bundle makes the scripts of static/assets that are put together from
// static/src and npm packages. It writes the same bytes for the same sources: no
// time, no path of the machine. Run it from tools: go run ./bundle [-check].
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// scripts are the entry points, by the name of the asset each makes.
var scripts = map[string]string{"verify.js": "verify.js"}

func main() {
	check := flag.Bool("check", false, "compare with the files instead of writing them")
	root := flag.String("root", "..", "folder of the main module")
	flag.Parse()
	for asset, entry := range scripts {
		if err := bundle(*root, asset, entry, *check); err != nil {
			fmt.Fprintln(os.Stderr, "bundle:", err)
			os.Exit(1)
		}
	}
}

// licencesOf are the terms under which the packages may be passed on, as a comment.
func licencesOf(src string) (string, error) {
	files, err := filepath.Glob(filepath.Join(src, "node_modules", "*", "LICENSE*"))
	if err == nil && len(files) == 0 {
		err = errors.New("no package has a licence")
	}
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "/*! Parts are %s:\n\n%s\n*/\n", filepath.Base(filepath.Dir(f)), strings.ReplaceAll(strings.TrimSpace(string(text)), "*/", "* /"))
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

func bundle(root, asset, entry string, check bool) error {
	src, err := filepath.Abs(filepath.Join(root, "static", "src"))
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(src, "node_modules")); err != nil {
		return errors.New("the npm packages of static/src are not installed: run make deps")
	}
	licences, err := licencesOf(src)
	if err != nil {
		return err
	}
	res := api.Build(api.BuildOptions{
		AbsWorkingDir: src, EntryPoints: []string{entry}, Bundle: true, Format: api.FormatESModule, Platform: api.PlatformBrowser,
		Target: api.ES2022, MinifySyntax: true, MinifyWhitespace: true, MinifyIdentifiers: true, Charset: api.CharsetASCII,
		LegalComments: api.LegalCommentsInline, TreeShaking: api.TreeShakingTrue, LogLevel: api.LogLevelSilent,
		Banner: map[string]string{"js": "// Made from static/src by tools/bundle; do not edit.\n" + licences},
	})
	for _, e := range res.Errors {
		return fmt.Errorf("%s: %s", entry, e.Text)
	}
	if len(res.OutputFiles) != 1 {
		return fmt.Errorf("%s: %d files", entry, len(res.OutputFiles))
	}
	path := filepath.Join(root, "static", "assets", asset)
	if !check {
		return os.WriteFile(path, res.OutputFiles[0].Contents, 0o644)
	}
	have, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(have, res.OutputFiles[0].Contents) {
		return fmt.Errorf("%s is not what static/src makes: run make generate", path)
	}
	return nil
}
