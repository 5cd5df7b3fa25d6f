package node

import (
	"crypto/x509"
	"fmt"
	"os"

	"mobileid/config"
	"mobileid/internal/attestation"
)

// verifier reads whose word counts about phones' keys.
func verifier(c config.Attestation) (*attestation.Verifier, error) {
	v := &attestation.Verifier{}
	for _, f := range []struct {
		key, file string
		into      **x509.CertPool
	}{{"attestation.android_roots", c.AndroidRoots, &v.Android}, {"attestation.apple_roots", c.AppleRoots, &v.Apple}} {
		if f.file == "" {
			continue
		}
		text, err := os.ReadFile(f.file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.key, err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: %s holds no certificate in PEM", f.key, f.file)
		}
		*f.into = pool
	}
	if c.Revoked == "" {
		return v, nil
	}
	list, err := os.ReadFile(c.Revoked)
	if err != nil {
		return nil, fmt.Errorf("attestation.revoked: %w", err)
	}
	if v.Revoked, err = attestation.ParseRevoked(list); err != nil {
		return nil, fmt.Errorf("attestation.revoked: %s: %w", c.Revoked, err)
	}
	return v, nil
}
