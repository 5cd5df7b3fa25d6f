package keystoretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"sync"

	"mobileid/sdk"
)

// Soft is a Biometry in memory, and its Sensor. Its keys are released by a flag, so it
// is for tests alone: nothing about it proves inherence.
type Soft struct {
	mu      sync.Mutex
	keys    map[string]*ecdsa.PrivateKey
	absent  bool
	prompts []string
}

// Enrol implements Sensor.
func (s *Soft) Enrol() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = nil
}

// Present implements Sensor.
func (s *Soft) Present(present bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.absent = !present
}

// Prompts are the texts that the user was asked with.
func (s *Soft) Prompts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.prompts...)
}

// Create implements sdk.Biometry.
func (s *Soft) Create() (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys = map[string]*ecdsa.PrivateKey{}
	}
	ref := rand.Text()
	s.keys[ref] = key
	return ref, nil
}

func (s *Soft) key(ref string) (*ecdsa.PrivateKey, error) {
	k, ok := s.keys[ref]
	if !ok {
		return nil, sdk.ErrInvalidated
	}
	return k, nil
}

// Public implements sdk.Biometry.
func (s *Soft) Public(ref string) (*ecdsa.PublicKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.key(ref)
	if err != nil {
		return nil, err
	}
	return &k.PublicKey, nil
}

// Sign implements sdk.Biometry.
func (s *Soft) Sign(ref, prompt string, digest []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.key(ref)
	if err != nil {
		return nil, err
	}
	if prompt == "" {
		return nil, errors.New("keystoretest: a user is asked with a text")
	}
	s.prompts = append(s.prompts, prompt)
	if s.absent {
		return nil, sdk.ErrCancelled
	}
	return k.Sign(rand.Reader, digest, crypto.SHA256)
}

// Delete implements sdk.Biometry.
func (s *Soft) Delete(ref string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, ref)
	return nil
}
