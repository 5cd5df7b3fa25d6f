// Verifies webhook messages by npm standardwebhooks: reads a list of {secret,
// headers, body} and writes for each "ok" or why it is refused.
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(({ secret, headers, body }) => {
  try {
    new Webhook(secret).verify(body, headers);
    return "ok";
  } catch (e) {
    return e.message;
  }
})));
