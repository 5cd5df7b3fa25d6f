package keys

import "testing"

// D7: what is sealed at rest shares a key, so its nonces are what keeps two apart: over
// two nodes with the same master key, and after a restart.
func TestD7_WhatIsSealedUnderTheMasterKeySharesNoNonce(t *testing.T) {
	seen := map[[12]byte]bool{}
	for range 2 {
		b, err := NewBox(make([]byte, 32))
		if err != nil {
			t.Fatal(err)
		}
		for range 1 << 17 {
			seen[[12]byte(b.Seal("kk dev_1", []byte("x"))[:12])] = true
		}
	}
	if len(seen) != 2<<17 {
		t.Fatalf("%d nonces of %d", len(seen), 2<<17)
	}
}
