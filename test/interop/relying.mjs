// A relying party on openid-client. What the library checks of its own accord
// (issuer, iss, state, nonce, at_hash, signature, audience) is checked here too,
// because it is used as its documentation says.

import * as oidc from "openid-client";
import { serve } from "./commands.mjs";

let config;
let parked; // state, nonce and verifier of the login under way
let asked; // the acknowledgement of the backchannel request under way
let tokens; // the last token response

const told = (t) => ({
  claims: t.claims() ?? null,
  accessToken: t.access_token,
  refreshToken: t.refresh_token ?? null,
  expiresIn: t.expiresIn(),
  scope: t.scope ?? null,
});

const commands = {
  async discover({ issuer, clientId, clientSecret, method, jwk, alg = "ES256", userinfoAlg }) {
    const key = jwk && { kid: jwk.kid, key: await crypto.subtle.importKey("jwk", jwk, { name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]) };
    const how = {
      private_key_jwt: () => oidc.PrivateKeyJwt(key),
      client_secret_basic: () => oidc.ClientSecretBasic(clientSecret),
      client_secret_post: () => oidc.ClientSecretPost(clientSecret),
      none: () => oidc.None(),
    }[method];
    config = await oidc.discovery(new URL(issuer), clientId, { client_secret: clientSecret, id_token_signed_response_alg: alg, userinfo_signed_response_alg: userinfoAlg }, how(), {
      execute: [oidc.allowInsecureRequests, oidc.enableNonRepudiationChecks],
    });
    return config.serverMetadata();
  },

  async authorize({ redirectUri, loginHint, scope, ...more }) {
    parked = { state: oidc.randomState(), nonce: oidc.randomNonce(), verifier: oidc.randomPKCECodeVerifier() };
    const url = oidc.buildAuthorizationUrl(config, {
      redirect_uri: redirectUri,
      scope,
      login_hint: loginHint,
      state: parked.state,
      nonce: parked.nonce,
      code_challenge: await oidc.calculatePKCECodeChallenge(parked.verifier),
      code_challenge_method: "S256",
      ...more,
    });
    return { url: url.href };
  },

  async callback({ url }) {
    tokens = await oidc.authorizationCodeGrant(config, new URL(url), {
      expectedState: parked.state,
      expectedNonce: parked.nonce,
      pkceCodeVerifier: parked.verifier,
      idTokenExpected: true,
    });
    return told(tokens);
  },

  async userinfo({ sub }) {
    return oidc.fetchUserInfo(config, tokens.access_token, sub);
  },

  async refresh({ token }) {
    tokens = await oidc.refreshTokenGrant(config, token ?? tokens.refresh_token);
    return told(tokens);
  },

  async introspect({ token }) {
    return oidc.tokenIntrospection(config, token ?? tokens.access_token);
  },

  async revoke({ token }) {
    await oidc.tokenRevocation(config, token ?? tokens.access_token);
    return {};
  },

  async logout({ redirectUri }) {
    return { url: oidc.buildEndSessionUrl(config, { id_token_hint: tokens.id_token, post_logout_redirect_uri: redirectUri, state: "bye" }).href };
  },

  async ask({ loginHint, message, ...more }) {
    asked = await oidc.initiateBackchannelAuthentication(config, { scope: "openid", login_hint: loginHint, binding_message: message, ...more });
    return asked;
  },

  async poll() {
    tokens = await oidc.pollBackchannelAuthenticationGrant(config, asked);
    return told(tokens);
  },
};

await serve(commands);
