package wire

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
)

// bioDigest is what DBK signs of an answer.
func bioDigest(ansHash [32]byte) [32]byte {
	return sha256.Sum256(Fields([]byte("mid/bio/1"), ansHash[:]))
}

// SignBio is bsig of an answer: whoever the phone knows by biometry was there for
// this ans. 64 bytes, r and s.
func SignBio(dbk crypto.Signer, ansHash [32]byte) ([]byte, error) {
	digest := bioDigest(ansHash)
	der, err := dbk.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	sig, err := plainSignature(der)
	return sig[:], err
}

// VerifyBio reports whether sig is bsig of that answer under the key.
func VerifyBio(dbk *ecdsa.PublicKey, ansHash [32]byte, sig []byte) bool {
	return len(sig) == 64 && verifyPlain(dbk, bioDigest(ansHash), [64]byte(sig))
}

// BioAttestationChallenge is what an Android biometric key is attested for: this
// server key and this request.
func BioAttestationChallenge(ek, jti string) [32]byte {
	return sha256.Sum256(Fields([]byte("mid/att-bio/1"), []byte(ek), []byte(jti)))
}

// BioAppAttestHash is clientDataHash of App Attest for a biometric key.
func BioAppAttestHash(ek, jti string, dbk [32]byte) [32]byte {
	return sha256.Sum256(Fields([]byte("mid/att-bio/1"), []byte(ek), []byte(jti), dbk[:]))
}
