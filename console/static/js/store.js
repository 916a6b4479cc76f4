// The one store of the page, fed by the numbered event stream. Everything shown is drawn from here.
// Changes are merged: subscribers are called once per frame, with what kind of thing changed.

import { firesWaiting, isFire, isWaiting } from "./alarms.js";

const meta = document.querySelector("meta[name=fengsui]").dataset;

export const me = { person: meta.person, token: meta.token, standby: meta.standby, may: new Set(meta.may.split(" ")) };

export const state = {
  number: null, // newest numbered event; what `after` resumes from
  loaded: false,
  alarms: new Map(), // open alarms by id
  status: null,
  rows: new Map(), // point -> newest reading
  link: { state: "live", age_s: 0, since_us: null, why: "server" },
  screen: document.body.dataset.screen,
  selected: null,
  needle: "",
  sending: new Set(), // alarms whose acknowledgement has no answer yet
  notices: [],
  seen: { new: 0, acknowledged: 0, lastFire: null, from_us: null, arrivals: [] },
  shown: new Map(), // alarm id -> when it was painted, server clock
  cut: null, // {from_us, fires: Set}: while cut off, and until caught up
};

let skew_us = 0; // server clock minus ours
export const nowUs = () => Date.now() * 1000 + skew_us;
export function setServerClock(at_us) {
  const measured = at_us - Date.now() * 1000;
  // A frame can only be late, so the largest difference is nearest the truth; drift is let in slowly.
  skew_us = skew_us === 0 || measured > skew_us ? measured : skew_us - Math.min(1000, skew_us - measured);
}

const subscribers = [];
let changed = new Set();
let asked = false;

/** `draw(kinds)` once per frame in which anything changed. */
export const subscribe = (draw) => subscribers.push(draw);

export function touch(...kinds) {
  for (const kind of kinds) changed.add(kind);
  if (asked) return;
  asked = true;
  const flush = () => {
    asked = false;
    const kinds = changed;
    changed = new Set();
    for (const draw of subscribers) draw(kinds);
  };
  // A hidden page has no frames, but its sound must follow.
  if (document.hidden) queueMicrotask(flush);
  else requestAnimationFrame(flush);
}

export function snapshot(number, alarms) {
  const before = state.alarms;
  state.alarms = new Map(alarms.map((alarm) => [alarm.id, { ...alarm, recorded: alarm.number !== null }]));
  if (state.loaded) {
    for (const alarm of alarms) if (!before.has(alarm.id)) arrived(alarm);
  }
  state.number = number;
  state.loaded = true;
  touch("alarms");
}

export function change(number, recorded, alarm) {
  const known = state.alarms.get(alarm.id);
  if (number !== null) state.number = number;
  if (known && alarm.version < known.version) return;
  if (!known && alarm.state !== "closed") arrived(alarm);
  if (known && isWaiting(known) && !isWaiting(alarm)) state.seen.acknowledged += 1;
  if (alarm.state === "closed") state.alarms.delete(alarm.id);
  else state.alarms.set(alarm.id, { ...alarm, recorded });
  touch("alarms");
}

function arrived(alarm) {
  const now = nowUs();
  state.seen.new += 1;
  state.seen.arrivals.push(now);
  if (state.seen.arrivals.length > 5000) state.seen.arrivals.shift();
  if (isFire(alarm)) {
    state.seen.lastFire = Math.max(state.seen.lastFire ?? 0, alarm.measured_at_us);
    state.cut?.fires.add(alarm.id);
  }
  state.shown.set(alarm.id, null); // stamped when it is painted
  if (state.shown.size > 5000) state.shown.delete(state.shown.keys().next().value);
}

/** Stamp what the frame just painted. */
export function painted() {
  for (const [id, at] of state.shown) if (at === null) state.shown.set(id, nowUs());
}

export const fires = () => firesWaiting([...state.alarms.values()]);
export const isLost = () => state.link.state === "lost";

let notice = 0;
/** A line for the officer; one with the same `key` is replaced, one that `lasts_s` goes by itself. */
export function note(text, key = null, lasts_s = Infinity) {
  if (key) state.notices = state.notices.filter((one) => one.key !== key);
  state.notices.push({ id: ++notice, key, text, at_us: nowUs(), until_us: nowUs() + lasts_s * 1e6 });
  if (state.notices.length > 6) state.notices.shift();
  touch("notices");
}
export function forget() {
  const now = nowUs();
  if (!state.notices.some((one) => one.until_us < now)) return;
  state.notices = state.notices.filter((one) => one.until_us >= now);
  touch("notices");
}
export function dismiss(id) {
  state.notices = state.notices.filter((one) => one.id !== id && one.key !== id);
  touch("notices");
}
