// The peer of the bench: node-oidc-provider with what the compared flows need,
// its records in the process's memory, nothing durable, nobody asked. It says
// where it listens by a line of JSON.
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import { Provider } from 'oidc-provider';

const [clientId, clientSecret, redirectUri, account] = ['peer', 'peer-secret-of-the-bench', 'http://127.0.0.1:1/callback', 'load'];

// Records is the adapter: like the one in the package, but keeping every record
// until its time is over; that one forgets all but the last thousand, which a
// round of the bench exceeds.
const kept = new Map();
const grants = new Map();
const uids = new Map();

class Records {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  async upsert(id, payload, expiresIn) {
    const key = this.key(id);
    kept.set(key, { payload, until: expiresIn ? Date.now() + expiresIn * 1000 : Infinity });
    if (this.model === 'Session') uids.set(payload.uid, id);
    if (payload.grantId && this.model !== 'Session') {
      const members = grants.get(payload.grantId);
      if (members) members.push(key);
      else grants.set(payload.grantId, [key]);
    }
  }
  async find(id) {
    const record = kept.get(this.key(id));
    return record && record.until > Date.now() ? record.payload : undefined;
  }
  async findByUid(uid) { return this.find(uids.get(uid)); }
  async findByUserCode() { return undefined; }
  async consume(id) { kept.get(this.key(id)).payload.consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { kept.delete(this.key(id)); }
  async revokeByGrantId(grantId) {
    for (const key of grants.get(grantId) ?? []) kept.delete(key);
    grants.delete(grantId);
  }
}

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    adapter: Records,
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'peer', alg: 'ES256', use: 'sig' }] },
    clients: [{
      client_id: clientId,
      client_secret: clientSecret,
      grant_types: ['client_credentials', 'urn:openid:params:grant-type:ciba', 'authorization_code'],
      response_types: ['code'],
      redirect_uris: [redirectUri],
      id_token_signed_response_alg: 'ES256',
      backchannel_token_delivery_mode: 'poll',
      scope: 'openid mobileid.users',
    }],
    scopes: ['openid', 'mobileid.users'],
    ttl: { AccessToken: 300, AuthorizationCode: 60, BackchannelAuthenticationRequest: 180, ClientCredentials: 300, Grant: 3600, IdToken: 300, Interaction: 600, Session: 3600 },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    interactions: { url: (_, interaction) => `/login/${interaction.uid}` },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      ciba: {
        enabled: true,
        deliveryModes: ['poll'],
        processLoginHint: (_, hint) => hint,
        processLoginHintToken: () => undefined,
        validateBindingMessage: () => {},
        validateRequestContext: () => {},
        verifyUserCode: () => {},
        // Where a server would now ask the user's phone, the user has agreed.
        async triggerAuthenticationDevice(ctx, request, who, client) {
          await ctx.oidc.provider.backchannelResult(request, await grant(client.clientId, who.accountId), { acr: '1', amr: ['pop'], authTime: Math.floor(Date.now() / 1000) });
        },
      },
    },
  });

  async function grant(client, who) {
    const made = new provider.Grant({ clientId: client, accountId: who });
    made.addOIDCScope('openid');
    await made.save();
    return made;
  }

  const serve = provider.callback();
  server.on('request', async (req, res) => {
    if (!req.url.startsWith('/login/')) {
      serve(req, res);
      return;
    }
    const made = await grant(clientId, account);
    await provider.interactionFinished(req, res, { login: { accountId: account }, consent: { grantId: made.jti } }, { mergeWithLastSubmission: false });
  });
  console.log(JSON.stringify({ issuer, client_id: clientId, client_secret: clientSecret, redirect_uri: redirectUri }));
});
