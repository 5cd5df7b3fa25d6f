//go:build unix

package kv_test

import (
	"os/signal"
	"syscall"
)

// limitFiles lets no file of this process grow beyond size until raise.
func limitFiles(size int64) (raise func() error, err error) {
	signal.Ignore(syscall.SIGXFSZ)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		return nil, err
	}
	low := before
	low.Cur = uint64(size)
	return func() error { return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before) }, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &low)
}
