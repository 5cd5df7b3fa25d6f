// Keeps one region of a page up to date without a reload.
//
// The server renders the region; this module only swaps it in, counts the
// seconds down, tells screen readers, and leaves when the region says where to.
// Words come from the server in data attributes, so there are none here.
//
//   <main data-live data-events="/i/x/events">      the region's home
//     <section id="live" data-key data-listen data-seconds data-finish …>
//     <p id="announce" role="status">
//
// The server sends `event: live` with the region's HTML. A stream that fails
// three times without a message between, or for good, is replaced by asking
// for the page itself.

const home = document.querySelector("[data-live]");
const announce = document.getElementById("announce");
const offline = document.getElementById("offline");
const askEvery = 3000;
const warnAt = 30;

let stream = null;
let failures = 0;
let asking = 0;
let deadline = 0;
let warned = false;

const region = () => document.getElementById("live");

function say(text) {
  if (announce && text) announce.textContent = text;
}

function setOffline(yes) {
  if (offline) offline.hidden = !yes;
}

// follow starts the countdown of the region that is shown now, and leaves or
// listens as the region asks.
function follow() {
  const live = region();
  const seconds = Number(live.dataset.seconds);
  deadline = seconds > 0 ? performance.now() + seconds * 1000 : 0;
  if (live.dataset.finish) return leave(live.dataset.finish);
  if (!live.hasAttribute("data-listen")) return hangUp();
  if (!stream && !asking) listen();
}

// leave goes to an address of this origin and to no other.
function leave(where) {
  hangUp();
  const url = new URL(where, location.href);
  if (url.origin === location.origin) location.replace(url);
}

function swap(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html").getElementById("live");
  if (!fresh) return false;
  const old = region();
  if (fresh.dataset.key === old.dataset.key) {
    old.dataset.seconds = fresh.dataset.seconds ?? "";
  } else {
    const held = old.contains(document.activeElement);
    warned = false;
    old.replaceWith(document.adoptNode(fresh));
    // Who used a control that is gone goes on at the new text, not at the top.
    if (held) {
      fresh.tabIndex = -1;
      fresh.focus();
    }
    localTimes(fresh);
    say(fresh.dataset.announce);
  }
  follow();
  return true;
}

function listen() {
  if (!("EventSource" in window)) return ask();
  stream = new EventSource(home.dataset.events);
  stream.addEventListener("live", (event) => {
    failures = 0;
    setOffline(false);
    swap(event.data);
  });
  stream.onerror = () => {
    failures += 1;
    if (stream && (stream.readyState === EventSource.CLOSED || failures >= 3)) {
      stream.close();
      stream = null;
      ask();
    }
  };
}

function hangUp() {
  stream?.close();
  stream = null;
  clearTimeout(asking);
  asking = 0;
}

// ask reads the page again. A part of a second is left to chance so that
// browsers cut off together do not all come back together.
function ask() {
  clearTimeout(asking);
  asking = setTimeout(async () => {
    let found = false;
    try {
      // A redirect is for the browser itself to follow, not for this request.
      const reply = await fetch(location.href, { cache: "no-store", redirect: "manual" });
      if (reply.type === "opaqueredirect") return location.reload();
      found = swap(await reply.text());
    } catch {
      found = false;
    }
    setOffline(!found);
    if (asking) ask();
  }, askEvery + Math.random() * 1000);
}

function tick() {
  const clock = region()?.querySelector("[data-countdown]");
  if (!clock || !deadline) return;
  const left = Math.max(0, Math.ceil((deadline - performance.now()) / 1000));
  clock.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  const soon = left <= warnAt;
  clock.closest(".countdown")?.classList.toggle("soon", soon);
  if (soon && !warned) {
    warned = true;
    say(region().dataset.warn);
  }
}

// localTimes shows the server's UTC times in the reader's own zone.
function localTimes(within) {
  for (const el of within.querySelectorAll("time[data-local]")) {
    const at = new Date(el.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const second = el.dataset.local === "seconds" ? "2-digit" : undefined;
    el.textContent = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second });
  }
}

if (home && region()) {
  localTimes(document);
  follow();
  tick();
  setInterval(tick, 500);
  // A page taken out of the back-forward cache is a picture of the past.
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
  addEventListener("pagehide", hangUp);
}
