// Verifies evidence (docs/evidence.md): the same checks in the same order as
// `mobileid evidence verify`, held together by sdk/vectors/evidence.json. It asks
// nobody and keeps nothing.
import { calculateJwkThumbprint, compactVerify, importJWK } from "jose";

const typ = "mobileid-consent+jwt";
const maxSize = 384 << 10;
const maxApart = 900;

// Refusal says which part of the evidence is wrong, and why.
export class Refusal extends Error {
  constructor(part, why) {
    super(`${part}: ${why}`);
    this.part = part;
  }
}

function refuse(part, why) {
  throw new Refusal(part, why);
}

function bytes(text) {
  if (typeof text !== "string" || !/^[A-Za-z0-9_-]*$/.test(text)) return null;
  try {
    return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  } catch {
    return null;
  }
}

function base64url(buffer) {
  return btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

async function hash(text) {
  return base64url(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}

function object(v) {
  return typeof v === "object" && v !== null && !Array.isArray(v);
}

function json(raw) {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(raw));
  } catch {
    return undefined;
  }
}

function header(text, part) {
  const raw = bytes(text);
  const head = raw && json(raw);
  if (!object(head)) refuse(part, "its header is not JSON");
  return head;
}

const only = (o, ...names) => Object.keys(o).length === names.length && names.every((n) => Object.hasOwn(o, n));
const is32 = (text) => typeof text === "string" && text.length === 43 && bytes(text)?.length === 32;

// parseKeys reads a key set as it is published, as text or as an object.
export function parseKeys(set) {
  if (typeof set === "string") {
    try {
      set = JSON.parse(set);
    } catch {
      set = null;
    }
  }
  if (!object(set) || !Array.isArray(set.keys) || set.keys.length === 0) refuse("keys", "they are not a key set");
  const seen = new Set();
  for (const k of set.keys) {
    const right = object(k) && k.kty === "EC" && k.crv === "P-256" && k.alg === "ES256" && k.use === "sig" && !Object.hasOwn(k, "d") &&
      is32(k.x) && is32(k.y) && typeof k.kid === "string" && k.kid !== "" && !seen.has(k.kid) && Number.isSafeInteger(k.nbf) && k.nbf > 0 &&
      (k.exp === undefined || (Number.isSafeInteger(k.exp) && k.exp > k.nbf));
    if (!right) refuse("keys", "one of them is not an evidence key");
    seen.add(k.kid);
  }
  return set.keys;
}

async function signed(token, jwk, part) {
  try {
    const key = await importJWK({ kty: "EC", crv: "P-256", x: jwk.x, y: jwk.y }, "ES256");
    return (await compactVerify(token, key, { algorithms: ["ES256"] })).payload;
  } catch {
    return refuse(part, "it is not this key's");
  }
}

// open checks the server's signature and returns key and claims.
async function open(token, keys) {
  if (token.length > maxSize) refuse("token", "it is too long");
  const parts = token.split(".");
  if (parts.length !== 3) refuse("token", "it is not a compact JWS");
  const head = header(parts[0], "header");
  if (head.alg !== "ES256") refuse("alg", "it is not ES256");
  if (head.typ !== typ) refuse("typ", `it is not ${typ}`);
  if (!only(head, "alg", "typ", "kid") || typeof head.kid !== "string") refuse("header", "it has other members than alg, kid and typ");
  const key = keys.find((k) => k.kid === head.kid);
  if (!key) refuse("kid", "no key of the set has it");
  const claims = json(await signed(token, key, "signature"));
  if (!object(claims)) refuse("claims", "they are not JSON");
  return { key, claims };
}

function complete(c) {
  let issuer;
  try {
    issuer = new URL(c.iss);
  } catch {
    refuse("iss", "it is not an issuer's address");
  }
  if (!/^https?:$/.test(issuer.protocol) || issuer.search || issuer.hash) refuse("iss", "it is not an issuer's address");
  for (const name of ["aud", "sub", "jti", "txn", "merchant", "handle", "view", "tpl", "lang", "ans"]) {
    if (typeof c[name] !== "string" || c[name] === "") refuse(name, "it is missing");
  }
  if (!object(c.enrolment) || typeof c.enrolment.attestation !== "string" || c.enrolment.attestation === "") refuse("enrolment", "it is missing");
  for (const name of ["pos", "kno", "inh", "uv", "dsp", "flow", "ui", "enrol"]) {
    if (!object(c.sca) || typeof c.sca[name] !== "string" || c.sca[name] === "") refuse("sca", "it is missing");
  }
  if (!Number.isSafeInteger(c.iat) || c.iat <= 0) refuse("iat", "it is missing");
  if ((c.user ?? "") === "" !== ((c.device ?? "") === "")) refuse("user", "user and device are there both or not at all");
}

