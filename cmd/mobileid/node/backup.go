package node

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"mobileid/config"
	"mobileid/internal/audit"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/keys"
	"mobileid/internal/kv"
)

// keyCheck labels what a backup keeps of the master key to know it again.
const keyCheck = "backup check 1"

// Backup writes the database to file while servers run on it. The master key
// goes in only withKey: then the file holds all that is needed to read it.
func Backup(ctx context.Context, cfg *config.Config, file string, withKey bool) (db.BackupInfo, error) {
	box, err := keys.LoadBox(cfg.MasterKeyFile)
	if err != nil {
		return db.BackupInfo{}, err
	}
	info := db.BackupInfo{Issuer: cfg.Issuer, KeyCheck: box.Derive(keyCheck)}
	if withKey {
		if info.MasterKey, err = os.ReadFile(cfg.MasterKeyFile); err != nil {
			return info, err
		}
	}
	return db.Backup(ctx, cfg.DB.URL.Reveal(), file, info, clock.System{})
}

// Restored is what a restore did.
type Restored struct {
	db.BackupInfo
	Grants    int64 // logins that were ended
	MasterKey bool  // it was in the backup and was put in its place
}

// Restore makes the database, and where the backup has it the master key, from a
// backup. Nothing is overwritten, and nothing is left of a restore that fails.
func Restore(ctx context.Context, cfg *config.Config, file string) (r Restored, err error) {
	if r.BackupInfo, err = db.ReadBackup(ctx, file); err != nil {
		return r, err
	}
	text, made, err := masterKeyFor(cfg, r.BackupInfo)
	if err != nil {
		return r, err
	}
	for _, dir := range []string{cfg.DataDir, filepath.Dir(cfg.MasterKeyFile)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return r, err
		}
	}
	if made {
		if err := writeNew(cfg.MasterKeyFile, text); err != nil {
			return r, err
		}
	}
	err = db.Restore(ctx, file, cfg.DB.URL.Reveal(), clock.System{}, func(d *db.DB) error {
		box, err := keys.LoadBox(cfg.MasterKeyFile)
		if err != nil {
			return err
		}
		if err := opens(ctx, d, box); err != nil {
			return err
		}
		r.Grants, err = invalidate(ctx, d, audit.NewWriter(), r.MadeAt)
		return err
	})
	if err != nil {
		if made {
			err = errors.Join(err, os.Remove(cfg.MasterKeyFile))
		}
		return r, err
	}
	r.MasterKey = made
	// It may hold as pending what the lost part of the database had decided.
	return r, kv.Remove(cfg.KV.URL.Reveal())
}

// Invalidate does what Restore does after the copy, on a database that was put
// back by other means.
func (s *Stores) Invalidate(ctx context.Context) (grants int64, err error) {
	return invalidate(ctx, s.DB, s.Audit, time.Time{})
}

// invalidate ends the logins of a database that was put back. It does not know
// which tokens were used or withdrawn since it was copied. Phones need nothing:
// one that has answered since is told resync, for its head was never issued
// here (docs/protocol.md, section 8).
func invalidate(ctx context.Context, d *db.DB, w *audit.Writer, made time.Time) (grants int64, err error) {
	// Without anchors: those of the machine are newer than what was put back.
	if _, err := audit.Verify(ctx, d, nil); err != nil {
		return 0, fmt.Errorf("the audit chain of what was put back: %w", err)
	}
	err = d.Update(ctx, func(tx *db.Tx) (err error) {
		if grants, err = tx.Withdraw(); err != nil {
			return err
		}
		details := map[string]string{"grants": strconv.FormatInt(grants, 10)}
		if !made.IsZero() {
			details["backup"] = made.Format(time.RFC3339)
		}
		return w.Append(tx, audit.Record{Act: "database.restored", Details: details})
	})
	return grants, err
}

// opens reports whether the master key opens what the database has sealed.
func opens(ctx context.Context, d *db.DB, box *keys.Box) error {
	ring := keys.NewRing(d, box, clock.System{})
	for _, purpose := range []string{keys.OIDC, keys.Server} {
		if _, err := ring.All(ctx, purpose); err != nil {
			return err
		}
	}
	return nil
}

// masterKeyFor returns the text of the master key that fits the backup; made
// says that it comes from the backup and has no file yet.
func masterKeyFor(cfg *config.Config, info db.BackupInfo) (text []byte, made bool, err error) {
	box, err := keys.LoadBox(cfg.MasterKeyFile)
	switch {
	case err == nil:
		if !bytes.Equal(box.Derive(keyCheck), info.KeyCheck) {
			return nil, false, fmt.Errorf("the master key %s is not the one that sealed this backup", cfg.MasterKeyFile)
		}
		return nil, false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, false, err
	case len(info.MasterKey) == 0:
		return nil, false, fmt.Errorf("the backup is without the master key: put the key that was in use at %s first", cfg.MasterKeyFile)
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimSpace(string(info.MasterKey)))
	if err != nil || len(raw) != 32 {
		return nil, false, errors.New("the master key in the backup is damaged")
	}
	if box, err = keys.NewBox(raw); err != nil {
		return nil, false, err
	}
	if !bytes.Equal(box.Derive(keyCheck), info.KeyCheck) {
		return nil, false, errors.New("the master key in the backup is not the one that sealed it")
	}
	return info.MasterKey, true, nil
}

func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}
