// Command gen writes the vector files of mid/1 into a folder, sdk/vectors when
// run from the module's root without an argument. With -check it writes nothing
// and fails if a file there is not what it would write.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"mobileid/sdk/vectors"
)

func main() {
	check := flag.Bool("check", false, "compare with the files instead of writing them")
	flag.Parse()
	dir := filepath.Join("sdk", "vectors")
	if flag.NArg() > 0 {
		dir = flag.Arg(0)
	}
	if err := run(dir, *check); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(dir string, check bool) error {
	for name, content := range vectors.Files() {
		path := filepath.Join(dir, name)
		if !check {
			if err := os.WriteFile(path, content, 0o644); err != nil {
				return err
			}
			continue
		}
		have, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(have, content) {
			return fmt.Errorf("%s is not current: run make generate", path)
		}
	}
	return nil
}