// answered checks what the device signed, and that it is an answer.
async function answered(c) {
  const jwk = c.cnf?.jwk;
  if (!object(jwk) || !only(jwk, "kty", "crv", "x", "y") || jwk.kty !== "EC" || jwk.crv !== "P-256" || !is32(jwk.x) || !is32(jwk.y)) {
    refuse("cnf", "it is not a P-256 key");
  }
  const thumbprint = await calculateJwkThumbprint(jwk, "sha256");
  const parts = c.ans.split(".");
  if (parts.length !== 3) refuse("ans", "it is not a compact JWS");
  const head = header(parts[0], "ans");
  if (!only(head, "alg", "typ", "kid") || head.alg !== "ES256" || head.typ !== "mid-ans+jwt" || head.kid !== thumbprint) {
    refuse("ans", "it is not signed by cnf.jwk as an answer");
  }
  const answer = json(await signed(c.ans, jwk, "ans"));
  if (!object(answer)) refuse("ans", "it says nothing");
  return { answer, thumbprint };
}

const hidden = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}\p{Noncharacter_Code_Point}]/u;
const shows = (s) => typeof s === "string" && s !== "" && !hidden.test(s.replaceAll(/[\u200c\u200d]/g, ""));

// parseView reads the block list that the phone showed.
export function parseView(text) {
  let blocks;
  try {
    blocks = JSON.parse(text);
  } catch {
    blocks = null;
  }
  if (!Array.isArray(blocks) || blocks.length === 0) refuse("view", "it is not a block list");
  for (const b of blocks) {
    const right = object(b) && ((["p", "h", "b"].includes(b.t) && only(b, "t", "text") && shows(b.text)) ||
      (b.t === "list" && only(b, "t", "items") && Array.isArray(b.items) && b.items.length > 0 && b.items.every(shows)) ||
      (b.t === "row" && only(b, "t", "label", "value") && shows(b.label) && shows(b.value)));
    if (!right) refuse("view", "it has a block that no phone shows");
  }
  return blocks;
}

// agrees compares the server's wrapper with the device's answer.
function agrees(c, a) {
  for (const [part, ours, theirs] of [
    ["handle", c.handle, a.iss], ["aud", c.aud, a.aud], ["txn", c.txn, a.txn], ["hv", c.hv, a.hv], ["hd", c.hd, a.hd],
    ["tpl", c.tpl, a.tpl], ["lang", c.lang, a.lang], ["sca", c.sca.flow, a.flow], ["sca", c.sca.ui, a.ui],
  ]) {
    if (ours !== theirs) refuse(part, "the device's answer says something else");
  }
  if (a.dec !== "approve") refuse("ans", "the device did not approve");
  if (!is32(a.chal)) refuse("ans", "its challenge is not 32 bytes");
  if (typeof a.jti !== "string" || a.jti === "") refuse("ans", "it has no jti");
  const proof = a.cv ?? "";
  if ((proof !== "") !== (a.ui === "link") || (proof !== "" && !is32(proof))) refuse("ans", "its cv does not go with its ui");
  if (!Number.isSafeInteger(a.iat) || Math.abs(a.iat - c.iat) > maxApart) refuse("iat", "the device answered at another time");
  if (c.sca.epoch !== c.enrolment.epoch || !(c.sca.epoch >= 1)) refuse("enrolment", "its epoch is not that of sca");
}

// stated reads what the device said of itself, whose hash it signed; undefined if
// nothing was kept. What a later version adds is let be.
async function stated(c, a) {
  if ((c.risk ?? "") === "") return undefined;
  if (typeof c.risk !== "string" || await hash(c.risk) !== a.hr) refuse("risk", "its hash is not in the device's answer");
  let said;
  try {
    said = JSON.parse(c.risk);
  } catch {
    said = undefined;
  }
  if (!object(said) || !Array.isArray(said.findings) || !said.findings.every((f) => typeof f === "string") || !(Number.isSafeInteger(said.at) && said.at > 0)) {
    refuse("risk", "it is not a statement of a device");
  }
  return said;
}

function same(a, b) {
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a === b;
  const names = Object.keys(a);
  return Array.isArray(a) === Array.isArray(b) && names.length === Object.keys(b).length && names.every((n) => Object.hasOwn(b, n) && same(a[n], b[n]));
}

function detailed(c) {
  if (c.authorization_details === undefined) return;
  let content;
  try {
    content = JSON.parse(c.content);
  } catch {
    content = undefined;
  }
  if (!same(content, c.authorization_details)) refuse("authorization_details", "they are not the content");
}

// verify returns what evidence proves: claims, answer, the view's blocks, what
// the phone said of itself, the device key's thumbprint, the evidence key's id and the hash of the whole. It
// throws a Refusal when anything does not hold.
export async function verify(token, set) {
  const keys = parseKeys(set);
  const { key, claims } = await open(token, keys);
  complete(claims);
  const { answer, thumbprint } = await answered(claims);
  if (await hash(claims.view) !== claims.hv) refuse("hv", "it is not the hash of the view");
  if (await hash(claims.content ?? "") !== claims.hd) refuse("hd", "it is not the hash of the content");
  const blocks = parseView(claims.view);
  agrees(claims, answer);
  const said = await stated(claims, answer);
  detailed(claims);
  if (claims.iat < key.nbf || (key.exp !== undefined && claims.iat >= key.exp)) refuse("iat", "the key was not in use then");
  return { claims, answer, blocks, said, deviceKey: thumbprint, keyId: key.kid, hash: await hash(token) };
}
