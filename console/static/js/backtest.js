// Backtest: an edited draft of the rules held against the past, beside the rules in force.

import { NotDone, ask } from "./act.js";
import { colour } from "./alarms.js";
import { $, fill, h, icon, svg } from "./dom.js";
import { Errand } from "./errand.js";
import * as store from "./store.js";
import { NONE, clock, count } from "./time.js";
import { either, t } from "./words.js";

const RUNS = "/api/v1/backtest";
const DAY_MS = 86_400_000;
const LISTED = 200;
const BUILDINGS = 30;
const PLOT = { width: 1000, names: 190, row: 40, bar: 28 };
const FIELDS = ["from", "to", "warm", "scope"];

let rules = null; // text of the rules in force; null = not fetched yet
let fetching = false;
let running = null; // {errand, from_us, to_us}
let report = null;
let failure = null; // {why, text}

const may = () => store.me.may.has("backtest");
const word = (key, css = "") => h("span", { "data-w": key, class: css }, t(key));

export function init() {
  if (!may()) return;
  const field = (name, given) => h("label", "", word(`bt.${name}`), h("input", { id: `bt-${name}`, required: true, autocomplete: "off", spellcheck: "false", ...given }));
  const area = (name, given) => h("label", `area ${name}`, word(`bt.${name}`), h("textarea", { id: `bt-${name}`, class: "code", spellcheck: "false", autocomplete: "off", ...given }));
  fill($("backtest"),
    h("form", { class: "ask", id: "bt-form", onsubmit: (event) => { event.preventDefault(); start(); } },
      h("div", "fields", field("from", { type: "date" }), field("to", { type: "date" }), field("warm", { type: "number", min: 0, max: 60, step: "any", value: 7 }),
        field("scope", { maxlength: 500, required: false, placeholder: "building=b1,point=*.smoke" })),
      area("draft", { rows: 12, required: true }), area("labels", { rows: 3, placeholder: "point,building,from,to,label" }),
      h("div", "acts", h("button", { class: "btn", type: "button", id: "bt-again", onclick: again }, word("bt.again")), h("span", "grow"),
        h("button", { class: "btn", type: "button", id: "bt-cancel", hidden: true, onclick: () => running?.errand.cancel() }, word("act.cancel")), h("button", { class: "btn main", type: "submit", id: "bt-run" }, word("bt.run"))),
      h("div", { id: "bt-state", role: "status" })),
    h("div", { class: "tables", id: "bt-report" }));
  const today = new Date(store.nowUs() / 1000);
  $("bt-from").value = dateText(new Date(today.getTime() - 7 * DAY_MS));
  $("bt-to").value = dateText(new Date(today.getTime() - DAY_MS));
  // Who closes the page gives the backtest up; who only hides it goes on looking.
  addEventListener("pagehide", () => running?.errand.leave());
}

export function draw(kinds) {
  if (!may() || store.state.screen !== "backtest") return;
  if (rules === null && !fetching && !store.isLost()) fetchRules();
  if (kinds.has("words") || kinds.has("screen") || kinds.has("backtest")) {
    drawState();
    drawReport();
  }
  if (kinds.has("link")) $("bt-run").disabled = store.isLost() || running !== null;
}

