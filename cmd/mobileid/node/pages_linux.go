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
// from the page cache, a piece at a time. A mapping with pages of its own, such as
// those that a loader has written addresses into, is left alone.
func forgetPages() (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, maps.Close()) }()
	at := "" // the mapping that the lines are about, if it is of the file and read only
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) >= 5 && strings.Contains(f[0], "-"): // from-to permissions offset device inode path (proc(5))
			at = ""
			if len(f) == 6 && f[5] == self && !strings.Contains(f[1], "w") {
				at = f[0]
			}
		case at != "" && len(f) == 3 && f[0] == "Anonymous:" && f[1] == "0":
			if err := forget(at); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

// forget does so with the pages of one mapping, FROM-TO in hexadecimal.
func forget(mapping string) error {
	first, behind, _ := strings.Cut(mapping, "-")
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
	return nil
}
