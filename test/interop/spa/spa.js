// A single-page application on oidc-client-ts. What it has to tell is JSON in
// #told: the outcome of the last button.
"use strict";

const told = document.getElementById("told");
const show = (what, value) => {
  told.dataset.what = what;
  told.textContent = JSON.stringify(value);
};

async function start() {
  const { authority, clientId, loginHint } = await (await fetch("/config.json")).json();
  const manager = new oidc.UserManager({
    authority,
    client_id: clientId,
    redirect_uri: location.origin + "/callback",
    post_logout_redirect_uri: location.origin + "/bye",
    scope: "openid profile",
    loadUserInfo: true,
    revokeTokenTypes: ["refresh_token"],
    automaticSilentRenew: false,
  });
  const tell = (what, user) => show(what, { profile: user.profile, accessToken: user.access_token, refreshToken: user.refresh_token });
  const does = {
    login: () => manager.signinRedirect({ login_hint: loginHint, nonce: crypto.randomUUID() }),
    silently: () => manager.signinRedirect({ prompt: "none" }),
    refresh: async () => tell("refreshed", await manager.signinSilent()),
    revoke: async () => {
      await manager.revokeTokens();
      show("revoked", {});
    },
    logout: () => manager.signoutRedirect({ state: "bye" }),
  };
  const attempt = (what) => what().catch((e) => show("failed", { error: e.error ?? e.name, why: e.message }));
  for (const button of document.querySelectorAll("[data-do]")) {
    button.addEventListener("click", () => attempt(does[button.dataset.do]));
  }
  if (location.pathname === "/callback") {
    await attempt(async () => tell("in", await manager.signinCallback()));
    history.replaceState(null, "", "/");
  } else if (location.pathname === "/bye") {
    await attempt(async () => {
      await manager.signoutCallback();
      show("out", { in: (await manager.getUser()) !== null });
    });
  } else {
    show("ready", {});
  }
}

start();
