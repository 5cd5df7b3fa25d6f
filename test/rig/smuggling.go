package rig

import (
	"fmt"
	"strings"
)

// Smuggled is the request that must never be answered when it comes inside
// another: it would be a 200.
const Smuggled = "GET /robots.txt HTTP/1.1\r\nHost: localhost\r\n\r\n"

// Smuggling are requests whose end two readers may see in different places, each
// with Smuggled in what is behind one of the ends.
func Smuggling() map[string]string {
	const inner = Smuggled
	post := "POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	cl := func(n int) string { return fmt.Sprintf("Content-Length: %d\r\n", n) }
	return map[string]string{
		"CL and TE":                    post + cl(5+len(inner)) + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
		"TE and CL":                    post + "Transfer-Encoding: chunked\r\n" + cl(5) + "\r\n0\r\n\r\n" + inner,
		"two CL":                       post + cl(1) + cl(1+len(inner)) + "\r\na" + inner,
		"a list of CL":                 post + fmt.Sprintf("Content-Length: 1, %d\r\n\r\na", 1+len(inner)) + inner,
		"a signed CL":                  post + "Content-Length: +1\r\n\r\na" + inner,
		"a hexadecimal CL":             post + "Content-Length: 0x1\r\n\r\na" + inner,
		"a space before the colon":     post + "Content-Length : 1\r\n\r\na" + inner,
		"a space in TE's name":         post + "Transfer-Encoding : chunked\r\n" + cl(5) + "\r\n0\r\n\r\n" + inner,
		"TE that is quoted":            post + "Transfer-Encoding: \"chunked\"\r\n" + cl(5) + "\r\n0\r\n\r\n" + inner,
		"two TE":                       post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + inner,
		"TE that is not last":          post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + inner,
		"TE with a tab":                post + "Transfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n" + inner,
		"TE of HTTP/1.0":               strings.Replace(post, "HTTP/1.1", "HTTP/1.0", 1) + "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n" + cl(5) + "\r\n0\r\n\r\n" + inner,
		"bare LF behind a chunk size":  post + "Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n" + inner,
		"bare LF in a chunk extension": post + "Transfer-Encoding: chunked\r\n\r\n1;x\nxx\r\na\r\n0\r\n\r\n" + inner,
		"a chunk size with a prefix":   post + "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + inner,
		"a chunk size that overflows":  post + "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n" + inner,
		"a chunk longer than its size": post + "Transfer-Encoding: chunked\r\n\r\n1\r\naa\r\n0\r\n\r\n" + inner,
		"a folded header":              post + "X: y\r\n Transfer-Encoding: chunked\r\n" + cl(1) + "Connection: close\r\n\r\na" + inner,
		"a NUL in a header":            post + "X: a\x00b\r\n" + cl(1) + "\r\na" + inner,
		"two hosts":                    "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n" + inner,
		"no host":                      "GET / HTTP/1.1\r\n\r\n" + inner,
		"a body where none belongs":    "GET /none HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
	}
}
