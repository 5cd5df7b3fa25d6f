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
	if !slices.Contains([]string{"client_secret_basic", "client_secret_post", "none"}, s.AuthMethod) {
		return fault.InField("/token_endpoint_auth_method", "invalid", "token_endpoint_auth_method is client_secret_basic, client_secret_post or none")
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
