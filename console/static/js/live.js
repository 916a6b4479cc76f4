// The live view's socket: resumes behind the newest event, and judges how live the page is.
// Live: newest frame under 3 s old. Late: 3 to 10 s. Lost: 10 s, or socket or core closed for 3 s.

import * as store from "./store.js";
import { took } from "./time.js";
import { t } from "./words.js";

export const LATE_S = 3;
export const LOST_S = 10;
export const CLOSED_S = 3;

let socket = null;
let heard = performance.now();
let closed = performance.now();
let core = { age: 0, closed: null }; // seconds, as of the newest beat
let signedOut = false;
let wait_ms = 250;
let watched = [];

/** "live", "late" or "lost" from ages in seconds; `closed` and `coreClosed` are null while open. */
export function judge({ heard, closed, coreAge, coreClosed }) {
  const oldest = Math.max(heard, coreAge);
  if (oldest >= LOST_S || (closed ?? 0) >= CLOSED_S || (coreClosed ?? 0) >= CLOSED_S) return "lost";
  return oldest >= LATE_S ? "late" : "live";
}

export function connect() {
  const { number } = store.state;
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/api/v1/live${number === null ? "" : `?after=${number}`}`);
  socket.onopen = () => {
    closed = null;
    wait_ms = 250;
    watch(watched);
  };
  socket.onmessage = (frame) => {
    heard = performance.now();
    take(JSON.parse(frame.data));
  };
  socket.onclose = (event) => {
    closed ??= performance.now();
    if (event.code === 4401) {
      signedOut = true;
      tick();
      return;
    }
    setTimeout(connect, wait_ms * (0.75 + Math.random() / 2));
    wait_ms = Math.min(wait_ms * 2, 4000);
  };
}

function take(message) {
  switch (message.do) {
    case "alarm":
      store.change(message.number, message.recorded, message.alarm);
      break;
    case "snapshot":
      store.snapshot(message.number, message.alarms);
      caughtUp();
      break;
    case "resumed":
      caughtUp();
      break;
    case "readings":
      for (const row of message.rows) store.state.rows.set(row[0], row);
      store.touch("readings");
      break;
    case "status":
      store.state.status = message.status;
      store.touch("status");
      break;
    case "beat":
      store.setServerClock(message.at_us);
      core = { age: message.core_age_s ?? 0, closed: message.core_closed_s };
      tick();
      break;
  }
}

let behind = true; // since the socket opened, until what was missed has come
function caughtUp() {
  behind = false;
  tick();
}

/** The points whose readings this page draws. */
export function watch(points) {
  watched = points;
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ do: "watch", points }));
}

/** Judge the link again; called every second and at every beat. */
export function tick() {
  const { state } = store;
  const now = performance.now();
  const frame = (now - heard) / 1000;
  const sinceClosed = closed === null ? null : (now - closed) / 1000;
  let is = judge({ heard: frame, closed: sinceClosed, coreAge: core.age + frame, coreClosed: core.closed });
  if (signedOut) is = "lost";
  if (socket?.readyState !== WebSocket.OPEN) behind = true;
  // The banner goes only when caught up.
  if (is !== "lost" && state.link.state === "lost" && behind) is = "lost";
  if (is === "lost" && state.link.state !== "lost") {
    // What is shown is as old as the newest word of the core.
    const silent_s = signedOut ? 0 : Math.max(frame, sinceClosed ?? 0, core.age, core.closed ?? 0);
    state.cut = { from_us: store.nowUs() - silent_s * 1e6, fires: new Set() };
  }
  if (is !== "lost" && state.cut) {
    const { from_us, fires } = state.cut;
    state.cut = null;
    store.note(t("back.line", { for: took(store.nowUs() - from_us), n: fires.size }), "back");
  }
  const why = signedOut ? "signed_out" : closed !== null && frame >= 1 ? "server" : "core";
  const was = state.link;
  state.link = { state: is, age_s: Math.max(frame, core.age), since_us: state.cut?.from_us ?? null, why };
  store.touch(was.state === is && was.why === why ? "age" : "link");
}
