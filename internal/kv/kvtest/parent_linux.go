package kvtest

import "syscall"

// dieWithParent lets the kernel end the server when the test binary dies
// without cleaning up, as it does on a test timeout.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
