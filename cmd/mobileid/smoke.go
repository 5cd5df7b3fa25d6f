package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"mobileid/sdk"
	"mobileid/sdk/wire"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/spf13/cobra"
)

const smokePIN = "271828"

// story is the whole of what the product does, told to a running server from
// the outside: every step is a standard request or a phone's message.
type story struct {
	demoFile
	dir   string // of the phone's file
	http  *http.Client
	rp    *oidc.Provider
	api   string // access token for the REST API
	ref   string // the user of this story
	user  string
	phone *sdk.Phone
	begun time.Time
}

// leftOut is why a step cannot be told to this server. It is no failure.
type leftOut string

func (l leftOut) Error() string { return "left out: " + string(l) }

func smokeCommand() *cobra.Command {
	var dataDir string
	var nodes []string
	var given demoFile
	cmd := &cobra.Command{
		Use: "smoke", Short: "Tell the whole story to a running server and print each step with its time", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := given
			if d.Issuer == "" {
				var err error
				if d, err = readDemo(dataDir); err != nil {
					return &exit{exitUsage, fmt.Errorf("no demo runs from %s: %w (start it, or give --issuer, --client-id and --client-secret)", dataDir, err)}
				}
			}
			if given.CAFile != "" {
				d.CAFile = given.CAFile
			}
			return smoke(cmd.Context(), d, nodes)
		},
	}
	f := cmd.Flags()
	f.StringVar(&dataDir, "data-dir", "data", "data folder of a running demo")
	f.StringVar(&given.Issuer, "issuer", "", "another server than the demo")
	f.StringVar(&given.Backend.ID, "client-id", "", "its client for REST and CIBA; the redirect steps are left out")
	f.StringVar(&given.Backend.Secret, "client-secret", "", "that client's secret")
	f.StringVar(&given.CAFile, "ca", "", "PEM file of the only certificate authority to trust (default: that of a demo with --tls, or those of the system)")
	f.StringSliceVar(&nodes, "node", nil, "host:port of one of several servers behind the issuer's name; requests go to them in turn")
	return cmd
}

// inTurn sends the requests for one host to several addresses, one after the other.
type inTurn struct {
	http.RoundTripper
	host  string
	nodes []string
	next  atomic.Uint64
}

func (t *inTurn) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host != t.host {
		return t.RoundTripper.RoundTrip(req)
	}
	to := req.Clone(req.Context())
	to.Host, to.URL.Host = t.host, t.nodes[t.next.Add(1)%uint64(len(t.nodes))]
	res, err := t.RoundTripper.RoundTrip(to)
	if err == nil {
		res.Request = req
	}
	return res, err
}

func smoke(ctx context.Context, d demoFile, nodes []string) error {
	transport, err := trusting(d.CAFile)
	if err != nil {
		return err
	}
	if len(nodes) > 0 {
		issuer, err := url.Parse(d.Issuer)
		if err != nil {
			return err
		}
		transport = &inTurn{RoundTripper: transport, host: issuer.Host, nodes: nodes}
	}
	dir, err := os.MkdirTemp("", "mobileid-smoke-")
	if err != nil {
		return err
	}
	s := &story{demoFile: d, dir: dir, http: &http.Client{Transport: transport, Timeout: 40 * time.Second}, begun: time.Now()}
	s.ref = "smoke-" + rand.Text()[:10]
	s.phone = newPhone(filepath.Join(dir, "phone.json"), transport)
	s.phone.Model = "Smoke phone"
	return errors.Join(s.tell(ctx), os.RemoveAll(dir))
}

func (s *story) tell(ctx context.Context) error {
	steps := []struct {
		name string
		run  func(context.Context) error
		shop bool
	}{
		{"discovery and keys", s.discover, false},
		{"backend: access token by client_credentials", s.backendToken, false},
		{"backend: POST /api/v1/users", s.createUser, false},
		{"backend: POST /api/v1/registrations, phone registers by link and sets its PIN", s.register, false},
		{"backend: POST /api/v1/authentications with a context, twice under one key, approved on the phone", s.restAuthentication, false},
		{"CIBA: asked, approved on the phone, tokens by poll", s.cibaApproved, false},
		{"CIBA: a wrong PIN counts and decides nothing", s.wrongPIN, false},
		{"payment by REST: shown, approved, and the hash is that of what was asked", s.restPayment, false},
		{"payment by CIBA: authorization_details told back, their hash in the ID token", s.cibaPayment, false},
		{"signature by REST: its evidence verifies with the published keys", s.signature, false},
		{"webhook: told of a signature, signed with the secret", s.webhook, false},
		{"CIBA: declined on the phone is access_denied", s.cibaDeclined, false},
		{"redirect: login with the number match, code + PKCE, ID token, userinfo", s.redirectLogin, true},
		{"redirect: the code is good once, and its tokens die with the second use", s.codeTwice, true},
		{"refresh: rotated, the old token's reuse ends the family", s.refresh, true},
	}
	for _, st := range steps {
		if st.shop && s.Shop.ID == "" {
			continue
		}
		begun := time.Now()
		err := st.run(ctx)
		if why, ok := errors.AsType[leftOut](err); ok {
			fmt.Printf("left  %-82s %s\n", st.name, string(why))
			continue
		}
		if err != nil {
			fmt.Printf("FAIL  %-82s %v\n", st.name, err)
			return fmt.Errorf("smoke: %s: %w", st.name, err)
		}
		fmt.Printf("ok    %-82s %6.1f ms\n", st.name, float64(time.Since(begun).Microseconds())/1000)
	}
	fmt.Printf("smoke passed in %s\n", time.Since(s.begun).Round(time.Millisecond))
	return nil
}

func (s *story) discover(ctx context.Context) (err error) {
	s.rp, err = oidc.NewProvider(oidc.ClientContext(ctx, s.http), s.Issuer)
	return err
}

func (s *story) register(ctx context.Context) error {
	var reg struct{ ID, Link, State string }
	if err := s.rest(ctx, "POST", "/api/v1/registrations", map[string]any{"userId": s.user}, http.StatusCreated, &reg); err != nil {
		return err
	}
	if _, err := s.phone.Register(ctx, reg.Link); err != nil {
		return fmt.Errorf("phone: %w", err)
	}
	done, err := s.phone.Finish(ctx, smokePIN)
	if err != nil {
		return fmt.Errorf("phone: %w", err)
	}
	if done.State != wire.RegActive {
		return fmt.Errorf("the phone is %s", done.State)
	}
	if err := s.rest(ctx, "GET", "/api/v1/registrations/"+reg.ID, nil, http.StatusOK, &reg); err != nil {
		return err
	}
	if reg.State != "COMPLETED" {
		return fmt.Errorf("the registration is %s", reg.State)
	}
	return nil
}

// waiting is the one operation that waits for the phone.
func (s *story) waiting(ctx context.Context) (*wire.Operation, error) {
	ops, err := s.phone.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("phone: %w", err)
	}
	if len(ops) != 1 {
		return nil, fmt.Errorf("%d operations wait for the phone, want 1", len(ops))
	}
	return &ops[0], nil
}

func (s *story) approve(ctx context.Context, match string) error {
	op, err := s.waiting(ctx)
	if err != nil {
		return err
	}
	if _, err := s.phone.Approve(ctx, op, smokePIN, match); err != nil {
		return fmt.Errorf("phone: %w", err)
	}
	return nil
}
