// The page /verify: evidence that is pasted, chosen or dropped is checked here, in
// the browser. Nothing is sent; only this server's public keys are fetched, and
// not even those where others are pasted.
import { Refusal, verify } from "./evidence.js";

const form = document.getElementById("check");
const text = document.getElementById("evidence");
const keys = document.getElementById("keys");
const file = document.getElementById("file");
const result = document.getElementById("result");

function show(verdict) {
  for (const part of document.querySelectorAll("[data-verdict]")) part.hidden = part.dataset.verdict !== verdict;
}

function fill(name, value) {
  for (const at of document.querySelectorAll(`[data-fill="${name}"]`)) {
    at.textContent = value ?? "";
    const row = at.closest("[data-row]");
    if (row) row.hidden = !value;
  }
}

function element(name, content) {
  const e = document.createElement(name);
  e.textContent = content;
  return e;
}

function draw(blocks) {
  const into = document.getElementById("shown");
  into.replaceChildren(...blocks.map((b) => {
    switch (b.t) {
      case "h":
        return element("h3", b.text);
      case "b": {
        const p = document.createElement("p");
        p.append(element("strong", b.text));
        return p;
      }
      case "list": {
        const list = document.createElement("ul");
        list.append(...b.items.map((i) => element("li", i)));
        return list;
      }
      case "row": {
        const row = document.createElement("p");
        row.className = "row";
        row.append(element("span", b.label), element("strong", b.value));
        return row;
      }
    }
    return element("p", b.text);
  }));
}

function factors(sca) {
  const proven = new Set([`pos:${sca.pos}`, `kno:${sca.kno}`, `inh:${sca.inh}`, `uv:${sca.uv}`]);
  for (const item of document.querySelectorAll("[data-factor]")) item.hidden = !proven.has(item.dataset.factor);
}

function good(s) {
  const c = s.claims;
  const at = new Date(c.iat * 1000);
  fill("when", `${at.toISOString().replace("T", " ").replace(".000Z", " UTC")}`);
  fill("local", at.toLocaleString(document.documentElement.lang));
  fill("who", c.sub);
  fill("server", c.iss);
  fill("merchant", c.merchant);
  fill("client", c.aud);
  fill("device", c.device ?? c.handle);
  fill("key", s.deviceKey);
  fill("attestation", c.enrolment.attestation);
  fill("findings", s.said && (s.said.findings.join(", ") || "–"));
  fill("place", s.said?.country && `${s.said.country} (${s.said.country_source})`);
  fill("operation", c.txn);
  fill("signer", s.keyId);
  fill("hash", s.hash);
  fill("content", c.content);
  factors(c.sca);
  draw(s.blocks);
  document.getElementById("elsewhere").hidden = c.iss === form.dataset.issuer;
  show("good");
}

function bad(part) {
  fill("part", part);
  const reasons = [...document.querySelectorAll("[data-why]")];
  const known = reasons.some((r) => r.dataset.why.split(" ").includes(part));
  for (const r of reasons) r.hidden = !r.dataset.why.split(" ").includes(known ? part : "other");
  show("bad");
}

async function keySet() {
  if (keys.value.trim() !== "") return keys.value;
  const answer = await fetch("/evidence/jwks", { credentials: "omit", referrerPolicy: "no-referrer" });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.text();
}

async function check() {
  const token = text.value.trim();
  if (token === "") {
    text.focus();
    return show("none");
  }
  show("busy");
  let set;
  try {
    set = await keySet();
  } catch {
    return bad("unreachable");
  }
  try {
    good(await verify(token, set));
  } catch (e) {
    bad(e instanceof Refusal ? e.part : "other");
  }
  result.focus();
}

async function take(f) {
  if (!f) return;
  text.value = f.size > 1 << 20 ? "" : (await f.text()).trim();
  await check();
}

form.addEventListener("submit", (e) => {
  e.preventDefault();
  void check();
});
file.addEventListener("change", () => void take(file.files[0]));
for (const kind of ["dragenter", "dragover"]) {
  form.addEventListener(kind, (e) => {
    e.preventDefault();
    form.classList.add("over");
  });
}
form.addEventListener("dragleave", () => form.classList.remove("over"));
form.addEventListener("drop", (e) => {
  e.preventDefault();
  form.classList.remove("over");
  const dropped = e.dataTransfer?.files[0];
  if (dropped) return void take(dropped);
  text.value = e.dataTransfer?.getData("text/plain") ?? "";
  void check();
});
if (globalThis.crypto?.subtle) {
  form.hidden = false;
} else {
  bad("insecure");
}
