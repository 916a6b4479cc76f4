// The lab: a scenario or a recording under an edited draft, beside the rules in force; see why, change, run again, keep.

import { NotDone, ask } from "./act.js";
import { colour } from "./alarms.js";
import { $, fill, h, icon } from "./dom.js";
import { ruleText, rulesIn, withRule } from "./draft.js";
import { Errand } from "./errand.js";
import { Lanes, OWN, indexAt, moment, subjectWords, told } from "./lanes.js";
import * as store from "./store.js";
import { count, measure } from "./time.js";
import { either, quantity, t } from "./words.js";

const RUNS = "/api/v1/lab/runs";
const LISTED = 200;

let sources = null; // null = not fetched yet
let rules = null; // text of the rules in force
let draft = "";
let only = ""; // name of the rule that is edited by itself; empty = the whole draft
let editing = ""; // what of the draft the editor holds
let fetching = false;
let running = null; // the errand under way
let report = null;
let kept = null; // {name, test, said}
let failure = null; // {why, text}
let line = null; // the Lanes

const may = () => store.me.may.has("backtest");
const word = (key, css = "") => h("span", { "data-w": key, class: css }, t(key));

export function init() {
  if (!may()) return;
  const label = (name, ...control) => h("label", name, word(`lab.${name}`), ...control);
  const tool = (name, act) => h("button", { class: "btn tool", type: "button", id: `lab-${name}`, onclick: act }, word(`lab.${name}`));
  fill($("lab"),
    h("form", { class: "ask", id: "lab-form", onsubmit: (event) => { event.preventDefault(); run(); } },
      label("source", h("select", { id: "lab-source", onchange: () => run("") })),
      label("point", h("select", { id: "lab-point", onchange: () => run() })),
      label("edit", h("select", { id: "lab-edit", onchange: () => edit($("lab-edit").value) })),
      h("label", "area draft", word("lab.draft"), h("textarea", { id: "lab-draft", class: "code", rows: 10, required: true, spellcheck: "false", autocomplete: "off", oninput: typed })),
      h("div", "acts", h("button", { class: "btn", type: "button", id: "lab-again", onclick: again }, word("lab.again")), tool("save", save), h("span", "grow"),
        h("button", { class: "btn", type: "button", id: "lab-cancel", hidden: true, onclick: () => running?.cancel() }, word("act.cancel")), h("button", { class: "btn main", type: "submit", id: "lab-run" }, word("lab.run"))),
      h("div", { id: "lab-state", role: "status" }),
      h("fieldset", { id: "lab-keep" }, h("legend", "", word("lab.keep")),
        h("div", "fields", label("from", h("input", { id: "lab-from", type: "number", min: 0, step: "any", onchange: spanTyped })), label("to", h("input", { id: "lab-to", type: "number", min: 0, step: "any", onchange: spanTyped })), label("rule", h("select", { id: "lab-rule" })),
          label("name", h("input", { id: "lab-name", maxlength: 80, autocomplete: "off", spellcheck: "false" }))),
        h("div", "acts", h("span", "grow"), h("button", { class: "btn", type: "button", id: "lab-keep-it", onclick: keep }, word("lab.keep_it"))),
        h("div", { id: "lab-kept", role: "status" }))),
    h("div", { class: "tables", id: "lab-report" },
      h("section", { id: "lab-head" }),
      h("section", { id: "lab-chart", hidden: true },
        h("div", "tools", tool("closer", () => line.zoom(2)), tool("wider", () => line.zoom(0.5)), tool("whole", () => line.zoom(0)), word("lab.keys", "meta"), h("span", "grow"),
          h("span", "meta key", h("i", "draft"), word("bt.draft_short"), h("i", "force"), word("bt.in_force"), h("i", "window"), word("lab.expected"))),
        h("div", { id: "lab-line", class: "lanes", tabindex: 0, role: "slider", "aria-valuemin": 0, "aria-valuenow": 0, "data-w-label": "lab.line" })),
      h("section", { id: "lab-inside" }), h("section", { id: "lab-verdicts" }), h("section", { id: "lab-alarms" }), h("section", { id: "lab-oracle" })));
  $("lab-line").setAttribute("aria-label", t("lab.line"));
  line = new Lanes($("lab-line"), drawInside, spanChosen);
  addEventListener("pagehide", () => running?.leave());
}

export function draw(kinds) {
  if (!may() || store.state.screen !== "lab") return;
  if ((rules === null || sources === null) && !fetching && !store.isLost()) fetchAll();
  if (kinds.has("words") || kinds.has("screen") || kinds.has("lab")) drawAll();
  else if (kinds.has("link")) drawState();
}

