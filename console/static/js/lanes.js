// Lanes over one axis of seconds for everything a run of the lab knows: the truth, signal and limits, what detectors
// knew, alarms. SVG; a cursor, a zoom and a chosen span, by hand or by key.

import { CLASSES, colour } from "./alarms.js";
import { fill, h, svg } from "./dom.js";
import { clock, measure, uomText } from "./time.js";
import { quantity, t } from "./words.js";

const LEFT = 168;
const RIGHT = 132;
const GAP = 14;
const VALUE_H = 200;
const OWN_H = 72;
const ROW_H = 30;
const ROWS = 14; // alarm lanes that are drawn
const LABEL_H = 14;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800, 2592000];

/** What a rule holds against what, in a lane of its own; everything else is in the unit of the value. */
export const OWN = { ahead: "rise", sum: "sum_limit", same_s: "stuck_s", left_s: "within_s", noisy_share: "noisy_limit" };
const LEARNED = ["surroundings", "mean", "usual", "level", "reference"];
const BOUNDS = ["limit", "high", "low"];

/** A moment of the run as its readers count: of the day, or from the beginning. */
export function moment(report, s) {
  if (report.is_dated) return report.length_s > 86400 ? clock(report.begin_us + s * 1e6, 0) : clock(report.begin_us + s * 1e6);
  if (report.length_s <= 3600) return `${+s.toFixed(s < 100 ? 1 : 0)} s`;
  const two = (n) => String(Math.floor(n)).padStart(2, "0");
  return `${Math.floor(s / 3600)}:${two((s % 3600) / 60)}:${two(s % 60)}`;
}

/** Where in ascending times `s` or the last before it stands; -1 = before all. */
export function indexAt(at_s, s) {
  let low = 0;
  let high = at_s.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at_s[middle] <= s) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

