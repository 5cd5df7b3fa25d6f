// Reads the registration link from the fragment, which a browser never sends
// to a server, and shows the command that hands it to a phone.
//
// The command is pasted into a shell, and anyone can send somebody a link. So
// only the characters a real link is made of are let through, none of which
// means anything inside single quotes, and the link must be of this origin.

const plain = /^[A-Za-z0-9._~%:/=&-]+$/;
const value = /^[A-Za-z0-9_-]{1,128}$/;

// check returns "ok", "none" when there is no link, or "bad".
export function check(hash, origin) {
  const fragment = hash.replace(/^#/, "");
  if (fragment === "") return "none";
  if (fragment.length > 1024 || !plain.test(fragment)) return "bad";
  const fields = new URLSearchParams(fragment);
  const whole = ["t", "s", "k"].every((name) => {
    const all = fields.getAll(name);
    return all.length === 1 && value.test(all[0]);
  });
  const from = fields.getAll("u");
  return whole && from.length === 1 && from[0] === origin ? "ok" : "bad";
}

function show(verdict) {
  for (const part of document.querySelectorAll("[data-when]")) {
    part.hidden = part.dataset.when !== verdict;
  }
}

function read() {
  const verdict = check(location.hash, location.origin);
  if (verdict === "ok") {
    const link = `${location.origin}${location.pathname}${location.hash}`;
    const command = document.getElementById("command");
    command.textContent = `${command.dataset.prefix} '${link}'`;
  }
  show(verdict);
  // The secret does not stay in the address bar or in the history.
  if (location.hash) history.replaceState(null, "", location.pathname);
}

if (typeof document !== "undefined") {
  read();
  addEventListener("hashchange", read);
}