async function fetchAll() {
  fetching = true;
  try {
    if (rules === null) {
      rules = (await ask("/api/v1/rules")).text;
      draft = draft || rules;
    }
    sources = await errand("/api/v1/lab/sources", {});
    if (failure === null && sources) run("");
  } catch (error) {
    if (!(error instanceof NotDone)) throw error;
    failure = error;
  } finally {
    store.touch("lab");
    setTimeout(() => { fetching = false; }, 5000);
  }
}

/** Ask the server, one question at a time; null when it was cancelled. */
async function errand(path, body) {
  const mine = new Errand(RUNS);
  running = mine;
  failure = null;
  store.touch("lab");
  try {
    return await mine.ask(path, body, () => store.touch("lab"));
  } finally {
    running = null;
    store.touch("lab");
  }
}

async function run(point = $("lab-point").value) {
  const source = $("lab-source").value || sources?.[0]?.id;
  if (running || !source || store.isLost()) return;
  const same = report?.source.id === source;
  try {
    const found = await errand(RUNS, { source, rules: draft, point: same ? point : "" });
    if (found === null) return;
    report = found;
    kept = null;
    drawSources();
    $("lab-chart").hidden = false;
    line.show(report, same);
    if (!same) spanChosen();
  } catch (error) {
    if (!(error instanceof NotDone)) throw error;
    failure = error;
  }
  store.touch("lab");
}

async function keep() {
  const name = $("lab-name").value.trim();
  if (running || report === null || store.isLost()) return;
  const body = { source: report.source.id, rules: draft, point: report.point, from_s: Number($("lab-from").value), to_s: Number($("lab-to").value), name: name || suggested(), rule: $("lab-rule").value };
  try {
    const found = await errand("/api/v1/lab/tests", body);
    if (found === null) return;
    kept = { ...found, name: body.name };
    draft = found.text;
    edit(only);
  } catch (error) {
    if (!(error instanceof NotDone)) throw error;
    failure = error;
  }
  store.touch("lab");
}

const suggested = () => `${report.source.id.split("/").pop().split(".")[0]}: ${report.point}`.slice(0, 80);

function again() {
  if (rules === null) return;
  draft = rules;
  kept = null;
  edit(only);
  store.touch("lab");
}

