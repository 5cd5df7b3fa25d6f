//go:build !windows && !plan9

package audit

import (
	"context"
	"fmt"
	"log/syslog"
	"net/url"
)

// syslogSink writes anchors to a syslog; where is "local", udp://HOST:PORT or
// tcp://HOST:PORT. It connects anew for each anchor: one a minute, and a server
// that was away for a time is found again.
type syslogSink struct{ where string }

// Syslog returns the sink for where.
func Syslog(where string) (Sink, error) { return syslogSink{where}, nil }

func (s syslogSink) String() string { return "syslog " + s.where }

func (s syslogSink) Anchor(_ context.Context, a Anchor) error {
	network, address := "", ""
	if s.where != "local" {
		u, err := url.Parse(s.where)
		if err != nil {
			return err
		}
		network, address = u.Scheme, u.Host
	}
	w, err := syslog.Dial(network, address, syslog.LOG_NOTICE|syslog.LOG_AUTHPRIV, "mobileid-audit")
	if err != nil {
		return err
	}
	defer w.Close()
	_, err = fmt.Fprintf(w, "audit anchor seq=%d hash=%s", a.Seq, a.Hash)
	return err
}
