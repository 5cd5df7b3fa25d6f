package provider

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/operation"
	"mobileid/internal/view"
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
	if s.PKCE != "" && !slices.Contains(pkceSettings(), s.PKCE) {
		return fault.InField("/pkce", "invalid", "pkce is one of "+strings.Join(pkceSettings(), ", "))
	}
	if s.AuthMethod == methodNone && s.PKCE != "" && s.PKCE != pkceRequired {
		return fault.InField("/pkce", "invalid", "pkce must be required for a client that cannot keep a secret")
	}
	if slices.Contains(s.GrantTypes, grantCode) && len(s.RedirectURIs) == 0 {
		return fault.InField("/redirect_uris", "required", "authorization_code needs a redirect URI")
	}
	for _, uri := range s.RedirectURIs {
		if err := ValidateRedirectURI(uri, s.AllowInsecureHTTP); err != nil {
			return err
		}
	}
	if err := checkLogout(s); err != nil {
		return err
	}
	for _, t := range s.DetailsTypes {
		if !slices.Contains(view.Types(), t) {
			return fault.InField("/authorization_details_types", "invalid", "authorization_details_types are of "+strings.Join(view.Types(), ", "))
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
	if least := operation.Served(true); s.MinACR != "" && !slices.Contains(least, s.MinACR) {
		return fault.InField("/default_acr", "invalid", "default_acr is one of "+strings.Join(least, ", "))
	}
	return nil
}

// checkKeys reports what is wrong with a client's keys: private_key_jwt needs
// some, here or at an address, and no other method has any use for them.
func checkKeys(s *db.ClientSettings) error {
	if s.AuthMethod != methodJWT {
		name := ""
		switch {
		case len(s.JWKS) > 0:
			name = "jwks"
		case s.JWKSURI != "":
			name = "jwks_uri"
		case s.AssertionAlg != "":
			name = "token_endpoint_auth_signing_alg"
		case s.AssertionAudience != "":
			name = "client_assertion_audience"
		default:
			return nil
		}
		return fault.InField("/"+name, "invalid", name+" is for clients of private_key_jwt")
	}
	if s.AssertionAlg != "" && !slices.Contains(signatureAlgs(), s.AssertionAlg) {
		return fault.InField("/token_endpoint_auth_signing_alg", "invalid", "token_endpoint_auth_signing_alg is one of "+strings.Join(signatureAlgs(), ", "))
	}
	if a := s.AssertionAudience; a != "" && a != audienceIssuer && a != audienceEndpoint {
		return fault.InField("/client_assertion_audience", "invalid", "client_assertion_audience is issuer or endpoint")
	}
	if s.JWKSURI != "" {
		if len(s.JWKS) > 0 { // RFC 7591 section 2
			return fault.InField("/jwks_uri", "invalid", "jwks_uri and jwks cannot both be given")
		}
		if wrong := checkCallback(s.JWKSURI, s.AllowInsecureHTTP); wrong != "" {
			return fault.InField("/jwks_uri", "invalid", "jwks_uri "+wrong)
		}
		return nil
	}
	if len(s.JWKS) == 0 {
		return fault.InField("/jwks", "required", "private_key_jwt needs the client's public keys as jwks, or their address as jwks_uri")
	}
	keys, err := readKeySet(s.JWKS)
	if err != nil {
		return err
	}
	for _, k := range keys {
		for _, alg := range signatureAlgs() {
			if fits(&k, alg) && pickKey(keys, s.AssertionAlg, alg, k.KeyID) != nil {
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

// checkLogout reports what is wrong with where the client is told of logouts.
func checkLogout(s *db.ClientSettings) error {
	for _, uri := range s.PostLogoutRedirectURIs {
		if err := ValidateRedirectURI(uri, s.AllowInsecureHTTP); err != nil {
			return fault.InField("/post_logout_redirect_uris", "invalid", "post_logout_redirect_uris: "+err.Error())
		}
	}
	if s.BackchannelLogoutURI == "" {
		return nil
	}
	if wrong := checkCallback(s.BackchannelLogoutURI, s.AllowInsecureHTTP); wrong != "" {
		return fault.InField("/backchannel_logout_uri", "invalid", "backchannel_logout_uri "+wrong)
	}
	return nil
}

// checkCallback says what is wrong with an address that this server is to call:
// https to a host by name, or, for development, http on this machine. Where a
// name leads is checked again at each call.
func checkCallback(uri string, loopbackHTTP bool) string {
	if err := ValidateRedirectURI(uri, loopbackHTTP); err != nil {
		return "is no address that can be called: " + err.Error()
	}
	u, err := url.Parse(uri)
	if err != nil {
		return "is malformed"
	}
	host := strings.ToLower(u.Hostname())
	_, literal := netip.ParseAddr(host)
	// A last part that is a number makes the whole an IPv4 address in one of its
	// old spellings: 2130706433, 0x7f.1, 0177.0.0.1.
	last := host[strings.LastIndexByte(host, '.')+1:]
	number := strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x")
	switch {
	case u.Scheme == "http" && loopbackHTTP:
	case u.Scheme != "https":
		return "must be https"
	case literal == nil || number || host == "localhost" || strings.HasSuffix(host, ".localhost"):
		return "must name a host, not an address"
	case u.Port() != "" && u.Port() != "443" && u.Port() != "8443":
		return "must use port 443 or 8443"
	}
	return ""
}
