package sdk

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"mobileid/sdk/wire"
)

// File is a Store and a software Keystore in one JSON file of mode 0600. It is
// replaced as a whole, never written in place, and locked by a second file, so
// that two processes cannot interleave their messages.
type File struct {
	Path string
}

type fileContent struct {
	Phone State               `json:"phone"`
	Keys  map[string]fileKeys `json:"keys"`
}

type fileKeys struct {
	DSK wire.Secret `json:"dsk"` // the scalar, 32 bytes
	DHK wire.Secret `json:"dhk"`
}

// Lock waits until no other process holds the file.
func (f *File) Lock() (func(), error) {
	l, err := os.OpenFile(f.Path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("phone: %w", err)
	}
	for {
		err = syscall.Flock(int(l.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("phone: lock %s: %w", f.Path, err)
	}
	return func() { l.Close() }, nil // closing releases the lock
}

func (f *File) read() (*fileContent, error) {
	c := &fileContent{Keys: map[string]fileKeys{}}
	raw, err := os.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("phone: %w", err)
	}
	if err := json.Unmarshal(raw, c); err != nil {
		return nil, fmt.Errorf("phone: %s is damaged: %w", f.Path, err)
	}
	return c, nil
}

func (f *File) write(c *fileContent) error {
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	t, err := os.CreateTemp(filepath.Dir(f.Path), ".phone-*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("phone: %w", err)
	}
	_, err = t.Write(raw)
	err = errors.Join(err, t.Sync(), t.Close())
	if err == nil {
		err = os.Rename(t.Name(), f.Path)
	}
	if err != nil {
		os.Remove(t.Name())
		return fmt.Errorf("phone: %w", err)
	}
	dir, err := os.Open(filepath.Dir(f.Path))
	if err != nil {
		return fmt.Errorf("phone: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Load reads the state.
func (f *File) Load() (*State, error) {
	c, err := f.read()
	if err != nil {
		return nil, err
	}
	return &c.Phone, nil
}

// Save replaces the state and keeps the keys.
func (f *File) Save(s *State) error {
	c, err := f.read()
	if err != nil {
		return err
	}
	c.Phone = *s
	return f.write(c)
}

// Create makes the keys of a registration.
func (f *File) Create() (string, error) {
	c, err := f.read()
	if err != nil {
		return "", err
	}
	dsk, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	scalar, err := dsk.Bytes()
	if err != nil {
		return "", err
	}
	dhk := make([]byte, wire.KeySize)
	rand.Read(dhk)
	ref := rand.Text()
	c.Keys[ref] = fileKeys{scalar, dhk}
	return ref, f.write(c)
}

func (f *File) pair(ref string) (fileKeys, error) {
	c, err := f.read()
	if err != nil {
		return fileKeys{}, err
	}
	k, ok := c.Keys[ref]
	if !ok {
		return k, errors.New("phone: the keys of this registration are gone")
	}
	return k, nil
}

// Signer returns DSK.
func (f *File) Signer(ref string) (crypto.Signer, error) {
	k, err := f.pair(ref)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), k.DSK)
	return hidden{key}, err
}

// hidden is a key that signs and does nothing else.
type hidden struct{ key *ecdsa.PrivateKey }

func (h hidden) Public() crypto.PublicKey { return &h.key.PublicKey }

func (h hidden) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return h.key.Sign(random, digest, opts)
}

// MAC uses DHK.
func (f *File) MAC(ref string, data []byte) ([]byte, error) {
	k, err := f.pair(ref)
	if err != nil {
		return nil, err
	}
	m := hmac.New(sha256.New, k.DHK)
	m.Write(data)
	return m.Sum(nil), nil
}

// Delete forgets the keys.
func (f *File) Delete(ref string) error {
	c, err := f.read()
	if err != nil {
		return err
	}
	if _, ok := c.Keys[ref]; !ok {
		return nil
	}
	delete(c.Keys, ref)
	return f.write(c)
}
