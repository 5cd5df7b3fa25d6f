// How a test drives a relying party: one JSON command a line on stdin, one JSON
// answer a line on stdout, until stdin ends.

import { createInterface } from "node:readline";
import { createServer } from "node:http";

// failure is an error as a test reads it: the standard's code where there is one.
export const failure = (e) => ({
  failed: e.error ?? e.code ?? e.name,
  why: [e.message, e.error_description, e.cause?.message].filter(Boolean).join(": "),
});

export async function serve(commands) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { do: name, ...args } = JSON.parse(line);
    let answer;
    try {
      answer = { ok: await commands[name](args) };
    } catch (e) {
      answer = failure(e);
    }
    console.log(JSON.stringify(answer));
  }
}

// serveApp is serve for a party that has a site: first it says at which port, and
// `configure` has the app made that answers there.
export async function serveApp(makeApp) {
  let app = (req, res) => res.writeHead(503).end();
  const server = createServer((req, res) => app(req, res));
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  await serve({
    port: () => ({ port: String(server.address().port) }),
    configure: (options) => {
      app = makeApp(options);
      return {};
    },
  });
  server.close();
  server.closeAllConnections();
}

// failed answers with an error as JSON, the last of an app's middleware.
export const failed = (err, req, res, next) => res.status(err.status ?? 500).json(failure(err));
