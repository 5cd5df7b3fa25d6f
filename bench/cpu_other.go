//go:build !linux

package main

import (
	"errors"
	"syscall"
	"time"
)

var errLinux = errors.New("the CPU time of another process is read on Linux only")

func cpuTime(int) (time.Duration, error)             { return 0, errLinux }
func memory(int) (now, peak, files int64, err error) { return 0, 0, 0, errLinux }
func dieWithParent() *syscall.SysProcAttr            { return nil }
