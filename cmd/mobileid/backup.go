package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/config"

	"github.com/spf13/cobra"
)

func backupCommand() *cobra.Command {
	var withKey bool
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Copy the database to a new file while the server runs (SQLite)", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := load(cmd)
			if err != nil {
				return err
			}
			info, err := node.Backup(cmd.Context(), cfg, args[0], withKey)
			if err != nil {
				return err
			}
			stat, err := os.Stat(args[0])
			if err != nil {
				return err
			}
			fmt.Printf("%s: %d bytes, schema version %d, state of %s\n", args[0], stat.Size(), info.Schema, info.MadeAt.Format(time.RFC3339))
			if withKey {
				fmt.Println("It holds the master key: whoever has this file has every key of the server.")
			} else {
				fmt.Printf("It is of no use without the master key, %s: keep a copy of that somewhere else.\n", cfg.MasterKeyFile)
			}
			return nil
		},
	}
	config.Flags(cmd.Flags())
	cmd.Flags().BoolVar(&withKey, "with-master-key", false, "put the master key into the file too")
	return cmd
}

func restoreCommand() *cobra.Command {
	var inPlace bool
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Make the database from a backup; with --in-place, only end the logins of one that was put back by other means",
		Args: func(cmd *cobra.Command, args []string) error {
			if inPlace {
				return exactly(0)(cmd, args)
			}
			return exactly(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if inPlace {
				return withStores(cmd, true, func(ctx context.Context, s *node.Stores) error {
					grants, err := s.Invalidate(ctx)
					if err == nil {
						fmt.Printf("%d logins ended; every session is over.\n", grants)
						afterRestore(s.Config)
					}
					return err
				})
			}
			cfg, err := load(cmd)
			if err != nil {
				return err
			}
			r, err := node.Restore(cmd.Context(), cfg, args[0])
			if err != nil {
				if errors.Is(err, os.ErrExist) {
					return &exit{exitUsage, err}
				}
				return err
			}
			fmt.Printf("restored the state of %s; %d logins ended, every session is over.\n", r.MadeAt.Format(time.RFC3339), r.Grants)
			if r.MasterKey {
				fmt.Println("The master key was in the backup and is now", cfg.MasterKeyFile)
			}
			if r.Issuer != cfg.Issuer {
				fmt.Printf("The backup is of %s, this server is %s: phones and clients of the one do not know the other.\n", r.Issuer, cfg.Issuer)
			}
			afterRestore(cfg)
			return nil
		},
	}
	config.Flags(cmd.Flags())
	cmd.Flags().BoolVar(&inPlace, "in-place", false, "the database was put back by other means (PostgreSQL): end its logins")
	return cmd
}

// afterRestore says what is left to people.
func afterRestore(cfg *config.Config) {
	fmt.Println("Before the server starts:")
	if !strings.HasPrefix(cfg.KV.URL.Reveal(), "sqlite:") {
		fmt.Printf("  - empty the short-lived store %s: it may hold as pending what was decided\n", cfg.KV.URL)
	}
	if cfg.Audit.AnchorFile != "" {
		fmt.Printf("  - move %s away and keep it: its anchors are newer than the database\n", cfg.Audit.AnchorFile)
	}
	fmt.Println("  - do again what was withdrawn since the backup: locked users, disabled clients, rotated secrets and keys")
	fmt.Println("After it: phones used since the backup are told resync and have to be registered again.")
	fmt.Println("See docs/operations.md, Restore.")
}
