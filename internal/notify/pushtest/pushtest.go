// Package pushtest is a push service for tests: it takes pushes over HTTP, checks
// what a push service checks, and opens them as the phone's side does (RFC 8291).
package pushtest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Service is a push service with one subscription.
type Service struct {
	URL string // of the subscription
	// P256DH and Auth are the subscription's, as its phone registers them.
	P256DH, Auth []byte

	key *ecdh.PrivateKey

	mu     sync.Mutex
	answer int
	got    []Push
}

// Push is what arrived, opened.
type Push struct {
	Header http.Header
	Size   int // bytes as they came
	Plain  []byte
	Err    error // why it could not be opened
}

// Start starts a service that answers 201; the test's end stops it.
func Start(t testing.TB) *Service {
	t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{key: key, P256DH: key.PublicKey().Bytes(), Auth: make([]byte, 16), answer: http.StatusCreated}
	rand.Read(s.Auth)
	server := httptest.NewServer(http.HandlerFunc(s.take))
	t.Cleanup(server.Close)
	s.URL = server.URL + "/" + rand.Text()
	return s
}

// Answer has it answer with the status from now on.
func (s *Service) Answer(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = status
}

// Got are the pushes that came, refused ones too.
func (s *Service) Got() []Push {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Push(nil), s.got...)
}

func (s *Service) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	p := Push{Header: r.Header.Clone(), Size: len(body), Err: err}
	if err == nil {
		p.Plain, p.Err = s.open(body)
	}
	if r.Method != http.MethodPost || r.Header.Get("TTL") == "" || r.Header.Get("Content-Encoding") != "aes128gcm" || !strings.HasPrefix(r.Header.Get("Authorization"), "vapid t=") {
		p.Err = errors.Join(p.Err, fmt.Errorf("not a push: %s %v", r.Method, r.Header))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, p)
	w.WriteHeader(s.answer)
}

// open decrypts one record (RFC 8188 section 2, keyed by RFC 8291 section 3.4).
func (s *Service) open(body []byte) ([]byte, error) {
	const head = 16 + 4 + 1 + 65
	if len(body) < head || body[20] != 65 {
		return nil, errors.New("no header of aes128gcm with a point")
	}
	salt, size, point := body[:16], binary.BigEndian.Uint32(body[16:20]), body[21:head]
	if int(size) < len(body)-head {
		return nil, errors.New("more than one record")
	}
	theirs, err := ecdh.P256().NewPublicKey(point)
	if err != nil {
		return nil, err
	}
	shared, err := s.key.ECDH(theirs)
	if err != nil {
		return nil, err
	}
	info := "WebPush: info\x00" + string(s.P256DH) + string(point)
	ikm, err := hkdf.Key(sha256.New, shared, s.Auth, info, 32)
	if err != nil {
		return nil, err
	}
	cek, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, err
	}
	nonce, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(cek)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nonce, body[head:], nil)
	if err != nil {
		return nil, err
	}
	plain = bytes.TrimRight(plain, "\x00")
	if n := len(plain); n == 0 || plain[n-1] != 2 {
		return nil, errors.New("no last record")
	}
	return plain[:len(plain)-1], nil
}
