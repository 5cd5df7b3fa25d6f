package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"mobileid/config"
	"mobileid/internal/audit"
	"mobileid/internal/clock"
	"mobileid/internal/db"

	"github.com/spf13/cobra"
)

// noAnchors given to --anchors verifies without any.
const noAnchors = "none"

func auditCommand() *cobra.Command {
	group := &cobra.Command{Use: "audit", Short: "About the audit records"}
	var files []string
	verify := onRecords("verify", "Check every audit record, the chain and its anchors; name the first that is wrong, and exit 1",
		func(ctx context.Context, cfg *config.Config, d *db.DB) error {
			anchors, err := readAnchors(cfg.Audit.AnchorFile, files)
			if err != nil {
				return err
			}
			rep, err := audit.Verify(ctx, d, anchors)
			if err != nil {
				return err
			}
			if len(anchors) == 0 && len(files) == 0 && rep.Sealed > 0 {
				return fmt.Errorf("there are %d records in the chain and no anchors in %s: give the file with --anchors, or --anchors none to verify without; a tail that was cut off would then not be seen",
					rep.Sealed, cfg.Audit.AnchorFile)
			}
			fmt.Printf("ok: %d records in the chain, %d not in it yet, %d anchors agree\n", rep.Sealed, rep.Unsealed, rep.Anchors)
			if rep.Head != "" {
				fmt.Printf("head: %d %s\n", rep.Sealed, rep.Head)
			}
			return nil
		})
	verify.Flags().StringSliceVar(&files, "anchors", nil, "files of anchors to hold the chain against, or none (default: the configured one)")

	var from, to string
	export := onRecords("export", "Write the audit records as JSON lines to standard output",
		func(ctx context.Context, _ *config.Config, d *db.DB) error {
			since, err := moment("from", from)
			if err != nil {
				return err
			}
			until, err := moment("to", to)
			if err != nil {
				return err
			}
			return audit.Export(ctx, d, os.Stdout, since, until)
		})
	export.Flags().StringVar(&from, "from", "", "first moment: a day such as 2026-01-31 (UTC), or 2026-01-31T12:00:00Z")
	export.Flags().StringVar(&to, "to", "", "first moment that is not wanted any more, likewise")
	group.AddCommand(verify, export)
	return group
}

// onRecords makes a command that reads the database and needs no key, so that it
// works on a copy elsewhere.
func onRecords(use, short string, run func(ctx context.Context, cfg *config.Config, d *db.DB) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: exactly(0), RunE: func(cmd *cobra.Command, _ []string) error {
		return withRecords(cmd, run)
	}}
	config.Flags(cmd.Flags())
	return cmd
}

// withRecords opens the database to read it. It neither makes nor migrates one.
func withRecords(cmd *cobra.Command, run func(ctx context.Context, cfg *config.Config, d *db.DB) error) error {
	cfg, err := load(cmd)
	if err != nil {
		return err
	}
	if path, ok := strings.CutPrefix(cfg.DB.URL.Reveal(), "sqlite:"); ok {
		if _, err := os.Stat(path); err != nil {
			return err
		}
	}
	d, err := db.Open(cmd.Context(), cfg.DB.URL.Reveal(), clock.System{})
	if err != nil {
		return err
	}
	have, newest, err := d.Versions(cmd.Context())
	if err == nil && have != newest {
		err = fmt.Errorf("the database has schema version %d, this program needs %d: run mobileid migrate", have, newest)
	}
	if err == nil {
		err = run(cmd.Context(), cfg, d)
	}
	return errors.Join(err, d.Close())
}

// readAnchors reads the files, or the configured one if that is there. They are
// read before the database, which may go on meanwhile.
func readAnchors(configured string, files []string) ([]audit.Anchor, error) {
	if len(files) == 1 && files[0] == noAnchors {
		return nil, nil
	}
	byDefault := len(files) == 0
	if byDefault {
		files = []string{configured}
	}
	var out []audit.Anchor
	for _, f := range files {
		a, err := audit.ReadAnchors(f)
		if byDefault && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if a.Unreadable > 0 {
			fmt.Fprintf(os.Stderr, "mobileid: %s: %d lines are no anchors; they were left out\n", f, a.Unreadable)
		}
		out = append(out, a.Anchors...)
	}
	return out, nil
}

func moment(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, &exit{exitUsage, fmt.Errorf("--%s: %q is neither a day such as 2026-01-31 nor a time such as 2026-01-31T12:00:00Z", flag, s)}
}
