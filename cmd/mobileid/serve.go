package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"mobileid/cmd/mobileid/node"
	"mobileid/config"
	"mobileid/internal/clock"

	"github.com/spf13/cobra"
)

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the server", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load(cmd)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg)
		},
	}
	config.Flags(cmd.Flags())
	return cmd
}

func serve(ctx context.Context, cfg *config.Config) error {
	ln, err := node.Listen(cfg.Listen, cfg.AdminListen)
	if err != nil {
		return err
	}
	if cfg.Issuer == "" {
		cfg.Issuer = cfg.SelfIssuer(node.Port(ln[0]))
	}
	s, err := node.Open(ctx, cfg, clock.System{}, true)
	if err != nil {
		return errors.Join(err, node.CloseListeners(ln))
	}
	n, err := node.New(ctx, s, node.NewLog(cfg, os.Stderr), "")
	if err != nil {
		return errors.Join(err, s.DB.Close(), node.CloseListeners(ln))
	}
	n.Log.Info("serving", "issuer", cfg.Issuer, "listen", ln[0].Addr().String(), "admin", ln[1].Addr().String())
	n.Trim()
	err = n.Run(ctx, n.Public(ln[0]), node.Site{Listener: ln[1], Handler: n.Admin()})
	return errors.Join(err, n.Close())
}

func migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "migrate", Short: "Bring the database schema up to date", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withStores(cmd, true, func(ctx context.Context, s *node.Stores) error {
				have, _, err := s.DB.Versions(ctx)
				fmt.Fprintf(os.Stdout, "schema version %d\n", have)
				return err
			})
		},
	}
	config.Flags(cmd.Flags())
	return cmd
}

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check the configuration, the database and the master key, and change nothing", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load(cmd)
			if err != nil {
				return err
			}
			report, err := node.Check(cmd.Context(), cfg)
			fmt.Print("configuration: ok\n", report)
			return err
		},
	}
	config.Flags(cmd.Flags())
	return cmd
}

func configCommand() *cobra.Command {
	group := &cobra.Command{Use: "config", Short: "About the configuration"}
	cmd := &cobra.Command{
		Use: "print", Short: "Print the configuration in force, without its secrets", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load(cmd)
			if err != nil {
				return err
			}
			out, err := cfg.Redacted()
			os.Stdout.Write(out)
			return err
		},
	}
	config.Flags(cmd.Flags())
	config.DemoFlags(cmd.Flags())
	group.AddCommand(cmd)
	return group
}

// withStores runs fn over the opened stores.
func withStores(cmd *cobra.Command, migrate bool, fn func(ctx context.Context, s *node.Stores) error) error {
	cfg, err := load(cmd)
	if err != nil {
		return err
	}
	s, err := node.Open(cmd.Context(), cfg, clock.System{}, migrate)
	if err != nil {
		return err
	}
	return errors.Join(fn(cmd.Context(), s), s.DB.Close())
}
