package provider

import (
	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/handler/pkce"
)

// Grant types (RFC 6749, CIBA Core section 4).
const (
	grantCode   = "authorization_code"
	grantToken  = "refresh_token"
	grantClient = "client_credentials"
	grantCIBA   = "urn:openid:params:grant-type:ciba"
)

// grantType is one grant that is on. Handlers are kept by grant so that fosite
// does not ask each for every request, which costs a stack trace per refusal.
type grantType struct {
	name         string
	needs        string // the parameter that carries the grant; "" : none
	confidential bool   // not for clients without a secret
	handlers     fosite.TokenEndpointHandlers
}

// grantTypes lists the grants in the order that discovery names them.
func grantTypes() []string { return []string{grantCode, grantToken, grantClient, grantCIBA} }

// compose builds fosite out of the handlers for what is spoken, by hand:
// nothing is on by default.
func (p *Provider) compose() {
	store := storage{p}
	tokens := strategy{p}
	conf := &fosite.Config{
		AccessTokenLifespan:   accessLife,
		RefreshTokenLifespan:  refreshLife,
		AuthorizeCodeLifespan: codeLife,
		IDTokenLifespan:       idTokenLife,
		IDTokenIssuer:         p.issuer,
		ScopeStrategy:         fosite.ExactScopeStrategy,
		// Set although it is the default: fosite would set it on first use, without
		// a lock. The hasher and the key fetcher, likewise lazy, are never asked for.
		AudienceMatchingStrategy:       fosite.DefaultAudienceMatchingStrategy,
		RefreshTokenScopes:             []string{}, // the client's grant types decide
		EnforcePKCEForPublicClients:    true,       // of all others needsChallenge asks what their settings say
		OmitRedirectScopeParam:         true,
		SendDebugMessagesToClients:     false,
		EnablePKCEPlainChallengeMethod: false,
	}
	code := &oauth2.AuthorizeExplicitGrantHandler{
		AccessTokenStrategy: tokens, RefreshTokenStrategy: tokens, AuthorizeCodeStrategy: tokens,
		CoreStorage: store, TokenRevocationStorage: store, Config: conf,
	}
	idTokens := &openid.IDTokenHandleHelper{IDTokenStrategy: tokens}
	codeOIDC := &openid.OpenIDConnectExplicitHandler{
		OpenIDConnectRequestStorage:   store,
		OpenIDConnectRequestValidator: openid.NewOpenIDConnectRequestValidator(nil, conf),
		Config:                        conf, IDTokenHandleHelper: idTokens,
	}
	proof := &pkce.Handler{AuthorizeCodeStrategy: tokens, Storage: store, Config: conf}
	p.codeHandlers = fosite.AuthorizeEndpointHandlers{code, codeOIDC, proof}
	refresh := &oauth2.RefreshTokenGrantHandler{
		AccessTokenStrategy: tokens, RefreshTokenStrategy: tokens, TokenRevocationStorage: store, Config: conf,
	}
	p.grants = map[string]*grantType{
		grantCode: {needs: "code", handlers: fosite.TokenEndpointHandlers{code, proofHandler{proof}, codeTokenHandler{codeOIDC}}},
		grantToken: {needs: "refresh_token", handlers: fosite.TokenEndpointHandlers{
			refreshHandler{refresh}, refreshTokenHandler{&openid.OpenIDConnectRefreshHandler{IDTokenHandleHelper: idTokens, Config: conf}},
		}},
		grantClient: {confidential: true, handlers: fosite.TokenEndpointHandlers{clientHandler{&oauth2.ClientCredentialsGrantHandler{
			HandleHelper: &oauth2.HandleHelper{AccessTokenStrategy: tokens, AccessTokenStorage: store, Config: conf}, Config: conf,
		}}}},
		grantCIBA: {needs: "auth_req_id", confidential: true, handlers: fosite.TokenEndpointHandlers{cibaHandler{p, tokens, idTokens}}},
	}
	for name, g := range p.grants {
		g.name = name
	}
}
