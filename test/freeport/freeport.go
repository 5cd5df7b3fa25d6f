// Package freeport finds ports for servers that a test stops and starts again
// where they were.
package freeport

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
)

// Ports below those that a kernel gives to outgoing connections (from 32768 on,
// as Linux is delivered): while the server is down no client that tries to reach
// it, and no other connection either, can sit on its port.
const (
	first = 10000
	count = 22000
)

// Pick returns a TCP port of 127.0.0.1 that nobody listens on. Another process may
// take it before the caller does.
func Pick() (int, error) {
	var last error
	for range 100 {
		var random [4]byte
		rand.Read(random[:])
		port := first + int(binary.BigEndian.Uint32(random[:])%count)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			last = err
			continue
		}
		return port, l.Close()
	}
	return 0, last
}
