package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// cpuTime is what the process has used of all CPUs, user and system, its ended
// threads included. The kernel's clock of the process counts nanoseconds, where
// /proc/PID/stat counts hundredths of a second.
func cpuTime(pid int) (time.Duration, error) {
	const sched = 2                                   // CPUCLOCK_SCHED, of the whole process
	clock := uintptr(uint32(^uint32(pid)<<3 | sched)) // as clock_getcpuclockid(3) makes it
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, errno)
	}
	return time.Duration(ts.Nano()), nil
}

// memory is the resident set of the process, the most it ever was, and how much of it
// now are pages of files, its program above all, in bytes.
func memory(pid int) (now, peak, files int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, 0, err
	}
	field := func(name string) int64 {
		_, rest, _ := strings.Cut(string(text), name+":")
		line, _, _ := strings.Cut(rest, " kB")
		n, _ := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		return n << 10
	}
	return field("VmRSS"), field("VmHWM"), field("RssFile"), nil
}

// dieWithParent has a child killed when this process dies.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
