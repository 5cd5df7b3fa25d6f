package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/config"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/evidence"
	"mobileid/internal/keys"
	"mobileid/sdk/wire"

	"github.com/spf13/cobra"
)

func evidenceCommand() *cobra.Command {
	group := &cobra.Command{Use: "evidence", Short: "About the evidence of signatures"}
	var set string
	var expect evidence.Expect
	verify := &cobra.Command{Use: "verify FILE", Short: "Check evidence (- reads it from standard input) and say who signed what, when and how; exit 1 if it does not hold",
		Long: `Check the evidence of a signature without the network: the server's signature by a
key that was in use then, the device's answer inside, and the hashes of what was
shown and sent. The keys are those of --jwks, a file with what /evidence/jwks
publishes, or else those in this installation's database.`,
		Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
			token, err := readEvidence(args[0])
			if err != nil {
				return &exit{exitUsage, err}
			}
			keys, err := evidenceKeys(cmd, set)
			if err != nil {
				return err
			}
			s, err := evidence.Verify(token, keys, expect)
			if err != nil {
				return err
			}
			return tellEvidence(os.Stdout, s, evidence.Hash(token))
		}}
	f := verify.Flags()
	f.StringVar(&set, "jwks", "", "file with the evidence keys of the server (default: the database's)")
	f.StringVar(&expect.Issuer, "iss", "", "the issuer it must be of")
	f.StringVar(&expect.Audience, "aud", "", "the client it must be for")
	f.StringVar(&expect.DeviceKey, "jkt", "", "the device key's thumbprint (RFC 7638) that it must be signed with, if you have it from before")
	config.Flags(f)
	group.AddCommand(verify)
	return group
}

func readEvidence(name string) (string, error) {
	in := io.Reader(os.Stdin)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, evidence.MaxSize+3))
	return strings.TrimSpace(string(text)), err
}

// evidenceKeys are those of the file, or of the database that the configuration
// names.
func evidenceKeys(cmd *cobra.Command, file string) (evidence.KeySet, error) {
	var text []byte
	var err error
	if file != "" {
		text, err = os.ReadFile(file)
		if err != nil {
			return nil, &exit{exitUsage, err}
		}
	} else {
		err = withRecords(cmd, func(ctx context.Context, _ *config.Config, d *db.DB) (err error) {
			text, err = node.EvidenceKeys(ctx, keys.NewRing(d, nil, clock.System{}))
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	set, err := evidence.ParseKeys(text)
	if err != nil && file != "" {
		return nil, &exit{exitUsage, fmt.Errorf("%s: %w", file, err)}
	}
	return set, err
}

// tellEvidence writes what was proven, one thing a line. What came from outside is
// checked text or quoted, so that it cannot move the terminal's cursor.
func tellEvidence(w io.Writer, s *evidence.Statement, hash string) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s"+format+"\n", append([]any{name}, args...)...)
	}
	b.WriteString("ok: the signatures, the keys and the hashes hold\n")
	line("server", "%s", shownText(s.Iss))
	line("merchant", "%s, client %s", shownText(s.Merchant), shownText(s.Aud))
	who := shownText(s.Sub)
	if s.User != "" && s.User != s.Sub {
		who += ", user " + shownText(s.User)
	}
	line("who", "%s", who)
	line("when", "%s", s.At().Format(time.RFC3339))
	device := shownText(s.Handle)
	if s.Device != "" {
		device = shownText(s.Device)
	}
	line("device", "%s, key %s (attestation: %s)", device, s.DeviceKey, shownText(s.Enrolment.Attestation))
	line("factors", "%s", strings.Join(s.Factors(), ", "))
	line("how", "asked by %s, reached the phone by %s, enrolled by %s, epoch %d", shownText(s.SCA.Flow), shownText(s.SCA.UI), shownText(s.SCA.Enrol), s.SCA.Epoch)
	line("operation", "%s, evidence %s", shownText(s.Txn), shownText(s.JTI))
	line("sha-256", "%s", hash)
	line("signed by", "%s", shownText(s.KeyID))
	if s.Content != "" {
		line("content", "%d bytes, sha-256 %s", len(s.Content), s.HD)
	}
	line("shown", "(%s, %s)", shownText(s.Tpl), shownText(s.Lang))
	for text := range strings.Lines(wire.ViewText(s.Blocks)) {
		b.WriteString("  | " + text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// shownText is s if it is plain text, else quoted.
func shownText(s string) string {
	if wire.CheckText(s) != nil {
		return fmt.Sprintf("%+q", s)
	}
	return s
}
