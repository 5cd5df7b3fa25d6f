package db

import (
	"encoding/json"
	"errors"
	"time"
)

// Client is an OAuth client of a merchant.
type Client struct {
	ID, MerchantID, AppID, Name string
	Settings                    ClientSettings
	Secrets                     []ClientSecret
	DisabledAt                  time.Time // zero: enabled
	ValidAfter                  time.Time // what it was given before is void
	Version                     int64
	CreatedAt                   time.Time
}

// ClientSettings are what a merchant configures (RFC 7591 names).
type ClientSettings struct {
	AuthMethod        string   `json:"token_endpoint_auth_method"` // client_secret_basic | client_secret_post | private_key_jwt | none
	GrantTypes        []string `json:"grant_types"`
	RedirectURIs      []string `json:"redirect_uris,omitempty"`
	PKCE              string   `json:"pkce,omitempty"` // "": required | nonce | optional
	Scopes            []string `json:"scopes"`
	Binding           string   `json:"binding"`                       // CIBA: match | trusted (trusted is an admin's switch)
	RevealUnknownUser bool     `json:"reveal_unknown_user,omitempty"` // unknown_user_id instead of a silent expiry
	MinACR            string   `json:"default_acr,omitempty"`         // least acr when none is asked
	AllowInsecureHTTP bool     `json:"allow_loopback_http,omitempty"` // http redirect on loopback by name (demo)
	BindingMessageMax int      `json:"binding_message_max,omitempty"` // runes; 0: 140

	JWKS              json.RawMessage `json:"jwks,omitempty"`                            // public keys, for private_key_jwt
	JWKSURI           string          `json:"jwks_uri,omitempty"`                        // where they are instead
	AssertionAlg      string          `json:"token_endpoint_auth_signing_alg,omitempty"` // "": ES256 or PS256
	AssertionAudience string          `json:"client_assertion_audience,omitempty"`       // "": issuer | endpoint

	IDTokenAlg  string `json:"id_token_signed_response_alg,omitempty"` // "": ES256
	UserinfoAlg string `json:"userinfo_signed_response_alg,omitempty"` // "": plain JSON
	TokenFormat string `json:"access_token_format,omitempty"`          // "": opaque | jwt (RFC 9068)
	ThirdParty  bool   `json:"third_party,omitempty"`                  // users are asked for consent

	DetailsTypes []string `json:"authorization_details_types,omitempty"` // RFC 9396 section 10; empty: none

	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris,omitempty"`
	BackchannelLogoutURI   string   `json:"backchannel_logout_uri,omitempty"`
}

