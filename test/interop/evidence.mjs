// Verifies evidence with npm jose and WebCrypto: reads {"jwks", "tokens"} and
// writes one line a token, the claims or the part that is wrong.
import { readFileSync } from "node:fs";
import { Refusal, verify } from "../../static/src/evidence.js";

const { jwks, tokens } = JSON.parse(readFileSync(0, "utf8"));
for (const token of tokens) {
  try {
    const s = await verify(token, jwks);
    console.log(JSON.stringify({ claims: s.claims, deviceKey: s.deviceKey, hash: s.hash, blocks: s.blocks.length }));
  } catch (e) {
    if (!(e instanceof Refusal)) throw e;
    console.log(JSON.stringify({ part: e.part }));
  }
}
