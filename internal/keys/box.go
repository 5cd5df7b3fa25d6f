// Package keys keeps private keys: sealed under a master key that lives in a
// file beside the database, never in it.
package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Box seals small secrets with AES-256-GCM under the master key.
type Box struct {
	master []byte
	aead   cipher.AEAD
}

// String keeps the master key out of logs.
func (*Box) String() string { return "[REDACTED]" }

// LoadBox reads the master key file (base64url, 32 bytes). A file that others
// can read is refused; that there is none is fs.ErrNotExist.
func LoadBox(path string) (*Box, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("keys: master key: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("keys: master key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("keys: %s can be read by others: make it mode 0600", path)
	}
	key, err := base64.RawURLEncoding.DecodeString(strings.TrimSpace(string(raw)))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("keys: %s is not a master key (32 bytes in base64url)", path)
	}
	return NewBox(key)
}

// CreateBox makes a new master key in a file of mode 0600. Only for an
// installation that has sealed nothing yet: what another master key sealed stays
// closed for ever.
func CreateBox(path string) (*Box, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("keys: master key: %w", err)
	}
	key := make([]byte, 32)
	rand.Read(key)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keys: master key: %w", err)
	}
	_, err = f.WriteString(base64.RawURLEncoding.EncodeToString(key) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("keys: master key: %w", err)
	}
	return NewBox(key)
}

// NewBox makes a box of a 32-byte master key.
func NewBox(master []byte) (*Box, error) {
	b := &Box{master: master}
	block, err := aes.NewCipher(b.Derive("mobileid box 1"))
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	b.aead, err = cipher.NewGCMWithRandomNonce(block)
	return b, err
}

// Derive returns 32 bytes for one purpose (HKDF-SHA-256, RFC 5869); the same
// label gives the same bytes on every node and after every start.
func (b *Box) Derive(label string) []byte {
	out, err := hkdf.Key(sha256.New, b.master, nil, label, 32)
	if err != nil {
		panic(err) // only a length above 255 × 32 can fail
	}
	return out
}

// Seal encrypts plain, bound to purpose: only Open with the same purpose
// returns it.
func (b *Box) Seal(purpose string, plain []byte) []byte {
	return b.aead.Seal(nil, nil, plain, []byte(purpose))
}

// Open decrypts what Seal made for purpose.
func (b *Box) Open(purpose string, sealed []byte) ([]byte, error) {
	plain, err := b.aead.Open(nil, nil, sealed, []byte(purpose))
	if err != nil {
		return nil, fmt.Errorf("keys: cannot open a sealed %s: another master key, or the value was changed", purpose)
	}
	return plain, nil
}
