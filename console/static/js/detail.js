// The right side of the desk: why the chosen alarm was raised, its stopwatch, its trace, and what to do. With
// nothing chosen and no fire waiting: whether a fire would reach this desk.

import * as act from "./act.js";
import { colour, groupOf, isFire, isRegistered, isWaiting, isZone, nextStep, place, reasonText, subject, tags } from "./alarms.js";
import { residueOf } from "./bar.js";
import * as chart from "./chart.js";
import { $, fill, h, icon, text } from "./dom.js";
import { selected } from "./list.js";
import * as sound from "./sound.js";
import * as store from "./store.js";
import { NONE, age, clock, count, iso, measure, took } from "./time.js";
import { either, quantity, t } from "./words.js";

const STORM = 10;
const SLOT_US = 600e6;
let drawn = ""; // id of the alarm whose frame stands, or "watch"

export function draw(kinds) {
  if (store.state.screen !== "desk") return;
  const alarm = selected();
  const anew = kinds.has("words") || kinds.has("screen");
  if (!alarm) {
    if (drawn !== "watch" || anew) chart.unmount();
    if (drawn !== "watch" || anew || kinds.has("status") || kinds.has("alarms") || kinds.has("sound")) drawWatch();
    drawn = "watch";
    return;
  }
  if (drawn !== alarm.id || anew) {
    const trace = chart.frame();
    fill($("detail"), h("section", "dhead"), h("section", "stopwatch"), h("section", "whys"), trace, h("section", "grow story"), h("div", "actbar"));
    drawn = alarm.id;
    drawAlarm(alarm);
    chart.mount(alarm);
  } else if (kinds.has("alarms") || kinds.has("selected") || kinds.has("link")) {
    drawAlarm(alarm);
    chart.mount(alarm);
  }
  if (kinds.has("readings")) chart.follow();
  if (kinds.has("readings") || kinds.has("age")) chart.paint();
  if (kinds.has("age")) tick(alarm);
}

function drawAlarm(alarm) {
  const detail = $("detail");
  detail.className = `detail ${colour(alarm)}`;
  const [head, watch, whys, , story, bar] = detail.children;
  const [big, rest] = place(alarm);
  const about = isRegistered(alarm) ? t("detail.point", { point: alarm.point }) : `${t("detail.unregistered")} ${alarm.point}`;
  const facts = [
    isZone(alarm) ? t("detail.points", { points: alarm.points.join(", ") }) : about,
    quantity(alarm.quantity), alarm.zone && t("detail.zone", { zone: alarm.zone }), alarm.number !== null && t("detail.number", { number: count(alarm.number) }),
  ].filter(Boolean).join(" · ");
  fill(head, icon(alarm.test ? "test" : alarm.cls), h("h2", "cut", [big, ...rest.split(/\s*\/\s*/)].filter(Boolean).join(" · ")),
    h("span", "tags", tags(alarm).map(([kind, words]) => h("span", `tag ${kind}`, words))),
    h("p", "num", facts), !isZone(alarm) && h("span", "meta num", t("detail.gateway", { gateway: alarm.gateway || NONE })));
  drawStopwatch(watch, alarm);
  drawReasons(whys, alarm);
  drawStory(story, alarm);
  drawActions(bar, alarm);
}

function drawStopwatch(node, alarm) {
  const from = alarm.measured_at_us;
  const since = (us) => (us === null || us === undefined ? null : us - from);
  const plus = (us) => (us === null ? NONE : `+${took(us)}`);
  const shown = since(store.state.shown.get(alarm.id));
  const decided = since(alarm.detected_at_us);
  const step = (value, words, css = "") => h("li", css, h("b", "num", value), h("span", "", words));
  const held = alarm.age_us_at_receipt;
  const waiting = isWaiting(alarm);
  fill(node, h("h3", "", h("b", "", t("detail.stopwatch")), h("span", "num", t("detail.stopwatch_note", { took: took(decided) }))),
    h("ol", "chain",
      step(clock(from, store.nowUs()), t("detail.measured")),
      step(held === null || held < 0 ? NONE : plus(held), t("detail.held")),
      step(plus(since(alarm.received_at_us)), t("detail.received")),
      step(plus(decided), t("detail.detected")),
      alarm.recorded_at_us ? step(plus(since(alarm.recorded_at_us)), t("detail.recorded")) : step(NONE, t("tag.unrecorded"), "due"),
      step(plus(shown), t("detail.shown")),
      waiting ? step("", t("detail.wait_ack"), "now") : step(plus(since(alarm.acknowledged_at_us)), t("detail.acknowledged")),
      alarm.cleared_at_us ? step(plus(since(alarm.cleared_at_us)), t("detail.cleared")) : step(NONE, t("detail.cleared"), "due")));
  tick(alarm);
}

