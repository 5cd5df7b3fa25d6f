// Command gen writes the vector files of mid/1 into a folder, sdk/vectors when
// run from the module's root without an argument.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"mobileid/sdk/vectors"
)

func main() {
	dir := filepath.Join("sdk", "vectors")
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	for name, content := range vectors.Files() {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
