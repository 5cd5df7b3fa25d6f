// Command mobileid is the whole product in one binary: the server, its demo, a
// phone for the command line, and the operator's tools. It wires and runs;
// what there is to decide is decided in the packages.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"mobileid/config"

	"github.com/spf13/cobra"
)

// exit is an error with a status for the shell.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string { return e.err.Error() }
func (e *exit) Unwrap() error { return e.err }

const (
	exitUsage   = 2
	exitRefused = 3 // by the server
	exitNetwork = 4
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	root := &cobra.Command{
		Use:           "mobileid",
		Short:         "A self-hosted OpenID Provider with a phone in it",
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exit{exitUsage, err} })
	root.AddCommand(serveCommand(), demoCommand(), phoneCommand(), smokeCommand(), migrateCommand(), keysCommand(),
		checkCommand(), configCommand(), backupCommand(), restoreCommand(), merchantCommand(), clientCommand(), userCommand(), auditCommand(), evidenceCommand(), webhookCommand())
	root.Args, root.RunE = cobra.ArbitraryArgs, needsSubcommand
	for _, group := range root.Commands() {
		if group.HasSubCommands() && group.RunE == nil {
			group.RunE = needsSubcommand
		}
	}
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "mobileid:", err)
	if e, ok := errors.AsType[*exit](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[config.Faults](err); ok {
		return exitUsage
	}
	return 1
}

func needsSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &exit{exitUsage, fmt.Errorf("%s has no command %q; see %s --help", cmd.CommandPath(), args[0], cmd.CommandPath())}
	}
	return cmd.Help()
}

// exactly is cobra.ExactArgs as a usage error.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return &exit{exitUsage, fmt.Errorf("%s takes %d arguments, not %d; see --help", cmd.CommandPath(), n, len(args))}
		}
		return nil
	}
}

// load reads the configuration that the command's flags belong to.
func load(cmd *cobra.Command) (*config.Config, error) {
	return config.Load(config.Sources{Env: os.Environ(), Flags: cmd.Flags()})
}
