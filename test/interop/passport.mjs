// A site on Express and passport-openidconnect. The strategy knows no PKCE. With a
// client whose setting pkce is "nonce" it works as it comes; for one that requires PKCE
// the subclass adds it by the hooks that the strategy has for parameters of its provider.

import { createHash, randomBytes } from "node:crypto";
import express from "express";
import session from "express-session";
import passport from "passport";
import OpenIDConnectStrategy from "passport-openidconnect";
import { failed, serveApp } from "./commands.mjs";

class WithPKCE extends OpenIDConnectStrategy {
  authenticate(req, options) {
    // Passport makes a strategy of its own for each request.
    this.kept = req.session;
    if (req.query.code) {
      const plain = this._oauth2;
      this._oauth2 = Object.assign(Object.create(plain), {
        getOAuthAccessToken: (code, params, done) => plain.getOAuthAccessToken(code, { ...params, code_verifier: req.session.verifier }, done),
      });
    }
    super.authenticate(req, options);
  }

  authorizationParams() {
    this.kept.verifier = randomBytes(32).toString("base64url");
    return { code_challenge: createHash("sha256").update(this.kept.verifier).digest("base64url"), code_challenge_method: "S256" };
  }
}

await serveApp(({ issuer, expectedIssuer = issuer, clientId, clientSecret, site, loginHint, bye, pkce }) => {
  passport.use(
    new (pkce ? WithPKCE : OpenIDConnectStrategy)(
      {
        issuer: expectedIssuer,
        authorizationURL: `${issuer}/authorize`,
        tokenURL: `${issuer}/token`,
        userInfoURL: `${issuer}/userinfo`,
        clientID: clientId,
        clientSecret,
        callbackURL: `${site}/callback`,
        scope: ["profile"],
        nonce: true,
        loginHint,
      },
      (iss, infoProfile, idProfile, context, idToken, accessToken, refreshToken, params, done) =>
        done(null, { iss, sub: idProfile.id, acr: context.class, amr: context.methods, name: infoProfile.displayName, idToken, refreshToken }),
    ),
  );
  passport.serializeUser((user, done) => done(null, user));
  passport.deserializeUser((user, done) => done(null, user));
  const app = express();
  app.use(session({ secret: "of the test", resave: false, saveUninitialized: false, name: "site" }));
  app.use(passport.session());
  app.get("/login", passport.authenticate("openidconnect"));
  app.get("/callback", passport.authenticate("openidconnect", { failWithError: true }), (req, res) => res.redirect("/"));
  app.get("/", (req, res) => res.json({ ok: req.user ?? null }));
  app.get("/logout", (req, res, next) => {
    const hint = req.user.idToken;
    req.logout((err) => (err ? next(err) : res.redirect(`${issuer}/logout?${new URLSearchParams({ id_token_hint: hint, post_logout_redirect_uri: bye })}`)));
  });
  app.use(failed);
  return app;
});
