package wire

import (
	"errors"
	"strings"
)

// StartToken is what a merchant's backend hands to its app, which gives it to the
// phone: the operation's id, a dot, and 32 secret bytes in base64url. It is good
// for one claim.
func StartToken(txn string, secret []byte) string { return txn + "." + Encode(secret) }

// ParseStartToken splits a start token.
func ParseStartToken(token string) (Claim, error) {
	txn, secret, ok := strings.Cut(token, ".")
	if !ok || !strings.HasPrefix(txn, "op_") || len(txn) > 64 {
		return Claim{}, errors.New("not a start token")
	}
	s, err := Decode32(secret)
	if err != nil {
		return Claim{}, errors.New("not a start token")
	}
	return Claim{Txn: txn, App: s[:]}, nil
}
