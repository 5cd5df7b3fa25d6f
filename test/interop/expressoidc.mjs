// A site on Express and express-openid-connect, with its sessions in a cookie, and
// with back-channel logout.

import express from "express";
import { createRequire } from "node:module";
import { failed, serveApp } from "./commands.mjs";

const { auth } = createRequire(import.meta.url)("express-openid-connect");

// Logouts is a store as express-session has them.
class Logouts {
  #held = new Map();
  get(id, done) {
    done(null, this.#held.get(id));
  }
  set(id, value, done) {
    this.#held.set(id, value);
    done(null);
  }
  destroy(id, done) {
    this.#held.delete(id);
    done(null);
  }
}

await serveApp(({ issuer, clientId, clientSecret, site, loginHint, alg, bye }) => {
  const app = express();
  app.use(
    auth({
      issuerBaseURL: issuer,
      baseURL: site,
      clientID: clientId,
      clientSecret,
      clientAuthMethod: "client_secret_basic",
      secret: "a secret of the test, of a certain length",
      idTokenSigningAlg: alg,
      authRequired: false,
      idpLogout: true,
      routes: { postLogoutRedirect: bye },
      authorizationParams: { response_type: "code", response_mode: "query", scope: "openid profile offline_access", login_hint: loginHint },
      backchannelLogout: { store: new Logouts() },
      enableTelemetry: false,
    }),
  );
  app.get("/", (req, res) => res.json({ ok: req.oidc.idTokenClaims ?? null }));
  app.get("/userinfo", async (req, res) => res.json({ ok: await req.oidc.fetchUserInfo() }));
  app.get("/refresh", async (req, res) => {
    const before = req.oidc.accessToken.access_token;
    const { access_token } = await req.oidc.accessToken.refresh();
    res.json({ ok: { fresh: access_token !== before } });
  });
  app.use(failed);
  return app;
});
