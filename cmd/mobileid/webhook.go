package main

import (
	"context"
	"fmt"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/callback"

	"github.com/spf13/cobra"
)

// madeWebhook is an endpoint with its secret, which is shown once.
type madeWebhook struct {
	callback.Endpoint
	Secret string `json:"secret"`
}

func webhookCommand() *cobra.Command {
	group := &cobra.Command{Use: "webhook", Short: "About where a merchant is told what happened"}
	var merchant string
	command := func(use, short string, args int, run func(ctx context.Context, c *callback.Callbacks, merchantID string, args []string) error) *cobra.Command {
		cmd := sub(use, short, args, func(ctx context.Context, s *node.Stores, args []string) error {
			m, err := merchantOf(ctx, s, merchant)
			if err != nil {
				return err
			}
			return run(ctx, s.Callbacks(), m.ID, args)
		})
		cmd.Flags().StringVar(&merchant, "merchant", "", "merchant id (default: the only one)")
		group.AddCommand(cmd)
		return cmd
	}
	var events []string
	create := command("create URL", "Add an endpoint and print its secret, once", 1, func(ctx context.Context, c *callback.Callbacks, m string, args []string) error {
		e, secret, err := c.Create(ctx, m, args[0], events)
		if err != nil {
			return err
		}
		return printJSON(madeWebhook{e, secret})
	})
	create.Flags().StringSliceVar(&events, "event", nil, "types of events to tell of (default: all)")
	command("list", "List the endpoints", 0, func(ctx context.Context, c *callback.Callbacks, m string, _ []string) error {
		all, err := c.List(ctx, m)
		if err != nil {
			return err
		}
		return printJSON(all)
	})
	var overlap time.Duration
	rotate := command("rotate-secret ID", "Make a new secret and print it, once; messages are signed with both for a while", 1,
		func(ctx context.Context, c *callback.Callbacks, m string, args []string) error {
			e, secret, err := c.RotateSecret(ctx, m, args[0], overlap)
			if err != nil {
				return err
			}
			return printJSON(madeWebhook{e, secret})
		})
	rotate.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "how long the old secret still signs too")
	enabled := func(on bool) func(context.Context, *callback.Callbacks, string, []string) error {
		return func(ctx context.Context, c *callback.Callbacks, m string, args []string) error {
			e, err := c.Update(ctx, m, args[0], callback.Change{Enabled: &on})
			if err != nil {
				return err
			}
			return printJSON(e)
		}
	}
	command("enable ID", "Tell the endpoint again; one that was left alone is tried at once", 1, enabled(true))
	command("disable ID", "Tell the endpoint nothing new", 1, enabled(false))
	command("delete ID", "Remove the endpoint and what waits for it", 1, func(ctx context.Context, c *callback.Callbacks, m string, args []string) error {
		return c.Delete(ctx, m, args[0])
	})
	command("test ID", "Send the endpoint a test event; a running server sends it", 1, func(ctx context.Context, c *callback.Callbacks, m string, args []string) error {
		id, err := c.SendTest(ctx, m, args[0])
		if err == nil {
			fmt.Println(id)
		}
		return err
	})
	var most int
	log := command("deliveries ID", "Print what became of the newest events for the endpoint", 1, func(ctx context.Context, c *callback.Callbacks, m string, args []string) error {
		all, err := c.Deliveries(ctx, m, args[0], nil, most)
		if err != nil {
			return err
		}
		return printJSON(all)
	})
	log.Flags().IntVar(&most, "most", 100, "how many")
	command("resend ID EVENT-ID", "Send an event of the log again", 2, func(ctx context.Context, c *callback.Callbacks, m string, args []string) error {
		return c.Resend(ctx, m, args[0], args[1])
	})
	return group
}
