package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/config"
	"mobileid/internal/audit"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/identity"
	"mobileid/internal/keys"

	"github.com/spf13/cobra"
)

// sub makes one command of a group that works on the stores.
func sub(use, short string, args int, run func(ctx context.Context, s *node.Stores, args []string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: exactly(args), RunE: func(cmd *cobra.Command, args []string) error {
		err := withStores(cmd, true, func(ctx context.Context, s *node.Stores) error { return run(ctx, s, args) })
		if e, ok := errors.AsType[*fault.Error](err); ok {
			return &exit{exitRefused, errors.New(e.Message)}
		}
		return err
	}}
	config.Flags(cmd.Flags())
	return cmd
}

func printJSON(v any) error {
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func keysCommand() *cobra.Command {
	group := &cobra.Command{Use: "keys", Short: "About the signing keys"}
	var now bool
	var set string
	rotate := sub("rotate", "Make a new key of a set, for tokens of each algorithm in use: published now, signing in 10 minutes, when relying parties have seen it", 0,
		func(ctx context.Context, s *node.Stores, _ []string) error {
			lead := keys.Lead
			if now {
				lead = keys.Soon
			}
			purposes, after := keys.Tokens(), fmt.Sprintf("older keys stay published for %s after that", keys.Overlap)
			switch set {
			case "tokens":
			case "evidence":
				purposes, after = []string{keys.Evidence}, "older keys stay published for ever"
			default:
				return &exit{exitUsage, fmt.Errorf("--set: %q is neither tokens nor evidence", set)}
			}
			for _, purpose := range purposes {
				if all, err := s.Keys.All(ctx, purpose); err != nil {
					return err
				} else if len(all) == 0 {
					continue // no client uses its algorithm
				}
				kid, err := s.Keys.Rotate(ctx, purpose, lead, func(tx *db.Tx, kid string) error {
					return s.Audit.Append(tx, audit.Record{Act: "keys.rotated", Details: map[string]string{"kid": kid, "purpose": purpose}})
				})
				if err != nil {
					return err
				}
				fmt.Printf("%s signs from %s; %s\n", kid, s.Clock.Now().Add(lead).UTC().Format(time.RFC3339), after)
			}
			return nil
		})
	rotate.Flags().StringVar(&set, "set", "tokens", "whose keys: tokens or evidence")
	rotate.Flags().BoolVar(&now, "now", false, "sign with it as soon as every node publishes it, in 3 seconds (when the old key must not be used any more)")
	group.AddCommand(rotate)
	return group
}

func merchantCommand() *cobra.Command {
	group := &cobra.Command{Use: "merchant", Short: "About merchants"}
	var trusted bool
	create := sub("create NAME", "Add a merchant and its first App", 1, func(ctx context.Context, s *node.Stores, args []string) error {
		m, app, err := s.CreateMerchant(ctx, args[0], identity.Policy{Trusted: trusted})
		if err != nil {
			return err
		}
		return printJSON(map[string]string{"merchantId": m.ID, "appId": app.ID, "name": m.Name})
	})
	create.Flags().BoolVar(&trusted, "trusted-app", false, "vouch for the App's build: its phones reach urn:mobileid:acr:app")
	group.AddCommand(create)
	return group
}

// merchantOf returns the merchant with the id, or the only one if id is "".
func merchantOf(ctx context.Context, s *node.Stores, id string) (m db.Merchant, err error) {
	err = s.DB.View(ctx, func(tx *db.Tx) error {
		if id != "" {
			m, err = tx.Merchant(id)
			return err
		}
		all, err := tx.Merchants()
		if err != nil {
			return err
		}
		switch len(all) {
		case 0:
			return &exit{exitUsage, errors.New("there is no merchant yet: mobileid merchant create NAME")}
		case 1:
			m = all[0]
			return nil
		}
		return &exit{exitUsage, errors.New("there are several merchants: name one with --merchant")}
	})
	if errors.Is(err, db.ErrNotFound) {
		err = &exit{exitUsage, errors.New("no such merchant: " + id)}
	}
	return m, err
}

func userCommand() *cobra.Command {
	group := &cobra.Command{Use: "user", Short: "About users"}
	var merchant string
	create := sub("create EXTERNAL-REF", "Add a user", 1, func(ctx context.Context, s *node.Stores, args []string) error {
		m, err := merchantOf(ctx, s, merchant)
		if err != nil {
			return err
		}
		u, err := s.Users.CreateUser(ctx, m.ID, args[0], nil)
		if err != nil {
			return err
		}
		return printJSON(map[string]string{"id": u.ID, "externalRef": u.ExternalRef, "state": u.State})
	})
	create.Flags().StringVar(&merchant, "merchant", "", "merchant id (default: the only one)")
	consents := sub("consents USER-ID", "List what the user has allowed to which clients", 1, func(ctx context.Context, s *node.Stores, args []string) error {
		return s.DB.View(ctx, func(tx *db.Tx) error {
			all, err := tx.ConsentsOf(args[0])
			for _, c := range all {
				fmt.Printf("%s  %s  %s\n", c.ClientID, c.GrantedAt.UTC().Format(time.RFC3339), strings.Join(c.Scopes, " "))
			}
			return err
		})
	})
	revoke := sub("revoke-consent USER-ID CLIENT-ID", "Withdraw what the user allowed the client; its tokens end at once", 2, func(ctx context.Context, s *node.Stores, args []string) error {
		return s.RevokeConsent(ctx, args[0], args[1])
	})
	group.AddCommand(create, consents, revoke)
	return group
}