// ClientSecret is one of a client's secrets: the SHA-256 of a 256-bit random
// string. During a rotation two are valid.
type ClientSecret struct {
	Hash      []byte    `json:"hash"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero: does not
}

// String keeps secrets out of logs, even their hashes.
func (ClientSecret) String() string { return "[REDACTED]" }

// InsertClient adds c.
func (tx *Tx) InsertClient(c Client) error {
	settings, err := toJSON(c.Settings)
	if err != nil {
		return err
	}
	secrets, err := toJSON(c.Secrets)
	if err != nil {
		return err
	}
	return tx.insert(`INSERT INTO clients (id, merchant_id, app_id, name, settings, secrets, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`,
		c.ID, c.MerchantID, c.AppID, c.Name, settings, secrets, millis(c.CreatedAt))
}

const clientColumns = `SELECT id, merchant_id, app_id, name, settings, secrets, disabled_at, valid_after, version, created_at FROM clients `

func scanClient(scan func(...any) error) (c Client, err error) {
	var settings, secrets string
	var disabled, after, created int64
	if err = scan(&c.ID, &c.MerchantID, &c.AppID, &c.Name, &settings, &secrets, &disabled, &after, &c.Version, &created); err != nil {
		return c, err
	}
	c.DisabledAt, c.ValidAfter, c.CreatedAt = fromMillis(disabled), fromMillis(after), fromMillis(created)
	if err = json.Unmarshal([]byte(settings), &c.Settings); err != nil {
		return c, err
	}
	return c, json.Unmarshal([]byte(secrets), &c.Secrets)
}

// Client returns the client with id, in Update with its row locked against changes.
func (tx *Tx) Client(id string) (Client, error) { return tx.client(id, tx.forShare()) }

// LockClient is Client for a transaction that changes it.
func (tx *Tx) LockClient(id string) (Client, error) { return tx.client(id, tx.forUpdate()) }

func (tx *Tx) client(id, lock string) (Client, error) {
	return scanClient(func(into ...any) error { return tx.row(clientColumns+`WHERE id = $1`+lock, []any{id}, into...) })
}

// ClientWithdrawn reports whether the client is disabled, was since the time given,
// or is gone; in Update with its row locked against changes.
func (tx *Tx) ClientWithdrawn(id string, since time.Time) (withdrawn bool, err error) {
	err = tx.row(`SELECT disabled_at <> 0 OR valid_after > $2 FROM clients WHERE id = $1`+tx.forShare(), []any{id, millis(since)}, &withdrawn)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	return withdrawn, err
}

// ClientVersion returns the client's version, for caches; 0 and ErrNotFound if
// there is none.
func (tx *Tx) ClientVersion(id string) (v int64, err error) {
	err = tx.row(`SELECT version FROM clients WHERE id = $1`, []any{id}, &v)
	return v, err
}

// Clients lists all clients, oldest first.
func (tx *Tx) Clients() ([]Client, error) {
	var out []Client
	err := tx.rows(clientColumns+`ORDER BY created_at, id`, nil, func(scan func(...any) error) error {
		c, err := scanClient(scan)
		out = append(out, c)
		return err
	})
	return out, err
}

// PublicRedirects calls each with the redirect URIs of every enabled client that
// authenticates by none.
func (tx *Tx) PublicRedirects(each func(uri string)) error {
	// The pattern finds them without the JSON functions that the engines do not
	// share; what it finds too much is left out below.
	return tx.rows(`SELECT settings FROM clients WHERE disabled_at = 0 AND settings LIKE '%"token_endpoint_auth_method":"none"%'`, nil, func(scan func(...any) error) error {
		var text string
		var set ClientSettings
		if err := scan(&text); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(text), &set); err != nil {
			return err
		}
		if set.AuthMethod == "none" {
			for _, uri := range set.RedirectURIs {
				each(uri)
			}
		}
		return nil
	})
}

// SetClientSecrets replaces the client's secrets.
func (tx *Tx) SetClientSecrets(id string, secrets []ClientSecret) error {
	s, err := toJSON(secrets)
	if err != nil {
		return err
	}
	return tx.must(`UPDATE clients SET secrets = $2, version = version + 1 WHERE id = $1`, id, s)
}

// SetClientSettings replaces the client's settings.
func (tx *Tx) SetClientSettings(id string, settings ClientSettings) error {
	s, err := toJSON(settings)
	if err != nil {
		return err
	}
	return tx.must(`UPDATE clients SET settings = $2, version = version + 1 WHERE id = $1`, id, s)
}

// RenameClient sets the name that users are shown.
func (tx *Tx) RenameClient(id, name string) error {
	return tx.must(`UPDATE clients SET name = $2, version = version + 1 WHERE id = $1`, id, name)
}

// EnableClient lets the client in again. What it was given until now stays dead,
// also what a node gave it that had not followed yet, and what was asked for it.
func (tx *Tx) EnableClient(id string) error {
	if err := tx.hold("clients", id); err != nil {
		return err
	}
	return tx.must(`UPDATE clients SET disabled_at = 0, valid_after = $2, version = version + 1 WHERE id = $1`, id, millis(tx.Now()))
}

// DisableClient withdraws the client: nothing new is issued to it, and what it has
// does not work.
func (tx *Tx) DisableClient(id string) error {
	if err := tx.hold("clients", id); err != nil {
		return err
	}
	return tx.must(`UPDATE clients SET disabled_at = $2, version = version + 1 WHERE id = $1`, id, millis(tx.Now()))
}
