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
	"mobileid/internal/db"
	"mobileid/provider"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func clientCommand() *cobra.Command {
	group := &cobra.Command{Use: "client", Short: "About OAuth clients"}
	var overlap time.Duration
	rotate := sub("rotate ID", "Give the client a new secret; the old one works for the overlap", 1, func(ctx context.Context, s *node.Stores, args []string) error {
		secret, err := s.RotateSecret(ctx, args[0], overlap)
		if err != nil {
			return err
		}
		return followed(ctx, node.NewClient{ClientID: args[0], ClientSecret: secret})
	})
	rotate.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "how long the old secret still works")
	disable := sub("disable ID", "Serve the client no more; what it was given is dead at once", 1, func(ctx context.Context, s *node.Stores, args []string) error {
		if err := s.DisableClient(ctx, args[0]); err != nil {
			return err
		}
		return followed(ctx, clientState{args[0], "disabled"})
	})
	enable := sub("enable ID", "Serve a disabled client again; what it was given before stays dead", 1, func(ctx context.Context, s *node.Stores, args []string) error {
		if err := s.EnableClient(ctx, args[0]); err != nil {
			return err
		}
		return followed(ctx, clientState{args[0], "enabled"})
	})
	group.AddCommand(createClient(), listClients(), updateClient(), rotate, disable, enable)
	return group
}

// clientState is what disable and enable print.
type clientState struct {
	ClientID string `json:"client_id"`
	State    string `json:"state"`
}

// underway is how long a request may still take that a node has admitted.
const underway = 250 * time.Millisecond

// followed prints what a change of a client came to, and returns when every node
// goes by it.
func followed(ctx context.Context, v any) error {
	if err := printJSON(v); err != nil {
		return err
	}
	select {
	case <-time.After(provider.ClientFresh + underway):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the change is made, but servers may take %s to follow", provider.ClientFresh)
	}
}

// clientFlags are the settings of a client; their defaults are what o says.
func clientFlags(f *pflag.FlagSet, o *node.ClientOptions) {
	f.StringVar(&o.Name, "name", o.Name, "name that users are shown")
	f.StringVar(&o.AuthMethod, "auth-method", o.AuthMethod, "client_secret_basic, client_secret_post, private_key_jwt or none")
	f.StringSliceVar(&o.Grants, "grant", o.Grants, "grant types")
	f.StringSliceVar(&o.RedirectURIs, "redirect-uri", o.RedirectURIs, "redirect URIs")
	f.StringVar(&o.PKCE, "pkce", o.PKCE, "what a login must be asked for with: required (a code_challenge), nonce (a code_challenge or a nonce) or optional")
	f.StringSliceVar(&o.Scopes, "scope", o.Scopes, "scopes")
	f.StringVar(&o.Binding, "binding", o.Binding, "how a backchannel request is bound to its user: match or trusted")
	f.BoolVar(&o.RevealUnknownUser, "reveal-unknown-user", o.RevealUnknownUser, "tell the client when a user does not exist or cannot be asked")
	f.BoolVar(&o.LocalhostHTTP, "allow-localhost-http", o.LocalhostHTTP, "allow http://localhost redirect URIs (development)")

	f.BoolVar(&o.ThirdParty, "third-party", o.ThirdParty, "the client is not the merchant's own: users are asked what it may have")
	f.Var((*keyFile)(&o.JWKS), "jwks", "file with the client's public keys, a JSON Web Key Set (private_key_jwt)")
	f.StringVar(&o.JWKSURI, "jwks-uri", o.JWKSURI, "https address at which the client publishes them instead")
	f.StringVar(&o.AssertionAlg, "auth-signing-alg", o.AssertionAlg, "ES256, PS256 or RS256: how the client signs assertions (default: ES256 or PS256, as its key is)")
	f.StringVar(&o.AssertionAudience, "assertion-audience", o.AssertionAudience, "whom assertions may be for: issuer, or endpoint for libraries that name an address instead (default issuer)")
	f.StringVar(&o.IDTokenAlg, "id-token-alg", o.IDTokenAlg, "ES256, PS256 or RS256: how its ID, logout and JWT access tokens are signed (default ES256)")
	f.StringVar(&o.UserinfoAlg, "userinfo-alg", o.UserinfoAlg, "ES256, PS256 or RS256: userinfo is answered as a signed JWT (default: plain JSON)")
	f.StringSliceVar(&o.DetailsTypes, "authorization-details-type", o.DetailsTypes, "payment_initiation or mobileid_signature (RFC 9396); repeat it for more")
	f.StringVar(&o.AccessTokenFormat, "access-token-format", o.AccessTokenFormat, "opaque or jwt (RFC 9068) (default opaque)")
	f.StringSliceVar(&o.PostLogoutURIs, "post-logout-redirect-uri", o.PostLogoutURIs, "where the browser may go after a logout")
	f.StringVar(&o.BackchannelLogoutURI, "backchannel-logout-uri", o.BackchannelLogoutURI, "where the client is told that a login has ended")
}

