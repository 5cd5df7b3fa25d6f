package provider

import (
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/token/jwt"
)

// session is a record in the shape of fosite's session. Times stay out of it:
// fosite reads the machine's clock, and the records carry ours.
type session struct {
	record
	claims  jwt.IDTokenClaims // fosite's handlers write at_hash into it
	headers jwt.Headers
}

var _ openid.Session = (*session)(nil)

func (s *session) SetExpiresAt(fosite.TokenType, time.Time)       {}
func (s *session) GetExpiresAt(fosite.TokenType) (none time.Time) { return none }
func (s *session) GetUsername() string                            { return "" }
func (s *session) GetSubject() string                             { return s.UserID }

// Clone returns a copy whose claims fosite may change.
func (s *session) Clone() fosite.Session {
	c := *s
	return &c
}

// IDTokenClaims returns always the same pointer, as fosite expects.
func (s *session) IDTokenClaims() *jwt.IDTokenClaims {
	s.claims.Subject = s.UserID
	return &s.claims
}

// IDTokenHeaders is empty: the signer writes the header.
func (s *session) IDTokenHeaders() *jwt.Headers { return &s.headers }