function tick(alarm) {
  const now = $("detail").querySelector(".chain .now b");
  const waited = store.nowUs() - alarm.measured_at_us;
  if (now) text(now, `+${took(waited)}`);
  const next = $("detail").querySelector(".actbar .waited");
  if (next) text(next, t("next.waiting", { age: age(waited) }));
}

function drawReasons(node, alarm) {
  const reasons = alarm.reasons ?? [];
  // A zone's reason counts devices; what each of its points measured stands in the words of its part.
  const value = (given) => (typeof given !== "number" ? (given ?? "") : isZone(alarm) ? count(given) : measure(given, alarm.uom));
  const beside = (reason) => (isZone(alarm) && reason.key.includes("#") ? {} : reason);
  const limit = isZone(alarm) ? "detail.needed" : "detail.limit";
  fill(node, h("h3", "", h("b", "", t("detail.why", { class: t(`class.${alarm.cls}`) })),
    alarm.rule && h("span", "", t("detail.rule", { rule: alarm.rule, version: alarm.rule_version ?? NONE }))),
  h("ol", "reasons", reasons.length === 0
    ? h("li", "", h("span", "mark", "1"), h("span", "cut", t("detail.no_reason")), h("span", "val num", measure(alarm.value, alarm.uom)))
    : reasons.map((reason, i) => h("li", "", h("span", "mark", String(i + 1)), h("span", "words", reasonText(reason)),
      h("span", "val num", value(beside(reason).value), typeof beside(reason).limit === "number" && h("small", "", t(limit, { limit: value(reason.limit) })))))));
}

function drawStory(node, alarm) {
  const { number } = alarm;
  const lines = [
    [alarm.measured_at_us, subject(alarm), isZone(alarm) ? t("detail.log_joined") : t("detail.log_measured", { value: measure(alarm.value, alarm.uom) })],
    [alarm.detected_at_us, t("detail.detected"), t("detail.log_raised", { class: t(`class.${alarm.cls}`), rule: alarm.rule ?? NONE })],
    [alarm.recorded_at_us, t("detail.recorded"), t("detail.log_recorded", { number: number === null ? NONE : count(number) })],
    [store.state.shown.get(alarm.id), t("detail.shown"), t("detail.log_shown")],
    [alarm.acknowledged_at_us, t("detail.acknowledged"), t("detail.by", { person: alarm.acknowledged_by ?? NONE })],
    [alarm.cleared_at_us, t("detail.cleared"), isZone(alarm) ? t("detail.log_apart") : t("detail.log_cleared", { reset: measure(alarm.reset, alarm.uom) })],
  ].filter(([us]) => us !== null && us !== undefined).sort((a, b) => b[0] - a[0]);
  fill(node, h("h3", "", h("b", "", t("detail.history")), h("span", "", t("detail.history_note"))),
    h("div", "log", lines.map(([us, who, what]) => h("div", "", h("time", { class: "num", datetime: iso(us) }, clock(us, store.nowUs())), h("span", "cut", who), h("b", "", what)))));
}

function drawActions(node, alarm) {
  const sending = store.state.sending.has(alarm.id);
  const waiting = groupOf(alarm) === "waiting";
  const focused = node.contains(document.activeElement);
  fill(node, h("div", "next grow", h("b", "", nextStep(alarm, act.mayAcknowledge())), waiting && h("span", "num waited")),
    alarm.state === "latched_acknowledged" && store.me.may.has("reset") && h("button", { class: "btn main", type: "button", "data-do": "reset", disabled: sending || store.isLost(), onclick: () => act.reset(store.state.alarms.get(alarm.id)) },
      h("span", "", t(sending ? "act.sending" : "act.reset"))),
    waiting && act.mayAcknowledge() && h("button", { class: "btn main", type: "button", "data-do": "ack", disabled: sending || store.isLost(), onclick: () => act.acknowledge(store.state.alarms.get(alarm.id)) },
      h("span", "", t(sending ? "act.sending" : "act.acknowledge")), store.fires()[0]?.id === alarm.id && h("kbd", "", "F2")));
  if (focused) node.querySelector("button")?.focus();
  tick(alarm);
}

