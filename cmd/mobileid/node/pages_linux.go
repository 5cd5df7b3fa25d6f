package node

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// forgetPages takes the pages of this program's own file out of its memory: a start
// runs and reads far more of it than serving does. What is needed again is taken
// from the page cache, a piece at a time.
func forgetPages() (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, maps.Close()) }()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		// from-to permissions offset device inode path (proc(5))
		f := strings.Fields(lines.Text())
		if len(f) != 6 || f[5] != self || strings.Contains(f[1], "w") {
			continue
		}
		first, behind, _ := strings.Cut(f[0], "-")
		from, err := strconv.ParseUint(first, 16, 64)
		if err != nil {
			return err
		}
		to, err := strconv.ParseUint(behind, 16, 64)
		if err != nil {
			return err
		}
		if _, _, no := syscall.Syscall(syscall.SYS_MADVISE, uintptr(from), uintptr(to-from), syscall.MADV_DONTNEED); no != 0 {
			return fmt.Errorf("madvise: %w", no)
		}
	}
	return lines.Err()
}