// keyFile is a flag that takes what is in the file of that name; the name "" is
// nothing.
type keyFile json.RawMessage

func (k *keyFile) Set(name string) (err error) {
	*k = nil
	if name != "" {
		*k, err = os.ReadFile(name)
	}
	return err
}

func (k *keyFile) String() string { return "" }
func (k *keyFile) Type() string   { return "string" }

func createClient() *cobra.Command {
	var merchant string
	o := node.ClientOptions{Name: "Client", AuthMethod: "client_secret_basic", Grants: []string{"authorization_code", "refresh_token"}, PKCE: "required", Scopes: []string{"openid"}, Binding: "match"}
	create := sub("create", "Add a client and print its id and secret, once", 0, func(ctx context.Context, s *node.Stores, _ []string) error {
		m, err := merchantOf(ctx, s, merchant)
		if err != nil {
			return err
		}
		c, err := s.CreateClient(ctx, m.ID, o)
		if err != nil {
			return err
		}
		if o.AuthMethod == "none" { // nodes remember whose scripts may read their answers, and not who is no client
			return followed(ctx, c)
		}
		return printJSON(c)
	})
	create.Flags().StringVar(&merchant, "merchant", "", "merchant id (default: the only one)")
	clientFlags(create.Flags(), &o)
	return create
}

func updateClient() *cobra.Command {
	var said *pflag.FlagSet
	update := sub("update ID", "Change the settings that are given, a list as a whole, and print what changed", 1, func(ctx context.Context, s *node.Stores, args []string) error {
		out, err := s.UpdateClient(ctx, args[0], func(o *node.ClientOptions) error {
			has := pflag.NewFlagSet("client", pflag.ContinueOnError)
			clientFlags(has, o)
			return override(has, said)
		})
		if err != nil {
			return err
		}
		if len(out.Changed) == 0 {
			return printJSON(out)
		}
		return followed(ctx, out)
	})
	said = update.Flags()
	clientFlags(said, &node.ClientOptions{})
	return update
}

// override gives the flags the values of those of the same name that were said.
func override(flags, said *pflag.FlagSet) error {
	var all []error
	said.Visit(func(f *pflag.Flag) {
		to := flags.Lookup(f.Name)
		if to == nil { // of the program's configuration
			return
		}
		switch from := f.Value.(type) {
		case *keyFile:
			*to.Value.(*keyFile) = *from
		case pflag.SliceValue:
			all = append(all, to.Value.(pflag.SliceValue).Replace(from.GetSlice()))
		default:
			all = append(all, to.Value.Set(from.String()))
		}
	})
	return errors.Join(all...)
}

func listClients() *cobra.Command {
	return sub("list", "List clients", 0, func(ctx context.Context, s *node.Stores, _ []string) error {
		return s.DB.View(ctx, func(tx *db.Tx) error {
			all, err := tx.Clients()
			for _, c := range all {
				state := "enabled"
				if !c.DisabledAt.IsZero() {
					state = "disabled"
				}
				fmt.Printf("%s  %s  %s  %s  %s\n", c.ID, state, c.Settings.AuthMethod, strings.Join(c.Settings.GrantTypes, ","), c.Name)
			}
			return err
		})
	})
}
