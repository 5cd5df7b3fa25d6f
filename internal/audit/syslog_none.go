//go:build windows || plan9

package audit

import "errors"

// Syslog fails: this system has none.
func Syslog(string) (Sink, error) {
	return nil, errors.New("audit.anchor_syslog: this system has no syslog")
}
