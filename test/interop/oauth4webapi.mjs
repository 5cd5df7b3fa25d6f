// A relying party on oauth4webapi, the library below openid-client, used as its
// documentation says: it parses and checks, and leaves every step to its caller.

import * as oauth from "oauth4webapi";
import { serve } from "./commands.mjs";

const plainHTTP = { [oauth.allowInsecureRequests]: true };
let as, client, auth, parked, tokens;

const told = () => ({
  claims: oauth.getValidatedIdTokenClaims(tokens) ?? null,
  accessToken: tokens.access_token,
  refreshToken: tokens.refresh_token ?? null,
});

await serve({
  async discover({ issuer, algorithm = "oidc", clientId, clientSecret }) {
    const url = new URL(issuer);
    as = await oauth.processDiscoveryResponse(url, await oauth.discoveryRequest(url, { algorithm, ...plainHTTP }));
    client = { client_id: clientId, id_token_signed_response_alg: "ES256" };
    auth = clientSecret ? oauth.ClientSecretBasic(clientSecret) : oauth.None();
    return as;
  },

  async authorize({ redirectUri, loginHint, scope }) {
    parked = { redirectUri, state: oauth.generateRandomState(), nonce: oauth.generateRandomNonce(), verifier: oauth.generateRandomCodeVerifier() };
    const url = new URL(as.authorization_endpoint);
    for (const [name, value] of Object.entries({
      client_id: client.client_id,
      redirect_uri: redirectUri,
      response_type: "code",
      scope,
      login_hint: loginHint,
      state: parked.state,
      nonce: parked.nonce,
      code_challenge: await oauth.calculatePKCECodeChallenge(parked.verifier),
      code_challenge_method: "S256",
    })) {
      url.searchParams.set(name, value);
    }
    return { url: url.href };
  },

  async callback({ url, nonce = parked.nonce }) {
    const params = oauth.validateAuthResponse(as, client, new URL(url), parked.state);
    const response = await oauth.authorizationCodeGrantRequest(as, client, auth, params, parked.redirectUri, parked.verifier, plainHTTP);
    tokens = await oauth.processAuthorizationCodeResponse(as, client, response, { expectedNonce: nonce, requireIdToken: true });
    await oauth.validateApplicationLevelSignature(as, response, plainHTTP);
    return told();
  },

  async userinfo({ sub }) {
    return oauth.processUserInfoResponse(as, client, sub, await oauth.userInfoRequest(as, client, tokens.access_token, plainHTTP));
  },

  async refresh() {
    const response = await oauth.refreshTokenGrantRequest(as, client, auth, tokens.refresh_token, plainHTTP);
    tokens = await oauth.processRefreshTokenResponse(as, client, response);
    return told();
  },

  async introspect() {
    return oauth.processIntrospectionResponse(as, client, await oauth.introspectionRequest(as, client, auth, tokens.access_token, plainHTTP));
  },

  async revoke() {
    await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, tokens.refresh_token, plainHTTP));
    return {};
  },
});
