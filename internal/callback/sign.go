package callback

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"mobileid/internal/keys"
)

// secretPrefix marks a secret as one of Standard Webhooks.
const secretPrefix = "whsec_"

// secret is one that an endpoint's messages are signed with.
type secret struct {
	Key   []byte `json:"key"`
	Until int64  `json:"until,omitempty"` // Unix ms; 0: it is the newest
}

// String keeps the key out of logs.
func (secret) String() string { return "[REDACTED]" }

// text is the secret as the merchant is given it, once.
func (s secret) text() string { return secretPrefix + base64.StdEncoding.EncodeToString(s.Key) }

func newSecret() secret {
	key := make([]byte, 32)
	rand.Read(key)
	return secret{Key: key}
}

// purpose binds sealed secrets to their endpoint, so that those of one can never be
// opened for another.
func purpose(merchantID, id string) string { return "webhook " + merchantID + " " + id }

func sealSecrets(box *keys.Box, merchantID, id string, all []secret) ([]byte, error) {
	text, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	return box.Seal(purpose(merchantID, id), text), nil
}

// openSecrets returns those that count at the time, the newest first.
func openSecrets(box *keys.Box, merchantID, id string, sealed []byte, now time.Time) ([]secret, error) {
	text, err := box.Open(purpose(merchantID, id), sealed)
	if err != nil {
		return nil, err
	}
	var all, out []secret
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("callback: secrets: %w", err)
	}
	for _, s := range all {
		if s.Until == 0 || s.Until > now.UnixMilli() {
			out = append(out, s)
		}
	}
	return out, nil
}

// header is what a message is sent with: its id, the time of the attempt, and a
// signature by each secret (Standard Webhooks, "Signature scheme").
func header(id string, at time.Time, body []byte, all []secret) http.Header {
	seconds := strconv.FormatInt(at.Unix(), 10)
	signatures := make([]string, len(all))
	for i, s := range all {
		m := hmac.New(sha256.New, s.Key)
		m.Write([]byte(id + "." + seconds + "."))
		m.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
	}
	return http.Header{
		"Content-Type":      {"application/json"},
		"Webhook-Id":        {id},
		"Webhook-Timestamp": {seconds},
		"Webhook-Signature": {strings.Join(signatures, " ")},
	}
}
