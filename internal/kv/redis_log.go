package kv

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"
)

// LogRedis takes what the Redis library says of its own accord, a dial that failed
// or a new master, to the log at level warn; a log that discards silences it. The
// library has one logger for the process, not one for each client: of several
// servers in a process the last one hears it all.
func LogRedis(log *slog.Logger) { redis.SetLogger(clientLog{log}) }

type clientLog struct{ log *slog.Logger }

// Printf is what the library calls.
func (l clientLog) Printf(ctx context.Context, format string, args ...any) {
	if l.log.Enabled(ctx, slog.LevelWarn) {
		l.log.WarnContext(ctx, "redis client", "says", fmt.Sprintf(format, args...))
	}
}
