package main

import (
	"context"
	"crypto/x509"
	"errors"
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
	var set, stamp, authority string
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
			at, err := stampedAt(cmd.Context(), token, stamp, authority, s)
			if err != nil {
				return err
			}
			return tellEvidence(os.Stdout, s, evidence.Hash(token), at)
		}}
	f := verify.Flags()
	f.StringVar(&set, "jwks", "", "file with the evidence keys of the server (default: the database's)")
	f.StringVar(&expect.Issuer, "iss", "", "the issuer it must be of")
	f.StringVar(&expect.Audience, "aud", "", "the client it must be for")
	f.StringVar(&expect.DeviceKey, "jkt", "", "the device key's thumbprint (RFC 7638) that it must be signed with, if you have it from before")
	f.StringVar(&stamp, "timestamp", "", "file with the time stamp over it (RFC 3161 token, DER)")
	f.StringVar(&authority, "tsa-cert", "", "PEM file with the certificates of the time-stamping authority that you trust; with --timestamp")
	config.Flags(f)
	group.AddCommand(verify, getEvidence())
	return group
}

func getEvidence() *cobra.Command {
	var merchant, stamp string
	cmd := sub("get OPERATION-ID", "Print the evidence of a signature", 1, func(ctx context.Context, s *node.Stores, args []string) error {
		m, err := merchantOf(ctx, s, merchant)
		if err != nil {
			return err
		}
		var token string
		var der []byte
		err = s.DB.View(ctx, func(tx *db.Tx) (err error) {
			token, der, err = tx.Evidence(m.ID, args[0])
			return err
		})
		switch {
		case errors.Is(err, db.ErrNotFound):
			return &exit{exitRefused, errors.New("there is no evidence of this operation")}
		case err != nil:
			return err
		case stamp != "" && der == nil:
			return &exit{exitRefused, errors.New("it has no time stamp, or not yet")}
		case stamp != "":
			if err := os.WriteFile(stamp, der, 0o644); err != nil {
				return err
			}
		}
		_, err = fmt.Println(token)
		return err
	})
	cmd.Flags().StringVar(&merchant, "merchant", "", "merchant id (default: the only one)")
	cmd.Flags().StringVar(&stamp, "timestamp", "", "file to write the time stamp over it to")
	return cmd
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

// mostAge is how long after a signature its time stamp may be made.
const mostAge = 7 * 24 * time.Hour

// stampedAt checks the time stamp in the file; nil without one.
func stampedAt(ctx context.Context, token, stamp, authority string, s *evidence.Statement) (*evidence.Stamped, error) {
	if (stamp == "") != (authority == "") {
		return nil, &exit{exitUsage, errors.New("--timestamp and --tsa-cert go together")}
	}
	if stamp == "" {
		return nil, nil
	}
	der, err1 := os.ReadFile(stamp)
	pem, err2 := os.ReadFile(authority)
	if err := errors.Join(err1, err2); err != nil {
		return nil, &exit{exitUsage, err}
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, &exit{exitUsage, fmt.Errorf("%s holds no certificate", authority)}
	}
	at, err := evidence.VerifyTimestamp(ctx, token, der, roots)
	if err == nil {
		err = s.Bound(at, mostAge)
	}
	return &at, err
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
func tellEvidence(w io.Writer, s *evidence.Statement, hash string, at *evidence.Stamped) error {
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
	if at != nil {
		line("stamped", "%s (within %s) by %s", at.At.Format(time.RFC3339), at.Accuracy, shownText(at.By))
	}
	device := shownText(s.Handle)
	if s.Device != "" {
		device = shownText(s.Device)
	}
	line("device", "%s, key %s (attestation: %s)", device, s.DeviceKey, shownText(s.Enrolment.Attestation))
	line("factors", "%s", strings.Join(s.Factors(), ", "))
	line("how", "asked by %s, reached the phone by %s, enrolled by %s, epoch %d", shownText(s.SCA.Flow), shownText(s.SCA.UI), shownText(s.SCA.Enrol), s.SCA.Epoch)
	if s.Said != nil {
		line("said", "%s", saidBy(s.Said))
	} else if s.Answer.HR != "" {
		line("said", "something of itself that is not kept here (sha-256 %s)", shownText(s.Answer.HR))
	}
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

// saidBy is what the phone said of itself, as one line.
func saidBy(r *wire.Risk) string {
	found := "nothing"
	if len(r.Findings) > 0 {
		found = strings.Join(r.Findings, ", ")
	}
	out := fmt.Sprintf("by the phone itself at %s: found %s", time.Unix(r.At, 0).UTC().Format(time.RFC3339), found)
	if r.Country != "" {
		out += fmt.Sprintf("; in %s by its %s", r.Country, r.CountrySource)
	}
	for _, l := range [...]struct{ name, text string }{{"platform", r.Platform}, {"system", r.OS}, {"app", r.App}, {"model", r.Model}} {
		if l.text != "" {
			out += "; " + l.name + " " + l.text
		}
	}
	return shownText(out)
}

// shownText is s if it is plain text, else quoted.
func shownText(s string) string {
	if wire.CheckText(s) != nil {
		return fmt.Sprintf("%+q", s)
	}
	return s
}
