package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"mobileid/config"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/keys"
)

// Check reports whether a server could start on what is there: the database has
// a schema this program knows, the master key opens what it sealed, and the
// certificate can be used. It makes and changes nothing.
func Check(ctx context.Context, cfg *config.Config) (report string, err error) {
	if cfg.TLS.On() {
		cert, err := LoadCertificate(cfg.TLS.Cert, cfg.TLS.Key, clock.System{}, slog.New(slog.DiscardHandler))
		if err != nil {
			return "", err
		}
		report = fmt.Sprintf("certificate: ok until %s\n", cert.NotAfter().UTC().Format(time.DateOnly))
	}
	more, err := checkStores(ctx, cfg)
	return report + more, err
}

func checkStores(ctx context.Context, cfg *config.Config) (report string, err error) {
	if path, embedded := strings.CutPrefix(cfg.DB.URL.Reveal(), "sqlite:"); embedded {
		_, err = os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return "database: none yet, the first start makes it\n", nil
		}
		if err != nil {
			return "", err
		}
	}
	d, err := db.Open(ctx, cfg.DB.URL.Reveal(), clock.System{})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	have, newest, err := d.Versions(ctx)
	if err != nil {
		return "", err
	}
	switch {
	case have > newest:
		return "", fmt.Errorf("the database has schema version %d, this program knows up to %d: it was used by a newer one", have, newest)
	case have < newest:
		report = fmt.Sprintf("database: schema version %d, the next start brings it to %d\n", have, newest)
	default:
		report = "database: ok\n"
	}
	if have == 0 {
		return report, nil
	}
	box, err := keys.LoadBox(cfg.MasterKeyFile)
	if err != nil {
		return report, err
	}
	ring := keys.NewRing(d, box, clock.System{})
	for _, purpose := range append(keys.Tokens(), keys.Server) {
		if _, err := ring.All(ctx, purpose); err != nil {
			return report, err
		}
	}
	return report + "master key: ok\n", nil
}
