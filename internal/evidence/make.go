package evidence

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Signer makes a compact JWS with an ES256 evidence key; keys.Key is one.
type Signer interface {
	Sign(typ string, payload []byte) (string, error)
}

// Make signs c with the evidence key. It fills hv and hd, and fails if a
// verifier would refuse what it makes: what is handed out can be checked.
func Make(key Signer, c Claims) (string, error) {
	c.HV, c.HD = digest(c.View), digest(c.Content)
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // texts stay as long as they are
	if err := enc.Encode(c); err != nil {
		return "", fmt.Errorf("evidence: %w", err)
	}
	payload := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	if _, err := read(payload); err != nil {
		return "", fmt.Errorf("evidence: would not verify: %w", err)
	}
	token, err := key.Sign(Typ, payload)
	if err != nil {
		return "", fmt.Errorf("evidence: %w", err)
	}
	if len(token) > MaxSize {
		return "", fmt.Errorf("evidence: %d bytes are more than %d", len(token), MaxSize)
	}
	return token, nil
}
