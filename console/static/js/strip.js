// The fire strip: one place for the newest unacknowledged fire, of fixed height, present also when empty.

import * as act from "./act.js";
import { isFire, isTest, place, placeText, subject, tags, why } from "./alarms.js";
import { $, fill, h, icon, text } from "./dom.js";
import * as sound from "./sound.js";
import * as store from "./store.js";
import { age, clock, iso } from "./time.js";
import { t } from "./words.js";

const HOLD_MS = 500;
const LEARNED_US = 5e6;
let shown = null; // id of the fire in the strip
let acted = -HOLD_MS; // when a hand was last at it
let later = 0;

export function init() {
  const touched = () => { acted = performance.now(); };
  for (const kind of ["pointermove", "pointerdown", "keydown"]) $("strip").addEventListener(kind, touched);
  addEventListener("keydown", (event) => {
    if (event.key === "F2" || event.key === "F8") acted = performance.now();
  });
}

/** The fire an officer sees in the strip now; what F2 acknowledges. */
export const current = () => store.state.alarms.get(shown) ?? null;

export function draw(kinds) {
  if (!kinds.has("alarms") && !kinds.has("link") && !kinds.has("age")) return;
  const waiting = store.fires();
  let fire = waiting[0] ?? null;
  const held = waiting.find((one) => one.id === shown);
  // It never changes under a hand that is about to press.
  if (held && fire.id !== shown && performance.now() - acted < HOLD_MS) {
    fire = held;
    clearTimeout(later);
    later = setTimeout(() => store.touch("alarms"), HOLD_MS);
  }
  shown = fire?.id ?? null;
  if (kinds.has("alarms") || kinds.has("link")) {
    const others = waiting.filter((one) => one !== fire).sort((a, b) => a.measured_at_us - b.measured_at_us);
    if (fire) drawFire(fire, waiting, others);
    else drawCalm();
  }
  const now = store.nowUs();
  for (const node of $("strip").querySelectorAll("[data-since]")) text(node, age(now - Number(node.dataset.since)));
}

function drawFire(fire, waiting, others) {
  const { state } = store;
  const lost = store.isLost();
  const sending = state.sending.has(fire.id);
  const key = JSON.stringify([fire.id, fire.version, fire.recorded, others.map((one) => one.id), lost, sending, document.documentElement.lang]);
  const node = $("strip");
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  node.className = `strip new c-fire${isTest(fire) ? " is-test" : ""}`;
  const [big, rest] = place(fire);
  const parts = rest.split(/\s*\/\s*/).filter(Boolean);
  const now = store.nowUs();
  const learned = fire.received_at_us - fire.measured_at_us;
  const focused = node.contains(document.activeElement) ? document.activeElement.dataset.do : null;
  fill(node,
    h("div", "lamp", icon("fire"), h("span", "sr", t("strip.label"))),
    h("div", "what",
      h("div", "kick", h("span", "", t("class.fire")),
        h("span", "tag", lost ? t("tag.cut") : waiting.length > 1 ? t("tag.new_of", { n: 1, total: waiting.length }) : t("tag.new")),
        tags(fire).map(([kind, words]) => h("span", `tag more ${kind}`, words)),
        h("span", "num", subject(fire))),
      h("div", `place ${placeText(fire).length > 26 ? "long" : ""}`, big, parts.map((part) => [h("i", "", "/"), part])),
      h("div", "why cut", why(fire))),
    h("div", "watch", h("b", { class: "num", "data-since": fire.measured_at_us }, age(now - fire.measured_at_us)),
      h("span", "num", learned > LEARNED_US
        ? t("strip.learned", { ago: age(learned), at: clock(fire.received_at_us, now) })
        : t("strip.since", { at: clock(fire.measured_at_us, now) }))),
    h("div", "acts",
      h("button", { class: "btn main", type: "button", "data-do": "ack", disabled: lost || sending || !act.mayAcknowledge(), onclick: () => act.acknowledge(current()) },
        h("span", "", t(sending ? "act.sending" : "act.acknowledge")), h("kbd", "", "F2")),
      h("button", { class: "btn", type: "button", "data-do": "show", onclick: () => { state.selected = fire.id; store.touch("alarms", "selected"); } }, h("span", "", t("act.show")), h("kbd", "", "F4")),
      h("button", { class: "btn", type: "button", "data-do": "silence", onclick: () => sound.silence() }, icon("mute"), h("span", "", t("act.silence")), h("kbd", "", "F8"))),
    h("div", "queue", others.length > 0 && [
      h("h2", "", t("strip.more", { n: others.length })),
      others.slice(0, 3).map((one) => h("button", { type: "button", class: "plain", onclick: () => { state.selected = one.id; store.touch("alarms", "selected"); } },
        icon("fire"), h("b", "cut", placeText(one)), h("time", { class: "num", datetime: iso(one.measured_at_us), "data-since": one.measured_at_us }))),
    ]));
  if (focused) node.querySelector(`[data-do="${focused}"]`)?.focus();
}

function drawCalm() {
  const { seen, alarms, loaded } = store.state;
  const inHand = [...alarms.values()].filter((alarm) => isFire(alarm) && alarm.active).length;
  const key = JSON.stringify(["calm", loaded, inHand, seen.lastFire, document.documentElement.lang]);
  const node = $("strip");
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  node.className = "strip calm";
  const last = seen.lastFire === null ? t("strip.calm_none") : t("strip.calm_last", { at: clock(seen.lastFire, store.nowUs()) });
  fill(node, h("div", "lamp", icon("tower")),
    h("div", "what", h("div", "place", t(loaded ? "strip.calm" : "strip.loading")),
      loaded && h("div", "why num", `${inHand > 0 ? `${t("strip.calm_hand", { n: inHand })} · ` : ""}${last}`)));
}
