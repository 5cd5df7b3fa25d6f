package provider

import (
	"slices"
	"strings"

	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/operation"
)

// CheckClient completes a client's settings with defaults and reports the first
// fault, by RFC 7591 member name, before they are stored.
func CheckClient(s *db.ClientSettings) error {
	if s.AuthMethod == "" {
		s.AuthMethod = "client_secret_basic"
	}
	if s.Binding == "" {
		s.Binding = "match"
	}
	if !slices.Contains(append(confidentialMethods(), methodNone), s.AuthMethod) {
		return fault.InField("/token_endpoint_auth_method", "invalid", "token_endpoint_auth_method is client_secret_basic, client_secret_post, private_key_jwt or none")
	}
	if err := checkKeys(s); err != nil {
		return err
	}
	if err := checkTokens(s); err != nil {
		return err
	}
	if len(s.GrantTypes) == 0 {
		return fault.InField("/grant_types", "required", "grant_types names at least one grant")
	}
	for _, g := range s.GrantTypes {
		switch g {
		case grantCode, grantToken:
		case grantClient, grantCIBA:
			if s.AuthMethod == "none" {
				return fault.InField("/grant_types", "invalid", g+" needs a client that can keep a secret")
			}
		default:
			return fault.InField("/grant_types", "invalid", "grant type "+g+" is not known")
		}
	}
	if slices.Contains(s.GrantTypes, grantCode) && len(s.RedirectURIs) == 0 {
		return fault.InField("/redirect_uris", "required", "authorization_code needs a redirect URI")
	}
	for _, uri := range s.RedirectURIs {
		if err := ValidateRedirectURI(uri, s.AllowInsecureHTTP); err != nil {
			return err
		}
	}
	for _, scope := range s.Scopes {
		// RFC 6749 section 3.3: printable ASCII without space, quote and backslash.
		if scope == "" || strings.ContainsFunc(scope, func(r rune) bool { return r <= 0x20 || r >= 0x7f || r == '"' || r == '\\' }) {
			return fault.InField("/scopes", "invalid", "a scope is printable ASCII without spaces, quotes and backslashes")
		}
	}
	if s.Binding != "match" && s.Binding != "trusted" {
		return fault.InField("/binding", "invalid", "binding is match or trusted")
	}
	if s.MinACR != "" && !slices.Contains(operation.Served(), s.MinACR) {
		return fault.InField("/default_acr", "invalid", "default_acr is one of "+strings.Join(operation.Served(), ", "))
	}
	return nil
}

// checkKeys reports what is wrong with a client's keys: private_key_jwt needs one
// that fits, and no other method has any use for them.
func checkKeys(s *db.ClientSettings) error {
	if s.AuthMethod != methodJWT {
		switch {
		case len(s.JWKS) > 0:
			return fault.InField("/jwks", "invalid", "jwks is for clients of private_key_jwt")
		case s.AssertionAlg != "":
			return fault.InField("/token_endpoint_auth_signing_alg", "invalid", "token_endpoint_auth_signing_alg is for clients of private_key_jwt")
		}
		return nil
	}
	if len(s.JWKS) == 0 {
		return fault.InField("/jwks", "required", "private_key_jwt needs the client's public keys as jwks")
	}
	if s.AssertionAlg != "" && !slices.Contains(signatureAlgs(), s.AssertionAlg) {
		return fault.InField("/token_endpoint_auth_signing_alg", "invalid", "token_endpoint_auth_signing_alg is one of "+strings.Join(signatureAlgs(), ", "))
	}
	keys, err := readKeySet(s.JWKS)
	if err != nil {
		return err
	}
	c := &client{Client: &db.Client{Settings: *s}, keys: keys}
	for _, k := range keys {
		for _, alg := range signatureAlgs() {
			if fits(&k, alg) && c.keyFor(alg, k.KeyID) != nil {
				return nil
			}
		}
	}
	return fault.InField("/jwks", "invalid", "jwks holds no key that fits token_endpoint_auth_signing_alg (ES256 and PS256 if it is not given)")
}

// checkTokens reports what is wrong with how the client wants its tokens.
func checkTokens(s *db.ClientSettings) error {
	for name, alg := range map[string]string{"id_token_signed_response_alg": s.IDTokenAlg, "userinfo_signed_response_alg": s.UserinfoAlg} {
		if alg != "" && !slices.Contains(signatureAlgs(), alg) {
			return fault.InField("/"+name, "invalid", name+" is one of "+strings.Join(signatureAlgs(), ", "))
		}
	}
	if s.TokenFormat != "" && s.TokenFormat != "opaque" && s.TokenFormat != formatJWT {
		return fault.InField("/access_token_format", "invalid", "access_token_format is opaque or jwt")
	}
	return nil
}