/** The draft as a file of this machine. */
function save() {
  const link = h("a", { href: URL.createObjectURL(new Blob([draft], { type: "text/plain" })), download: "draft.yaml" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Put one rule, or the whole draft, into the editor. */
function edit(name) {
  const text = name === "" ? draft : ruleText(draft, name);
  only = text === null ? "" : name;
  editing = text ?? draft;
  $("lab-draft").value = editing;
  drawRules();
}

function typed() {
  const text = $("lab-draft").value;
  draft = only === "" ? text : withRule(draft, editing, text);
  editing = text;
  drawRules();
}

function spanChosen() {
  const [from, to] = line.span ?? [0, report.length_s];
  $("lab-from").value = from.toFixed(1).replace(".0", "");
  $("lab-to").value = to.toFixed(1).replace(".0", "");
}

function spanTyped() {
  if (report !== null) line.choose(Number($("lab-from").value), Number($("lab-to").value));
}

function drawAll() {
  drawSources();
  if ($("lab-draft").value !== editing || editing === "") edit(only);
  drawState();
  drawHead();
  if (report !== null) line.draw();
  drawInside();
  drawVerdicts();
  drawAlarms();
  drawOracle();
  fill($("lab-kept"), kept && [h("p", "states", icon("ok"), h("span", "", t("lab.kept", { name: kept.name }))), h("pre", "code", kept.test)]);
}

function options(select, groups, chosen) {
  const option = (one) => h("option", { value: one.id, selected: one.id === chosen }, one.title);
  fill(select, groups.map(([name, all]) => (name === "" ? all.map(option) : h("optgroup", { label: name }, all.map(option)))));
}

function drawSources() {
  const chosen = $("lab-source").value || report?.source.id;
  const groups = new Map();
  for (const one of sources ?? []) groups.set(one.group, [...(groups.get(one.group) ?? []), one]);
  options($("lab-source"), [...groups].map(([name, all]) => [name === "scenario" ? t("lab.scenarios") : `${t("lab.recordings")} · ${name}`, all]), chosen);
  options($("lab-point"), [["", (report?.points ?? []).map((one) => ({ id: one.id, title: `${one.id} · ${quantity(one.quantity)}` }))]], report?.point);
  drawRules();
}

function drawRules() {
  const names = rulesIn(draft).map(({ name }) => ({ id: name, title: name }));
  options($("lab-edit"), [["", [{ id: "", title: t("lab.whole_draft") }]], [t("lab.one_rule"), names]], only);
  const about = $("lab-rule").value;
  options($("lab-rule"), [["", [{ id: "", title: t("lab.every_rule") }, ...names]]], about);
}

function drawState() {
  const busy = running !== null || store.isLost();
  $("lab-run").disabled = $("lab-source").disabled = $("lab-point").disabled = busy;
  $("lab-keep-it").disabled = busy || report === null;
  $("lab-cancel").hidden = running === null;
  const done = running?.progress?.readings;
  fill($("lab-state"),
    running && h("progress", { max: 1, value: null }), running && h("span", "meta num", done ? t("lab.judged", { n: count(done) }) : t("lab.waiting")),
    failure && h("p", "refused", icon("fault"), h("b", "", failure.why), h("span", "code", failure.text)));
}

function drawHead() {
  if (report === null) {
    fill($("lab-head"), h("p", "meta empty", t(running ? "lab.waiting" : "lab.nothing")));
    return;
  }
  fill($("lab-head"), h("h2", "", report.source.title), h("p", "meta num", t("lab.over", { length: moment({ ...report, is_dated: false }, report.length_s), points: count(report.points.length), n: count(report.readings) }),
    report.origin_s !== 0 && ` · ${t("lab.origin", { s: report.origin_s })}`));
}

const table = (heads, rows) => h("table", "grid", h("thead", "", h("tr", "", heads.map(([words, css]) => h("th", { class: css, scope: "col" }, words)))), h("tbody", "", rows));
const row = (...cells) => h("tr", "first", cells.map(([css, ...content]) => h("td", css, ...content)));
const classCell = (cls) => ["name", h("span", `cls ${colour({ cls })}`, icon(cls), " ", h("b", "", t(`class.${cls}`)))];

/** What the rules knew at the cursor, the draft beside the rules in force. */
function drawInside() {
  if (report === null) return fill($("lab-inside"));
  const { cursor } = line;
  const { uom } = report.points.find((one) => one.id === report.point);
  const value = report.value[indexAt(report.at_s, cursor)];
  const names = [...new Set([...report.draft.inside, ...report.in_force.inside].map((one) => one.rule))];
  const known = (side, name) => report[side].inside.find((one) => one.rule === name);
  const number = (one, side, key) => (one ? told(key, one.measures[key]?.[indexAt(report[side].at_s, cursor)], uom) : "");
  const lines = names.flatMap((name) => {
    const [ours, theirs] = [known("draft", name), known("in_force", name)];
    const one = ours ?? theirs;
    return Object.keys(one.measures).map((key, i) => h("tr", i === 0 ? "first" : "", [
      h("td", "code", i === 0 ? `${name} · ${t(`kind.${one.kind}`)}` : ""), h("td", "", t(`inside.${key}`)),
      h("td", `r num${Object.keys(OWN).includes(key) ? " strong" : ""}`, number(ours, "draft", key)), h("td", "r num none", number(theirs, "in_force", key))]));
  });
  fill($("lab-inside"), h("h2", "", t("lab.inside"), " ", h("span", "meta num", `${report.point} · ${moment(report, cursor)} · ${measure(value, uom)}`)),
    lines.length ? table([[t("lab.rule_kind"), ""], [t("lab.number"), ""], [t("bt.draft_short"), "r"], [t("bt.in_force"), "r"]], lines) : h("p", "meta empty", t("lab.no_rule")));
}

const pointCell = (subject) => (report.points.some((one) => one.id === subject)
  ? h("button", { class: "plain code", type: "button", title: t("lab.look_into"), onclick: () => run(subject) }, subject) : h("span", "", subjectWords(subject)));
const at = (us) => (us === null ? "" : moment(report, line.seconds(us)));
const shift = (ours, theirs) => (ours === theirs ? t("lab.same") : t(ours < theirs ? "bt.earlier" : "bt.later", { s: +(Math.abs(ours - theirs) / 1e6).toFixed(1) }));

/** What each rule said by itself: the n-th time under the draft beside the n-th time in force. */
function drawVerdicts() {
  if (report === null) return fill($("lab-verdicts"));
  const rows = new Map();
  for (const side of ["draft", "in_force"]) {
    const times = new Map();
    for (const one of report[side].verdicts) {
      const who = `${one.rule} ${one.subject}`;
      times.set(who, (times.get(who) ?? 0) + 1);
      const key = `${who} ${times.get(who)}`;
      rows.set(key, { draft: null, in_force: null, ...rows.get(key), one, [side]: one.begin_us });
    }
  }
  const all = [...rows.values()].sort((a, b) => (a.draft ?? a.in_force) - (b.draft ?? b.in_force));
  const changed = all.filter((one) => one.draft !== one.in_force);
  const what = ({ draft, in_force }) => (draft === null ? t("bt.removed") : in_force === null ? t("bt.added") : shift(draft, in_force));
  fill($("lab-verdicts"), h("h2", "", t("lab.verdicts"), " ", h("span", "meta num", t("lab.changed", { n: count(changed.length), of: count(all.length) }))),
    all.length === 0 ? h("p", "meta empty", t("lab.no_verdict")) : table([[t("list.class"), ""], [t("lab.rule_kind"), ""], [t("list.point"), ""], [t("bt.draft_short"), "r"], [t("bt.in_force"), "r"], [t("bt.what"), ""], [t("list.reason"), ""]],
      all.slice(0, LISTED).map((one) => row(classCell(one.one.cls), ["code", one.one.rule], ["", pointCell(one.one.subject)], ["r num", at(one.draft)], ["r num none", at(one.in_force)], ["", one.draft === one.in_force ? what(one) : h("b", "", what(one))], ["words", either(one.one.text_zh, one.one.text_en)]))),
    all.length > LISTED && h("p", "meta", t("lab.more", { n: count(all.length - LISTED) })));
}

/** Alarms of both: what is added, gone, earlier, later or the same. */
function drawAlarms() {
  if (report === null) return fill($("lab-alarms"));
  const { added, removed, moved, same } = report.difference;
  const is = (one, other) => one.subject === other.subject && one.cls === other.cls && one.begin_us === other.begin_us;
  const rows = report.draft.alarms.map((one) => {
    const pair = moved.find((other) => other.subject === one.subject && other.cls === one.cls && other.draft_us === one.begin_us);
    if (added.some((other) => is(one, other))) return { one, ours: one.begin_us, theirs: null, what: t("bt.added") };
    if (!pair) return { one, ours: one.begin_us, theirs: one.begin_us, what: t("lab.same") };
    return { one, ours: one.begin_us, theirs: pair.in_force_us, what: shift(pair.draft_us, pair.in_force_us) };
  });
  rows.push(...removed.map((one) => ({ one, ours: null, theirs: one.begin_us, what: t("bt.removed") })));
  rows.sort((a, b) => (a.ours ?? a.theirs) - (b.ours ?? b.theirs));
  const earlier = moved.filter((pair) => pair.draft_us < pair.in_force_us).length;
  fill($("lab-alarms"), h("h2", "", t("lab.alarms"), " ", h("span", "meta num", t("bt.counts", { added: count(added.length), removed: count(removed.length), earlier: count(earlier), later: count(moved.length - earlier), same: count(same) }))),
    rows.length === 0 ? h("p", "meta empty", t("lab.no_alarm")) : table([[t("list.class"), ""], [t("list.point"), ""], [t("bt.draft_short"), "r"], [t("bt.in_force"), "r"], [t("bt.what"), ""], [t("lab.rule_kind"), ""], [t("list.reason"), ""]],
      rows.slice(0, LISTED).map(({ one, ours, theirs, what }) => row(classCell(one.cls), ["", pointCell(one.subject)], ["r num", at(ours)], ["r num none", at(theirs)], ["", h("b", "", what)], ["code", one.rule], ["words", either(one.text_zh, one.text_en)]))),
    rows.length > LISTED && h("p", "meta", t("lab.more", { n: count(rows.length - LISTED) })));
}

/** What the scenario says must come and must not, under both. */
function drawOracle() {
  if (report === null || report.expected.length === 0) return fill($("lab-oracle"));
  const cell = (outcome, css) => [css, h("span", `states ${outcome.holds ? "" : "c-fault"}`, icon(outcome.holds ? "ok" : "broken"), h("b", "", t(outcome.holds ? "lab.holds" : "lab.fails")))];
  fill($("lab-oracle"), h("h2", "", t("lab.oracle")), table([[t("lab.wanted"), ""], [t("bt.draft_short"), ""], [t("bt.in_force"), ""], [t("lab.got"), ""]],
    report.expected.map((one) => row(["words", one.wanted], cell(one.draft, ""), cell(one.in_force, ""), ["words", one.draft.got]))));
}