const two = (n) => String(n).padStart(2, "0");
const dateText = (at) => `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
/** Midnight, local, `days` after that of a date field, us. */
function midnightUs(value, days = 0) {
  const at = new Date(`${value}T00:00`);
  at.setDate(at.getDate() + days);
  return at.getTime() * 1000;
}

async function fetchRules() {
  fetching = true;
  try {
    rules = (await ask("/api/v1/rules")).text;
    if ($("bt-draft").value === "") $("bt-draft").value = rules;
  } catch (error) {
    failure = error;
    store.touch("backtest");
  } finally {
    setTimeout(() => { fetching = false; }, 5000);
  }
}

function again() {
  if (rules !== null) $("bt-draft").value = rules;
}

async function start() {
  if (running !== null || store.isLost()) return;
  const values = Object.fromEntries(FIELDS.map((name) => [name, $(`bt-${name}`).value.trim()]));
  const labels = $("bt-labels").value.trim();
  const from_us = midnightUs(values.from);
  const to_us = midnightUs(values.to, 1);
  running = { errand: new Errand(RUNS), from_us: from_us - Number(values.warm) * DAY_MS * 1000, to_us };
  failure = report = null;
  store.touch("backtest");
  try {
    report = await running.errand.ask(RUNS, {
      rules: $("bt-draft").value, from_us, to_us, warm_s: Number(values.warm) * 86_400,
      offset_s: -new Date(from_us / 1000).getTimezoneOffset() * 60, scope: values.scope, labels: labels === "" ? null : labels,
    }, () => store.touch("backtest"));
  } catch (error) {
    if (!(error instanceof NotDone)) throw error;
    failure = error;
  } finally {
    running = null;
    store.touch("backtest");
  }
}

function drawState() {
  $("bt-run").disabled = running !== null || store.isLost();
  $("bt-cancel").hidden = running === null;
  const progress = running?.errand.progress;
  const part = progress ? Math.min(1, (progress.at_us - running.from_us) / (running.to_us - running.from_us)) : 0;
  fill($("bt-state"),
    running && h("progress", { max: 1, value: progress ? part : null }),
    running && h("span", "meta num", t("bt.judged", { percent: Math.floor(part * 100), n: count(progress?.readings ?? 0) })),
    failure && h("p", "refused", icon("fault"), h("b", "", failure.why), h("span", "code", failure.text)));
}

const day = (us) => (us === null ? NONE : clock(us, 0));
const table = (heads, rows) => h("table", "grid", h("thead", "", h("tr", "", heads.map(([words, css]) => h("th", { class: css, scope: "col" }, words)))), h("tbody", "", rows));
const row = (...cells) => h("tr", "first", cells.map(([css, ...content]) => h("td", css, ...content)));
const classCell = (cls, test) => ["name", h("span", `cls ${colour({ cls })}`, icon(cls), " ", h("b", "", t(`class.${cls}`)), test ? ` ${t("tag.test")}` : "")];
const begun = (outcome, cls) => outcome.days.reduce((sum, one) => sum + (one.cls === cls ? one.alarms : 0), 0);
const building = (id) => report.buildings[id] || id || NONE;

function drawReport() {
  if (report === null) {
    fill($("bt-report"), h("section", "", h("p", "meta empty", t(running ? "bt.waiting" : "bt.nothing"))));
    return;
  }
  const { draft, in_force, difference, labelled } = report;
  const notes = [...report.notes];
  if (report.unjudged.length) notes.push(t("bt.unjudged", { n: count(report.unjudged.length), points: report.unjudged.slice(0, 5).join(", ") }));
  if (draft.left_out + in_force.left_out) notes.push(t("bt.left_out", { n: count(draft.left_out + in_force.left_out) }));
  const classes = [...new Set(["fire", ...draft.days.map((one) => one.cls), ...in_force.days.map((one) => one.cls)])];
  const earlier = difference.moved.filter((pair) => pair.draft_us < pair.in_force_us).length;
  fill($("bt-report"),
    h("section", "", h("h2", "", t("bt.alarms"), " ", h("span", "meta num", t("bt.over", { days: count(report.days.length), points: count(report.points), n: count(report.readings) }))),
      notes.map((note) => h("p", "states c-fault", icon("fault"), h("span", "", note))),
      table([[t("list.class"), ""], [t("bt.draft_short"), "r"], [t("bt.in_force"), "r"], [t("bt.recorded"), "r"]], classes.map((cls) => row(classCell(cls),
        ["r num", count(begun(draft, cls))], ["r num", count(begun(in_force, cls))], ["r num none", cls === "fire" && report.recorded_fires !== null ? count(report.recorded_fires) : ""])))),
    h("section", "", h("h2", "", t("bt.by_day"), " ", h("span", "meta key", h("i", "draft"), t("bt.draft_short"), h("i", "force"), t("bt.in_force"))), plot()),
    h("section", "", h("h2", "", t("bt.difference"), " ", h("span", "meta num", t("bt.counts", { added: count(difference.added.length), removed: count(difference.removed.length), earlier: count(earlier), later: count(difference.moved.length - earlier), same: count(difference.same) }))),
      differences()),
    labelled && h("section", "", h("h2", "", t("bt.against")), labels(labelled)));
}

/** What changes, in order of time: added, removed, earlier, later. */
function differences() {
  const { added, removed, moved } = report.difference;
  const alarm = (one, what) => ({ ...one, at_us: one.begin_us, what, why: either(one.text_zh, one.text_en) || one.rule });
  const rows = [
    ...added.map((one) => alarm(one, t("bt.added"))), ...removed.map((one) => alarm(one, t("bt.removed"))),
    ...moved.map((pair) => ({ ...pair, at_us: pair.in_force_us, what: t(pair.draft_us < pair.in_force_us ? "bt.earlier" : "bt.later", { s: count(Math.abs(pair.in_force_us - pair.draft_us) / 1e6) }), why: "" })),
  ].sort((a, b) => a.at_us - b.at_us);
  if (rows.length === 0) return h("p", "meta empty", t("bt.no_difference"));
  return [table([[t("bt.what"), ""], [t("list.measured"), ""], [t("list.class"), ""], [t("bt.building"), ""], [t("list.point"), ""], [t("list.reason"), ""]],
    rows.slice(0, LISTED).map((one) => row(["name", h("b", "", one.what)], ["num", day(one.at_us)], classCell(one.cls, one.test), ["", building(one.building)], ["code", one.subject], ["words", one.why]))),
  rows.length > LISTED && h("p", "meta", t("bt.more", { n: count(rows.length - LISTED) }))];
}

function labels({ fires, tallies, unlabelled_draft, unlabelled_in_force }) {
  const delay = (s) => (s === null ? t("bt.never") : t("bt.after", { s: count(s) }));
  return [
    fires.length > 0 && table([[t("bt.real_fire"), ""], [t("bt.place"), ""], [t("bt.draft_short"), "r"], [t("bt.in_force"), "r"]],
      fires.map((one) => row(["num", day(one.begin_us)], ["", report.buildings[one.subject] ?? one.subject], ["r num", delay(one.draft_delay_s)], ["r num", delay(one.in_force_delay_s)]))),
    table([[t("bt.fires_in"), ""], [t("bt.intervals"), "r"], [t("bt.draft_short"), "r"], [t("bt.in_force"), "r"]], [
      ...tallies.map((one) => row(["name", t(`label.${one.label}`)], ["r num", count(one.intervals)], ["r num", count(one.draft_fires)], ["r num", count(one.in_force_fires)])),
      row(["name", t("bt.unlabelled")], ["r num none", ""], ["r num", count(unlabelled_draft)], ["r num", count(unlabelled_in_force)])])];
}

/** Fire alarms: a line for each building, the most changed first, two bars for each day. */
function plot() {
  const sides = [["draft", report.draft], ["force", report.in_force]].map(([css, outcome]) => {
    const found = new Map();
    for (const one of outcome.days) {
      if (one.cls !== "fire") continue;
      if (!found.has(one.building)) found.set(one.building, new Map());
      found.get(one.building).set(one.day, one.alarms);
    }
    return { css, found };
  });
  const total = (side, id) => [...(side.found.get(id)?.values() ?? [])].reduce((sum, n) => sum + n, 0);
  const change = (id) => Math.abs(total(sides[0], id) - total(sides[1], id));
  const ids = [...new Set(sides.flatMap((side) => [...side.found.keys()]))].sort((a, b) => change(b) - change(a) || a.localeCompare(b));
  if (ids.length === 0) return h("p", "meta empty", t("bt.no_fire"));
  const shown = ids.slice(0, BUILDINGS);
  const tallest = Math.max(...sides.flatMap((side) => [...side.found.values()].flatMap((days) => [...days.values()])));
  const slot = (PLOT.width - PLOT.names) / report.days.length;
  const height = shown.length * PLOT.row + 20;
  const every = Math.ceil(report.days.length / 12);
  const bar = (id, side, place) => {
    const n = side.found.get(id)?.get(report.days[place]);
    if (!n) return null;
    const high = (PLOT.bar * n) / tallest;
    const wide = Math.max(0.8, Math.min(0.44 * slot, 16));
    const x = PLOT.names + place * slot + (side.css === "draft" ? 0 : 1.06 * wide);
    return svg("rect", { class: side.css, x: x.toFixed(1), y: ((shown.indexOf(id) + 1) * PLOT.row - high).toFixed(1), width: wide.toFixed(1), height: high.toFixed(1) },
      svg("title", {}, `${building(id)} · ${report.days[place]} · ${t(side.css === "draft" ? "bt.draft_short" : "bt.in_force")} ${n}`));
  };
  return [svg("svg", { class: "days", viewBox: `0 0 ${PLOT.width} ${height}`, role: "img", "aria-label": t("bt.by_day") },
    shown.map((id, line) => [
      svg("text", { class: "end", x: PLOT.names - 10, y: (line + 1) * PLOT.row - 4 }, building(id).slice(0, 24)),
      svg("line", { x1: PLOT.names, x2: PLOT.width, y1: (line + 1) * PLOT.row, y2: (line + 1) * PLOT.row }),
      report.days.map((_day, place) => sides.map((side) => bar(id, side, place)))]),
    report.days.map((one, place) => (place % every === 0 ? svg("text", { x: PLOT.names + place * slot, y: height - 4 }, one.slice(5)) : null))),
  ids.length > BUILDINGS && h("p", "meta", t("bt.more_buildings", { n: count(ids.length - BUILDINGS) }))];
}
