package db

import (
	"encoding/json"
	"errors"
	"time"
)

// Mark remembers a moment by name, for ever; ErrConflict if it was marked before.
func (tx *Tx) Mark(name string) error {
	return tx.insert(`INSERT INTO marks (name, at) VALUES ($1, $2) ON CONFLICT DO NOTHING`, name, millis(tx.Now()))
}

// Marked reports whether the moment was marked.
func (tx *Tx) Marked(name string) (bool, error) {
	var at int64
	err := tx.row(`SELECT at FROM marks WHERE name = $1`, []any{name}, &at)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Consent is what a user allowed a client to learn and do.
type Consent struct {
	UserID, ClientID, MerchantID string
	Scopes                       []string
	GrantedAt                    time.Time
}

// PutConsent stores c in place of what the user allowed the client before.
func (tx *Tx) PutConsent(c Consent) error {
	scopes, err := toJSON(c.Scopes)
	if err != nil {
		return err
	}
	_, err = tx.exec(`INSERT INTO consents (user_id, client_id, merchant_id, scopes, granted_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (user_id, client_id) DO UPDATE SET scopes = excluded.scopes, granted_at = excluded.granted_at`,
		c.UserID, c.ClientID, c.MerchantID, scopes, millis(tx.Now()))
	return err
}

func scanConsent(c *Consent, scan func(...any) error, into ...any) error {
	var scopes string
	var at int64
	if err := scan(append(into, &c.MerchantID, &scopes, &at)...); err != nil {
		return err
	}
	c.GrantedAt = fromMillis(at)
	return json.Unmarshal([]byte(scopes), &c.Scopes)
}

// Consent returns what the user allowed the client; ErrNotFound if nothing.
func (tx *Tx) Consent(userID, clientID string) (Consent, error) {
	c := Consent{UserID: userID, ClientID: clientID}
	err := scanConsent(&c, func(into ...any) error {
		return tx.row(`SELECT merchant_id, scopes, granted_at FROM consents WHERE user_id = $1 AND client_id = $2`, []any{userID, clientID}, into...)
	})
	return c, err
}

// ConsentsOf lists what the user allowed, by client.
func (tx *Tx) ConsentsOf(userID string) ([]Consent, error) {
	var out []Consent
	err := tx.rows(`SELECT client_id, merchant_id, scopes, granted_at FROM consents WHERE user_id = $1 ORDER BY client_id`, []any{userID},
		func(scan func(...any) error) error {
			c := Consent{UserID: userID}
			err := scanConsent(&c, scan, &c.ClientID)
			out = append(out, c)
			return err
		})
	return out, err
}

// DeleteConsent withdraws what the user allowed the client, and ends every grant
// between the two; ErrNotFound if nothing was allowed.
func (tx *Tx) DeleteConsent(userID, clientID string) error {
	if err := tx.must(`DELETE FROM consents WHERE user_id = $1 AND client_id = $2`, userID, clientID); err != nil {
		return err
	}
	_, err := tx.exec(`UPDATE grants SET revoked_at = $3 WHERE user_id = $1 AND client_id = $2 AND revoked_at = 0`, userID, clientID, millis(tx.Now()))
	return err
}
