package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// against loads this module's server and another build of it in turn and prints
// what became of each flow: the only way to tell a change of some percent from
// the noise of a shared machine.
func against(ctx context.Context, o options, engine, bin, dir string, to io.Writer) error {
	begun := time.Now()
	sides := make([]*side, 2)
	for i, b := range []string{o.against, bin} {
		at := filepath.Join(dir, fmt.Sprint(i))
		if err := os.MkdirAll(at, 0o700); err != nil {
			return err
		}
		s, stop, err := grow(ctx, o, engine, b, at, 0, 0)
		defer stop()
		if err != nil {
			return fmt.Errorf("%s: %w", b, err)
		}
		s.name, sides[i] = b, s
	}
	if err := compare(ctx, sides, o.rounds, o.count); err != nil {
		return err
	}
	fmt.Fprintf(to, "%s store; against %s; %d rounds in %s\n", engine, o.against, o.rounds, time.Since(begun).Round(time.Second))
	fmt.Fprintf(to, "%-28s %10s %10s %7s\n", "flow, CPU ms", "before", "after", "ratio")
	for _, r := range rows {
		before, after := sides[0].figure(r), sides[1].figure(r)
		fmt.Fprintf(to, "%-28s %10.3f %10.3f %6.2fx\n", r.name, ms(before.cpu), ms(after.cpu), after.over(before))
	}
	return nil
}