// --- nothing chosen: the watch ---------------------------------------------------------------------

function drawWatch() {
  const { status, seen, alarms } = store.state;
  const gateways = status?.gateways ?? [];
  const online = gateways.filter((gateway) => gateway.online).length;
  const silent = gateways.reduce((sum, gateway) => sum + (gateway.silent ?? 0), 0);
  const server = status?.server ?? {};
  const residue = status ? residueOf(status) : null;
  const p = status?.latency ?? {};
  const seconds = (ms) => (ms === null || ms === undefined ? NONE : `${(ms / 1000).toFixed(2)} s`);
  const line = (words, value, bad) => [h("dt", "", words), h("dd", bad ? "num c-fault bad" : "num", bad && icon("fault"), h("b", "", value))];
  const condition = (of) => (of ? t(`watch.state_${of}`) : NONE);
  const faults = server.faults ?? [];
  const pending = server.database?.pending ?? 0;
  fill($("detail"),
    h("section", "dhead c-ok", icon("tower"), h("h2", "", t("watch.title")), h("span", "meta num", seen.from_us ? `${clock(seen.from_us)} – ${clock(store.nowUs())}` : ""), h("p", "", t("watch.hint"))),
    h("section", "", h("h3", "", h("b", "", t("watch.seen"))),
      h("dl", "kv wide",
        line(t("watch.gateways"), status ? `${online} / ${gateways.length}` : NONE, online < gateways.length),
        line(t("watch.points"), status ? count(silent) : NONE, silent > 0),
        line(t("watch.latency"), `${seconds(p.p50_ms)} / ${seconds(p.p99_ms)}`, false),
        line(t("watch.database"), pending > 0 ? t("watch.pending", { n: count(pending) }) : condition(server.database?.state), pending > 0 || (server.database && server.database.state !== "ok")),
        line(t("watch.store"), condition(server.store?.state), server.store && server.store.state !== "ok"),
        line(t("watch.journal"), count(server.store?.waiting), false),
        line(t("watch.residue"), count(residue), residue > 0),
        line(t("watch.sound"), t(`sound.${sound.health()}`, { at: sound.testedAt() }), sound.health() === "none"))),
    h("section", "", h("h3", "", h("b", "", t("watch.faults"))),
      faults.length === 0 ? h("p", "meta", t("watch.no_faults")) : h("div", "log", faults.map((fault) => h("div", "c-fault",
        h("time", { class: "num", datetime: iso(fault.since_us) }, clock(fault.since_us, store.nowUs())), h("span", "", icon("fault"), " ", t("class.fault")), h("b", "", either(fault.text_zh, fault.text_en)))))),
    h("section", "", h("h3", "", h("b", "", t("watch.arrivals")), h("span", "", t("watch.arrivals_note"))), histogram(),
      h("dl", "kv wide", line(t("watch.new"), count(seen.new)), line(t("watch.acknowledged"), count(seen.acknowledged)),
        line(t("class.fire"), count([...alarms.values()].filter(isFire).length)))));
  $("detail").className = "detail c-ok";
}

function histogram() {
  const now = store.nowUs();
  const slots = 36;
  const bins = new Array(slots).fill(0);
  for (const us of store.state.seen.arrivals) {
    const slot = slots - 1 - Math.floor((now - us) / SLOT_US);
    if (slot >= 0) bins[slot] += 1;
  }
  const most = Math.max(STORM, ...bins);
  const bars = h("div", { class: "bins", role: "img", "aria-label": `${t("watch.arrivals")}: ${bins[slots - 1]}` });
  const rule = h("i", "storm");
  rule.style.bottom = `${(STORM / most) * 100}%`;
  bars.append(rule, ...bins.map((n) => {
    const bar = h("i");
    bar.style.height = `${Math.max(1, (n / most) * 100)}%`;
    return bar;
  }));
  return [bars, h("div", "between meta num", h("span", "", clock(now - slots * SLOT_US).slice(0, 5)), h("span", "", clock(now).slice(0, 5)))];
}
