package wire

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
)

// Fields joins byte strings, each behind its length as 4 bytes big-endian, so
// that no two different lists give the same bytes. Every hash or MAC of mid/1
// over more than one field is taken over this form.
func Fields(parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += 4 + len(p)
	}
	out := make([]byte, 0, n)
	for _, p := range parts {
		out = binary.BigEndian.AppendUint32(out, uint32(len(p)))
		out = append(out, p...)
	}
	return out
}

// MAC is HMAC-SHA-256 over Fields.
func MAC(key []byte, parts ...[]byte) [32]byte {
	m := hmac.New(sha256.New, key)
	m.Write(Fields(parts...))
	var out [32]byte
	m.Sum(out[:0])
	return out
}

// Equal compares two MACs in constant time.
func Equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

// TicketMAC is tm of reg.begin: who made it knew the ticket's secret (from the
// link, raw bytes) or the activation code (typed, ASCII). It binds the secret to
// the server's key, this request, this phone's key and the commitment.
func TicketMAC(secretOrCode []byte, ek, jti string, dsk [32]byte, fc [32]byte) [32]byte {
	return MAC(secretOrCode, []byte(ek), []byte(jti), dsk[:], fc[:])
}

// AttestationChallenge is what an Android key is attested for: this server key
// and this ticket id or locator.
func AttestationChallenge(ek, ticketOrLocator string) [32]byte {
	return sha256.Sum256(Fields([]byte("mid/att/1"), []byte(ek), []byte(ticketOrLocator)))
}

// AppAttestHash is clientDataHash of App Attest. The key that it attests is not
// DSK, so DSK stands in it.
func AppAttestHash(ek, ticketOrLocator string, dsk [32]byte) [32]byte {
	return sha256.Sum256(Fields([]byte("mid/att/1"), []byte(ek), []byte(ticketOrLocator), dsk[:]))
}

// Commitment is fc: the phone fixes np before it sees ns.
func Commitment(np []byte) [32]byte { return sha256.Sum256(np) }

// CommitDigits are the 8 digits that both screens show: the first 8 bytes of
// the hash as a big-endian number modulo 10^8, zero-padded.
func CommitDigits(np, ns []byte, dsk, ssk [32]byte, deviceID string) string {
	sum := sha256.Sum256(Fields([]byte("mid-fp/1"), np, ns, dsk[:], ssk[:], []byte(deviceID)))
	return fmt.Sprintf("%08d", binary.BigEndian.Uint64(sum[:8])%100_000_000)
}

// AnswerProof is kpf of an answer: knowledge of KK, bound to one ans and chal.
func AnswerProof(kk []byte, ansHash [32]byte, chal []byte) [32]byte {
	return MAC(kk, []byte("mid/kpf/1/answer"), ansHash[:], chal)
}

// CallProof is kpf of a call outside operations: knowledge of KK, bound to the call,
// its body without kpf, its jti and the head it spends, the last two as they stand
// in the request.
func CallProof(kk []byte, op string, body []byte, jti, head string) [32]byte {
	sum := sha256.Sum256(body)
	return MAC(kk, []byte("mid/kpf/1/"+op), sum[:], []byte(jti), []byte(head))
}

// BrowserProof is cv = SHA-256(V) of a same-device answer.
func BrowserProof(v []byte) [32]byte { return sha256.Sum256(v) }

// Rounds of PBKDF2-HMAC-SHA-256 between PIN and the key that hides KK.
const Rounds = 100_000

// Sizes of the random values of registration, in bytes.
const (
	SaltSize   = 16 // of the PIN wrap
	NonceSize  = 16 // np and ns
	SecretSize = 16 // of a ticket
	KeySize    = 32 // KK, DHK, RK
)

// Stretch is the slow step: PBKDF2 over the PIN's UTF-8 bytes, 32 bytes out.
func Stretch(pin string, salt []byte) ([]byte, error) {
	if len(salt) != SaltSize {
		return nil, errors.New("salt is not 16 bytes")
	}
	return pbkdf2.Key(sha256.New, pin, salt, Rounds, 32)
}

// Mask turns HMAC(DHK, stretched PIN) into the 32 bytes that KK is xored with.
// The HMAC is taken by the phone's keystore, which alone holds DHK.
func Mask(mac []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, mac, nil, "mid/kk/1", KeySize)
}

// Xor hides or shows KK. There is no tag: a wrong mask gives other bytes and
// nothing tells them from the right ones. The caller never masks one KK twice.
func Xor(kk, mask []byte) ([]byte, error) {
	if len(kk) != KeySize || len(mask) != KeySize {
		return nil, errors.New("not 32 bytes")
	}
	out := make([]byte, KeySize)
	subtle.XORBytes(out, kk, mask)
	return out, nil
}
