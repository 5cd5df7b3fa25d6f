// The peer of the bench: node-oidc-provider with what the compared flows need,
// nothing durable, nobody asked. Its records are in the process's memory, or in the
// Redis whose host:port is given. It says where it listens by a line of JSON.
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import { Provider } from 'oidc-provider';

const [clientId, clientSecret, redirectUri, account] = ['peer', 'peer-secret-of-the-bench', 'http://127.0.0.1:1/callback', 'load'];

const redis = process.argv[2] && new (await import('ioredis')).Redis(`redis://${process.argv[2]}`, { keyPrefix: 'peer:' });

// Shared is the adapter on Redis: a record is a string, or a hash where it can be
// consumed; what a grant has given is listed under it. What belongs together is sent
// together, as the example of the package does.
const consumable = new Set(['AuthorizationCode', 'RefreshToken', 'BackchannelAuthenticationRequest']);

class Shared {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  async upsert(id, payload, expiresIn) {
    const key = this.key(id);
    const record = JSON.stringify(payload);
    const all = redis.multi();
    if (consumable.has(this.model)) {
      all.hset(key, 'payload', record);
      if (expiresIn) all.expire(key, expiresIn);
    } else if (expiresIn) all.set(key, record, 'EX', expiresIn);
    else all.set(key, record);
    if (this.model === 'Session') all.set(`uid:${payload.uid}`, id, 'EX', expiresIn);
    else if (payload.grantId) {
      all.rpush(`grant:${payload.grantId}`, key);
      if (expiresIn) all.expire(`grant:${payload.grantId}`, expiresIn, 'GT');
    }
    await all.exec();
  }
  async find(id) {
    if (!consumable.has(this.model)) {
      const record = await redis.get(this.key(id));
      return record ? JSON.parse(record) : undefined;
    }
    const { payload, consumed } = await redis.hgetall(this.key(id));
    return payload && { ...JSON.parse(payload), ...(consumed && { consumed: Number(consumed) }) };
  }
  async findByUid(uid) { return this.find(await redis.get(`uid:${uid}`)); }
  async findByUserCode() { return undefined; }
  async consume(id) { await redis.hset(this.key(id), 'consumed', Math.floor(Date.now() / 1000)); }
  async destroy(id) { await redis.del(this.key(id)); }
  async revokeByGrantId(grantId) {
    const members = await redis.lrange(`grant:${grantId}`, 0, -1);
    await redis.del(`grant:${grantId}`, ...members);
  }
}

// Records is the adapter in memory: like the one in the package, but keeping every record
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
    adapter: redis ? Shared : Records,
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
