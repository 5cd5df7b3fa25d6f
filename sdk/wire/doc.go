// Package wire holds the messages, envelopes and formulas of mid/1 that the
// phone and the server share; it does no input or output. docs/protocol.md is
// its prose. Everything that arrives is parsed by the strict rules of this
// package before any key is touched.
package wire

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
)

// Version is the protocol version in every request.
const Version = 1

// SuiteECDH is ECDH-ES over P-256 with A256GCM, the one suite served now.
const SuiteECDH = 1

// Size caps of a request in bytes, counted over the compact JWE: MaxRegistration
// for calls that may bring an attestation, reg.* and bio.add.
const (
	MaxMessage      = 16 << 10
	MaxRegistration = 32 << 10
)

// RequestLife is the longest span between iat and exp of a request; Ahead is
// how far a phone's clock may run in front of the server's. Both in seconds.
const (
	RequestLife = 60
	Ahead       = 10
)

// b64 refuses non-zero trailing bits, so that a message has one spelling only.
var b64 = base64.RawURLEncoding.Strict()

// Encode is base64url without padding (RFC 7515 section 2).
func Encode(b []byte) string {
	var room [88]byte // no second piece of memory for hashes, keys and signatures
	return string(b64.AppendEncode(room[:0], b))
}

// Decode is the strict inverse of Encode. Line breaks, which Go's decoder
// would skip, are refused.
func Decode(s string) ([]byte, error) { return decode([]byte(s)) }

func decode(s []byte) ([]byte, error) {
	b := make([]byte, b64.DecodedLen(len(s)))
	n, err := decodeInto(b, s)
	if err != nil {
		return nil, err
	}
	return b[:n], nil
}

// decodeInto writes what s says to b, which is long enough, and returns its length.
func decodeInto(b, s []byte) (int, error) {
	if lineBreak(s) {
		return 0, errors.New("line break in base64url")
	}
	n, err := b64.Decode(b, s)
	if err != nil {
		return 0, fmt.Errorf("base64url: %w", err)
	}
	return n, nil
}

// lineBreak is bytes.ContainsAny(s, "\r\n"), which looks at each byte by itself.
func lineBreak(s []byte) bool {
	return bytes.IndexByte(s, '\n') >= 0 || bytes.IndexByte(s, '\r') >= 0
}

// Decode32 decodes exactly 32 bytes: keys, hashes, challenges, heads.
func Decode32(s string) ([32]byte, error) { return decode32([]byte(s)) }

func decode32(s []byte) (out [32]byte, err error) {
	if len(s) != 43 {
		return out, errors.New("not 32 bytes of base64url")
	}
	_, err = decodeInto(out[:], s)
	return out, err
}

// Bytes is a byte string that travels as base64url.
type Bytes []byte

// MarshalText writes base64url, which JSON takes for a string.
func (b Bytes) MarshalText() ([]byte, error) { return b64.AppendEncode(nil, b), nil }

// UnmarshalText reads base64url, strictly.
func (b *Bytes) UnmarshalText(text []byte) error {
	out, err := decode(text)
	if err != nil {
		return err
	}
	*b = out
	return nil
}

// Secret is Bytes that never shows itself in logs or formatted text.
type Secret []byte

// MarshalText writes base64url: for sealed messages and the phone's own file.
func (s Secret) MarshalText() ([]byte, error) { return Bytes(s).MarshalText() }

// UnmarshalText reads base64url, strictly.
func (s *Secret) UnmarshalText(text []byte) error { return (*Bytes)(s).UnmarshalText(text) }

func (s Secret) String() string { return "[REDACTED]" }

// GoString keeps %#v quiet too.
func (s Secret) GoString() string { return "[REDACTED]" }

// LogValue keeps slog quiet.
func (s Secret) LogValue() slog.Value { return slog.StringValue("[REDACTED]") }