export class Lanes {
  /** `moved()` after the cursor moved, `chose()` after the span changed. */
  constructor(node, moved, chose) {
    this.node = node;
    this.moved = moved;
    this.chose = chose;
    this.report = null;
    this.cursor = 0;
    this.span = null; // [from_s, to_s]
    this.view = [0, 1];
    node.addEventListener("keydown", (event) => this.#key(event));
    node.addEventListener("pointerdown", (event) => this.#press(event));
    node.addEventListener("pointermove", (event) => this.#hover(event));
    node.addEventListener("dblclick", () => this.zoom(0));
    new ResizeObserver(() => this.report && this.draw()).observe(node);
  }

  show(report, sameSource) {
    this.report = report;
    if (!sameSource) {
      this.view = [0, report.length_s];
      this.span = null;
      this.cursor = report.draft.alarms.length ? this.seconds(report.draft.alarms[0].begin_us) : report.length_s;
    }
    this.draw();
    this.moved();
  }

  seconds = (us) => (us - this.report.begin_us) / 1e6;
  #wide = () => Math.max(480, this.node.clientWidth) - LEFT - RIGHT;
  #x = (s) => LEFT + ((s - this.view[0]) / (this.view[1] - this.view[0])) * this.#wide();
  #s = (x) => this.view[0] + ((x - LEFT) / this.#wide()) * (this.view[1] - this.view[0]);
  #clamp = (s) => Math.min(this.report.length_s, Math.max(0, s));

  /** Nearer by `factor` around the cursor; 0 = the whole. */
  zoom(factor) {
    if (!this.report) return;
    const whole = this.report.length_s;
    const wide = factor === 0 ? whole : Math.min(whole, Math.max(whole / 500, (this.view[1] - this.view[0]) / factor));
    const share = (this.cursor - this.view[0]) / (this.view[1] - this.view[0]);
    const from = Math.min(whole - wide, Math.max(0, this.cursor - Math.min(1, Math.max(0, share)) * wide));
    this.view = [from, from + wide];
    this.draw();
  }

  move(s) {
    this.cursor = this.#clamp(s);
    const [from, to] = this.view;
    if (this.cursor < from || this.cursor > to) {
      const start = Math.min(this.report.length_s - (to - from), Math.max(0, this.cursor - (to - from) / 2));
      this.view = [start, start + to - from];
      this.draw();
    } else this.#drawCursor();
    this.moved();
  }

  choose(from_s, to_s) {
    const [a, b] = [from_s, to_s].map(this.#clamp).sort((one, other) => one - other);
    this.span = b > a ? [a, b] : null;
    this.#drawCursor();
    this.chose();
  }

  #key(event) {
    if (!this.report || event.altKey || event.ctrlKey || event.metaKey) return;
    const step = ((this.view[1] - this.view[0]) / 200) * (event.shiftKey ? 10 : 1);
    const [from, to] = this.span ?? [0, this.report.length_s];
    const act = {
      ArrowLeft: () => this.move(this.cursor - step), ArrowRight: () => this.move(this.cursor + step),
      Home: () => this.move(0), End: () => this.move(this.report.length_s),
      "+": () => this.zoom(2), "=": () => this.zoom(2), "-": () => this.zoom(0.5), "0": () => this.zoom(0),
      "[": () => this.choose(this.cursor, Math.max(to, this.cursor)), "]": () => this.choose(Math.min(from, this.cursor), this.cursor),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  #press(event) {
    if (!this.report || event.button !== 0) return;
    const begin = this.#at(event);
    this.node.setPointerCapture(event.pointerId);
    const over = () => {
      this.node.removeEventListener("pointermove", drag);
      this.node.removeEventListener("pointerup", over);
    };
    const drag = (one) => {
      if (Math.abs(this.#x(this.#at(one)) - this.#x(begin)) > 4) this.choose(begin, this.#at(one));
    };
    this.node.addEventListener("pointermove", drag);
    this.node.addEventListener("pointerup", over);
  }

  #hover(event) {
    if (!this.report) return;
    this.cursor = this.#at(event);
    this.#drawCursor();
    this.moved();
  }

  #at = (event) => this.#clamp(this.#s(event.clientX - this.node.getBoundingClientRect().left));

  draw() {
    const { report } = this;
    const parts = [];
    let y = 22;
    const lane = (name, note, high, draw) => {
      parts.push(svg("text", { class: "name", x: 0, y: y + 13 }, fit(name)), svg("text", { class: "note", x: 0, y: y + 29 }, note));
      parts.push(draw(y, high), svg("line", { class: "floor", x1: LEFT, x2: LEFT + this.#wide(), y1: y + high, y2: y + high }));
      y += high + GAP;
    };
    this.#truth(parts, y);
    y += 34;
    const point = report.points.find((one) => one.id === report.point);
    lane(quantity(point.quantity), uomText(point.uom), VALUE_H, (top, high) => this.#value(top, high, point));
    for (const { name, key } of this.#ownLanes()) lane(name, t(`inside.${key}`), OWN_H, (top, high) => this.#own(top, high, name, key));
    const rows = this.#subjects();
    for (const row of rows.slice(0, ROWS)) {
      parts.push(this.#alarms(row, y));
      y += ROW_H;
    }
    if (rows.length > ROWS) parts.push(svg("text", { class: "note", x: LEFT, y: y + 12 }, t("lab.more_lanes", { n: rows.length - ROWS })));
    const height = y + (rows.length > ROWS ? 22 : 6);
    const wide = this.#wide() + LEFT + RIGHT;
    this.height = height;
    this.over = svg("g", {});
    fill(this.node, svg("svg", { viewBox: `0 0 ${wide} ${height}`, width: wide, height, "aria-hidden": "true" },
      svg("defs", {}, svg("pattern", { id: "lab-hatch", width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("line", { class: "hatch", x1: 0, x2: 0, y1: 0, y2: 7 })), svg("clipPath", { id: "lab-clip" }, svg("rect", { x: LEFT, y: 0, width: this.#wide(), height }))),
      this.#ticks(height), ...parts.flat(Infinity).filter(Boolean), this.over));
    this.#drawCursor();
  }

  #drawCursor() {
    const { report } = this;
    const x = this.#x(this.cursor);
    const words = moment(report, this.cursor);
    const wide = 12 + words.length * 7.4;
    const left = Math.min(LEFT + this.#wide() + RIGHT - wide, Math.max(0, x - wide / 2));
    const [from, to] = (this.span ?? [null, null]).map((s) => (s === null ? null : Math.min(LEFT + this.#wide(), Math.max(LEFT, this.#x(s)))));
    fill(this.over,
      from !== null && svg("rect", { class: "span", x: from, y: 0, width: Math.max(1, to - from), height: this.height }),
      svg("line", { class: "cursor", x1: x, x2: x, y1: 16, y2: this.height }),
      svg("rect", { class: "flag", x: left, y: 0, width: wide, height: 18 }),
      svg("text", { class: "flag", x: left + wide / 2, y: 13 }, words));
    this.node.setAttribute("aria-valuemax", report.length_s);
    this.node.setAttribute("aria-valuenow", this.cursor.toFixed(1));
    this.node.setAttribute("aria-valuetext", words);
  }

  #ticks(height) {
    const [from, to] = this.view;
    const least = ((to - from) * 90) / this.#wide();
    const step = STEPS.find((one) => one >= least) ?? STEPS[STEPS.length - 1];
    const first = Math.ceil(from / step) * step;
    return Array.from({ length: Math.floor((to - first) / step) + 1 }, (_, i) => first + i * step).map((s) => svg("g", {},
      svg("line", { class: "tick", x1: this.#x(s), x2: this.#x(s), y1: 18, y2: height }),
      svg("text", { class: "tick", x: this.#x(s), y: 13 }, moment(this.report, s))));
  }

  /** What was so: stretches and moments, in two rows so that names do not cover each other. */
  #truth(parts, y) {
    parts.push(svg("text", { class: "name", x: 0, y: y + 13 }, t("lab.truth")));
    let ends = [-Infinity, -Infinity];
    for (const mark of [...this.report.marks].sort((a, b) => a.from_s - b.from_s)) {
      const to = mark.to_s ?? mark.from_s;
      if (to < this.view[0] || mark.from_s > this.view[1]) continue;
      const x = Math.max(LEFT, this.#x(mark.from_s));
      const words = `${markWords(mark.what)}${mark.where ? ` · ${mark.where}` : ""}`;
      const row = ends[0] <= x ? 0 : ends[1] <= x ? 1 : -1;
      const top = y + Math.max(0, row) * 15;
      if (mark.to_s !== null) parts.push(svg("rect", { class: "truth", x, y: top, width: Math.max(2, Math.min(LEFT + this.#wide(), this.#x(to)) - x), height: 13 }));
      parts.push(svg("line", { class: "truth", x1: x, x2: x, y1: top, y2: y + 34 + VALUE_H }));
      if (row < 0) continue;
      parts.push(svg("text", { class: "truth", x: x + 5, y: top + 11 }, words));
      ends = ends.map((end, i) => (i === row ? x + 14 + words.length * 6.6 : end));
    }
  }

  #value(top, high, point) {
    const { report } = this;
    const known = report.value.filter((one) => one !== null);
    let [low, most] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
    const room = Math.max(most - low, Math.abs(most) * 0.05, 0.1);
    const bounds = this.#lines(BOUNDS).filter(({ kind }) => kind !== "trend");
    for (const { values, kind } of bounds) {
      if (kind === "range") continue; // what no fire reaches must not make a flat line of one
      const last = values.filter((one) => one !== null).pop();
      if (last !== undefined && last > low - room && last < most + room) [low, most] = [Math.min(low, last), Math.max(most, last)];
    }
    const margin = (most - low) * 0.08 || 0.5;
    const scale = this.#scale(low - margin, most + margin, top, high);
    const labels = [];
    const drawn = bounds.map(({ at_s, values, side, rule, cls, name }) => {
      const last = values[Math.max(0, indexAt(at_s, this.view[1]))];
      if (last !== null && last !== undefined && scale.holds(last) && side === "draft") labels.push({ y: scale(last), words: `${rule} ${+last.toFixed(2)}`, css: colour({ cls }) });
      return svg("g", { class: `${colour({ cls })} ${side}` }, this.#path(`bound ${name}`, at_s, scale.inside(values), scale));
    });
    const learned = this.#lines(LEARNED).filter(({ side }) => side === "draft").map(({ at_s, values }) => this.#path("learned", at_s, scale.inside(values), scale));
    return [this.#axis(scale, top, high, point.uom), svg("g", { "clip-path": "url(#lab-clip)" }, this.#gaps(top, high), drawn, learned, this.#path("signal", report.at_s, report.value, scale, report.gaps)), place(labels, top, high).map(({ y, words, css }) =>
      svg("text", { class: `limit ${css}`, x: LEFT + this.#wide() + 6, y: y + 4 }, fit(words, RIGHT)))];
  }

  /** The rules' lanes of their own: those of the draft first, then what only the rules in force have. */
  #ownLanes() {
    const found = new Map();
    for (const side of ["draft", "in_force"]) {
      for (const one of this.report[side].inside) {
        for (const key of Object.keys(OWN)) if (one.measures[key]?.some((value) => value !== null)) found.set(`${one.rule} ${key}`, { name: one.rule, key });
      }
    }
    return [...found.values()];
  }

  #own(top, high, name, key) {
    const sides = ["in_force", "draft"].map((side) => ({ side, at_s: this.report[side].at_s, rule: this.report[side].inside.find((one) => one.rule === name) }))
      .filter(({ rule }) => rule?.measures[key]);
    if (sides.length > 1 && same(sides[0].rule.measures, sides[1].rule.measures)) sides.shift();
    const limits = sides.map(({ rule }) => rule.measures[OWN[key]].filter((one) => one !== null).pop()).filter((one) => one !== undefined);
    const values = sides.flatMap(({ rule }) => rule.measures[key].filter((one) => one !== null));
    const limit = Math.max(0, ...limits);
    const most = Math.max(limit * 1.25, Math.min(Math.max(...values), limit ? limit * 3 : Infinity)) || 1;
    const scale = this.#scale(Math.min(0, Math.max(-most, Math.min(...values))), most, top, high);
    const labels = [];
    const lines = sides.map(({ side, at_s, rule }) => {
      const last = rule.measures[OWN[key]].filter((one) => one !== null).pop();
      const twice = side === "in_force" && limits.length > 1 && limits[0] === limits[1];
      if (last !== undefined && scale.holds(last) && !twice) labels.push({ y: scale(last), words: `${t(`inside.${OWN[key]}`)} ${+last.toFixed(2)}`, css: side === "draft" ? colour(rule) : "c-ok" });
      return svg("g", { class: `${colour(rule)} ${side}` }, this.#path("bound", at_s, rule.measures[OWN[key]], scale), this.#path("known", at_s, rule.measures[key].map((one) => (one === null ? null : Math.max(scale.low, Math.min(one, most)))), scale));
    });
    return [this.#axis(scale, top, high, "", 2), svg("g", { "clip-path": "url(#lab-clip)" }, lines), place(labels, top, high).map(({ y, words, css }) =>
      svg("text", { class: `limit ${css}`, x: LEFT + this.#wide() + 6, y: y + 4 }, words))];
  }

  /** Every subject and class that has an alarm or should have one, the looked-at point first. */
  #subjects() {
    const { report } = this;
    const rows = new Map();
    const row = (subject, cls) => {
      const key = `${subject} ${cls}`;
      if (!rows.has(key)) rows.set(key, { subject, cls, draft: [], in_force: [], windows: [] });
      return rows.get(key);
    };
    for (const one of report.expected) if (one.cls) row(one.where, one.cls).windows.push(one);
    for (const side of ["draft", "in_force"]) for (const one of report[side].alarms) row(one.subject, one.cls)[side].push(one);
    const order = Object.keys(CLASSES);
    return [...rows.values()].sort((a, b) => (b.subject === report.point) - (a.subject === report.point) || order.indexOf(a.cls) - order.indexOf(b.cls) || a.subject.localeCompare(b.subject));
  }

  #alarms(row, y) {
    const end = (one) => (one.end_us === null ? this.report.length_s : this.seconds(one.end_us));
    const bar = (css, one, top, high) => {
      const x = this.#x(this.seconds(one.begin_us));
      return svg("rect", { class: css, x, y: top, width: Math.max(4, this.#x(end(one)) - x), height: high });
    };
    const name = fit(`${t(`class.${row.cls}`)}  ${subjectWords(row.subject)}`);
    return svg("g", { class: `alarms ${colour(row)}` },
      svg("text", { class: "subject", x: 0, y: y + 17 }, name),
      svg("line", { class: "floor", x1: LEFT, x2: LEFT + this.#wide(), y1: y + ROW_H - 3, y2: y + ROW_H - 3 }),
      svg("g", { "clip-path": "url(#lab-clip)" },
        row.windows.map((one) => svg("rect", { class: "window", x: this.#x(one.after_s), y: y + 1, width: Math.max(2, this.#x(one.by_s) - this.#x(one.after_s)), height: ROW_H - 7 })),
        row.draft.map((one) => bar("draft", one, y + 4, 11)),
        this.report.draft.verdicts.filter((one) => one.subject === row.subject && one.cls === row.cls).map((one) => svg("rect", { class: "said", x: this.#x(this.seconds(one.begin_us)) - 1, y: y + 1, width: 2, height: 17 }, svg("title", {}, one.rule))), row.in_force.map((one) => bar("force", one, y + 17, 5))));
  }

  /** Lines in the unit of the value that rules know: `{side, rule, cls, kind, name, at_s, values}`. */
  #lines(names) {
    const { draft, in_force } = this.report;
    const is = (one) => draft.inside.some((other) => other.rule === one.rule && same(other.measures, one.measures));
    const parts = { in_force: in_force.inside.filter((one) => !is(one)), draft: draft.inside };
    return ["in_force", "draft"].flatMap((side) => parts[side].flatMap((one) => names.filter((name) => one.measures[name]).map((name) =>
      ({ side, rule: one.rule, cls: one.cls, kind: one.kind, name, at_s: this.report[side].at_s, values: one.measures[name] }))));
  }

  #gaps(top, high) {
    return this.report.gaps.map(([from, to]) => svg("rect", { class: "gap", fill: "url(#lab-hatch)", x: this.#x(from), y: top, width: this.#x(to) - this.#x(from), height: high }));
  }

  #path(css, at_s, values, scale, gaps = []) {
    const d = [];
    let begun = false;
    const first = Math.max(0, indexAt(at_s, this.view[0]));
    const last = Math.min(at_s.length - 1, indexAt(at_s, this.view[1]) + 1);
    for (let i = first; i <= last; i += 1) {
      if (values[i] === null || values[i] === undefined) begun = false;
      else {
        if (begun && gaps.some(([from, to]) => from < at_s[i] && to > at_s[i - 1])) begun = false;
        d.push(`${begun ? "L" : "M"}${this.#x(at_s[i]).toFixed(1)} ${scale(values[i]).toFixed(1)}`);
        begun = true;
      }
    }
    return svg("path", { class: css, d: d.join("") });
  }

  #scale(low, most, top, high) {
    const scale = (value) => top + high - ((value - low) / (most - low)) * high;
    const holds = (value) => value >= low && value <= most;
    return Object.assign(scale, { low, most, holds, inside: (values) => values.map((value) => (value !== null && holds(value) ? value : null)) });
  }

  #axis(scale, top, high, uom, parts = 4) {
    const rough = (scale.most - scale.low) / parts;
    const ten = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * ten).find((one) => one >= rough);
    const first = Math.ceil(scale.low / step) * step;
    const digits = Math.max(0, -Math.floor(Math.log10(step)));
    return Array.from({ length: Math.floor((scale.most - first) / step) + 1 }, (_, i) => first + i * step).map((value) => svg("g", {},
      svg("line", { class: "tick", x1: LEFT, x2: LEFT + this.#wide(), y1: scale(value), y2: scale(value) }),
      svg("text", { class: "value", x: LEFT - 8, y: scale(value) + 4 }, value.toFixed(digits))));
  }
}

/** What happened, in words where we have them. */
export function markWords(what) {
  const words = t(`mark.${what}`);
  return words === `mark.${what}` ? what.replaceAll("_", " ") : words;
}

/** As much of the words as has room, px; Chinese is twice as wide. */
function fit(words, room = LEFT - 30) {
  let left = room / 7.2;
  const end = [...words].findIndex((letter) => (left -= letter > "\u2e80" ? 1.8 : 1) < 0);
  return end < 0 ? words : `${[...words].slice(0, end).join("")}…`;
}

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** A point by its id, a zone by its name. */
export const subjectWords = (subject) => (subject.startsWith("/") ? t("detail.zone", { zone: subject.split("/").pop() }) : subject.replace(/\/$/, ""));

/** Labels moved apart so that none covers another, inside the lane. */
function place(labels, top, high) {
  const sorted = [...labels].sort((a, b) => a.y - b.y);
  for (let i = 1; i < sorted.length; i += 1) sorted[i].y = Math.max(sorted[i].y, sorted[i - 1].y + LABEL_H);
  for (let i = sorted.length - 1, floor = top + high; i >= 0; i -= 1, floor -= LABEL_H) sorted[i].y = Math.min(sorted[i].y, floor);
  return sorted;
}

/** The number of a measure with its unit, for the table at the cursor. */
export function told(name, value, uom) {
  if (value === null || value === undefined) return measure(null);
  if (name.endsWith("_s")) return `${+value.toFixed(value < 10 ? 1 : 0)}\u202fs`;
  if (["sum", "sum_limit", "noisy_share", "noisy_limit"].includes(name)) return `${+value.toFixed(2)}`;
  return measure(value, name.endsWith("_per_min") ? `${uomText(uom)}/min` : uom);
}
