package provider

import (
	"context"
	"strings"

	"mobileid/internal/db"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/pkce"
)

// What must hold a client's code together with the login that it is of, so that a
// code of another login is not taken for it (the setting pkce; RFC 9700 section 2.1.1).
const (
	pkceRequired = "required" // a code_challenge, of which the server sees to it that it is proven
	pkceNonce    = "nonce"    // or a nonce, of which the client must
	pkceOptional = "optional" // what OpenID Connect Core asks for, which is nothing
)

func pkceSettings() []string { return []string{pkceRequired, pkceNonce, pkceOptional} }

// needsChallenge says why a request without a code_challenge is refused; "" if it is
// not. A public client has nothing else to show that a code is its own, so of one the
// setting is not even looked at.
func needsChallenge(s *db.ClientSettings, scopes []string, nonce string) string {
	switch {
	case s.AuthMethod == methodNone:
	case s.PKCE == pkceOptional:
		return ""
	case s.PKCE == pkceNonce:
		if nonce != "" && contains(scopes, "openid") { // without an ID token nobody sees it again
			return ""
		}
		return "code_challenge is missing: the client needs PKCE (RFC 7636), or scope openid with a nonce"
	}
	return "code_challenge is missing: PKCE is required (RFC 7636)"
}

// readChallenge checks the parameters of PKCE. One that is given is always to be
// proven, and by SHA-256 alone.
func (req *AuthorizeRequest) readChallenge() error {
	challenge, method := req.Form.Get("code_challenge"), req.Form.Get("code_challenge_method")
	wrong := ""
	switch {
	case challenge == "" && method != "":
		wrong = "code_challenge is missing, but code_challenge_method is given"
	case challenge == "":
		wrong = needsChallenge(&req.Client.Settings, req.Scopes, req.Form.Get("nonce"))
	case method != "S256":
		wrong = "code_challenge_method must be S256"
	case len(challenge) != 43 || strings.Trim(challenge, base64URL) != "":
		wrong = "code_challenge must be the base64url of a SHA-256, 43 characters"
	}
	if wrong != "" {
		return req.fail(codeInvalidRequest, wrong)
	}
	return nil
}

// proofHandler is fosite's PKCE, with the proof of a code checked against the
// code's record (RFC 7636 section 4.6).
type proofHandler struct {
	*pkce.Handler
}

func (proofHandler) HandleTokenEndpointRequest(ctx context.Context, _ fosite.AccessRequester) error {
	u := unitOf(ctx)
	verifier := u.form.Get("code_verifier")
	if u.from.Challenge == "" {
		if verifier != "" {
			// Somebody took the challenge out of the client's request (RFC 9700 section 4.8.2).
			return refuse(codeInvalidGrant, "code_verifier is given, but the code was asked for without a code_challenge")
		}
		if wrong := needsChallenge(&u.client.Settings, u.from.Scopes, u.from.Nonce); wrong != "" {
			return refuse(codeInvalidGrant, "the code was asked for under other settings of the client: "+wrong)
		}
		return nil
	}
	if len(verifier) < 43 || len(verifier) > 128 || strings.Trim(verifier, base64URL+".~") != "" {
		return refuse(codeInvalidGrant, "code_verifier must be 43 to 128 of the characters A-Z a-z 0-9 - . _ ~")
	}
	if digest(verifier) != u.from.Challenge {
		return refuse(codeInvalidGrant, "code_verifier does not prove the code_challenge")
	}
	return nil
}
