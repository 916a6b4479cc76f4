// The live trace of one point: history from the store, then every reading as it comes. A gap is a gap: it is
// hatched, and no line crosses it. Drawn by uPlot, with our colours, on a canvas.

import { ask } from "./act.js";
import { isRegistered, isZone } from "./alarms.js";
import { h, text } from "./dom.js";
import { watch } from "./live.js";
import * as store from "./store.js";
import { clock, measure, uomText } from "./time.js";
import { t } from "./words.js";

const RANGES = [["10 min", 600], ["1 h", 3600], ["6 h", 21600], ["24 h", 86400]];
const MAX_POINTS = 3000;
const LEAST_GAP_S = 12;

let plot = null;
let box = null;
let at = []; // seconds
let value = [];
let showing = { point: null, range: 600, alarm: null };
let asking = 0;

/** The chart's frame for the detail; `mount` afterwards draws into it. */
export function frame() {
  const caption = h("span", "num caption");
  const ranges = h("span", { class: "seg", role: "group", "aria-label": t("detail.chart") }, RANGES.map(([words, seconds]) =>
    h("button", { type: "button", class: seconds === showing.range ? "on" : "", "aria-pressed": String(seconds === showing.range), "data-range": seconds, onclick: () => choose(seconds) }, words)));
  box = h("div", { class: "chart", role: "img" });
  return h("section", "trace", h("h3", "", h("b", "", t("detail.chart")), caption, h("span", "grow"), ranges), box);
}

function choose(seconds) {
  showing.range = seconds;
  for (const button of document.querySelectorAll("[data-range]")) {
    const on = Number(button.dataset.range) === seconds;
    button.className = on ? "on" : "";
    button.setAttribute("aria-pressed", String(on));
  }
  load();
}

export function mount(alarm) {
  const same = showing.point && showing.point === alarm.point && plot;
  showing.alarm = alarm;
  if (same) {
    paint();
    return;
  }
  showing.point = isRegistered(alarm) ? alarm.point : null;
  at = [];
  value = [];
  watch(showing.point ? [showing.point] : []);
  load();
}

export function unmount() {
  if (showing.point) watch([]);
  showing.point = null;
  plot?.destroy();
  plot = null;
}

async function load() {
  const mine = ++asking;
  const { point, range } = showing;
  if (!point) return say(t(isZone(showing.alarm) ? "chart.zone" : "chart.none"));
  const to = Math.round(store.nowUs());
  try {
    const series = await ask(`/api/v1/points/${encodeURIComponent(point)}/history?from_us=${to - range * 1e6}&to_us=${to}&max_points=${MAX_POINTS}`);
    if (mine !== asking) return;
    const newest = series.at_us.length ? series.at_us[series.at_us.length - 1] / 1e6 : 0;
    const since = at.map((x, i) => [x, value[i]]).filter(([x]) => x > newest);
    at = series.at_us.map((us) => us / 1e6).concat(since.map(([x]) => x));
    value = series.value.concat(since.map(([, y]) => y));
    paint();
  } catch (error) {
    if (mine === asking) say(t("chart.failed", { why: error.why ?? String(error) }));
  }
}

function say(words) {
  plot?.destroy();
  plot = null;
  box?.replaceChildren(h("p", "meta", words));
}

/** Take new readings of the store into the trace; called when readings changed. */
export function follow() {
  const row = store.state.rows.get(showing.point);
  if (row && row[1] / 1e6 > (at[at.length - 1] ?? 0)) {
    at.push(row[1] / 1e6);
    value.push(row[2]);
    if (at.length > MAX_POINTS * 2) {
      at.splice(0, MAX_POINTS / 2);
      value.splice(0, MAX_POINTS / 2);
    }
  }
}

/** Move the window on, or make the plot; called once per second and when data came. */
export function paint() {
  if (!box?.isConnected || !showing.point) return;
  if (at.length === 0) return say(t("chart.none"));
  const [xs, ys, gaps] = broken();
  const size = { width: Math.max(200, box.clientWidth), height: Math.max(120, box.clientHeight) };
  if (!plot || plot.root.parentNode !== box) {
    box.replaceChildren();
    plot?.destroy();
    plot = new uPlot(options(size), [xs, ys], box);
    plot.gaps = gaps;
    new ResizeObserver(() => plot?.root.parentNode === box && plot.setSize({ width: box.clientWidth, height: box.clientHeight })).observe(box);
  }
  plot.gaps = gaps;
  plot.setData([xs, ys], false);
  const now = store.nowUs() / 1e6;
  plot.setScale("x", { min: now - showing.range, max: now });
  const last = value[value.length - 1];
  const caption = box.parentNode.querySelector(".caption");
  text(caption, `${measure(last, showing.alarm.uom)} · ${clock(at[at.length - 1] * 1e6, store.nowUs())} · ${t("chart.gap")}`);
  box.setAttribute("aria-label", `${showing.point} ${measure(last, showing.alarm.uom)}`);
}

/** Break the line where readings are missing; returns times, values and the gaps [from, to]. */
function broken() {
  const steps = at.slice(1).map((x, i) => x - at[i]).sort((a, b) => a - b);
  const usual = steps[Math.floor(steps.length / 2)] ?? 1;
  const least = Math.max(LEAST_GAP_S, 5 * usual);
  const xs = [];
  const ys = [];
  const gaps = [];
  for (let i = 0; i < at.length; i += 1) {
    if (i && at[i] - at[i - 1] > least) {
      gaps.push([at[i - 1], at[i]]);
      xs.push(at[i - 1] + 0.001);
      ys.push(null);
    }
    xs.push(at[i]);
    ys.push(value[i]);
  }
  const now = store.nowUs() / 1e6;
  if (now - at[at.length - 1] > least) gaps.push([at[at.length - 1], now]);
  return [xs, ys, gaps];
}

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function options(size) {
  const font = `12px ${token("--font-ui")}`;
  const axis = { stroke: token("--ink-3"), font, grid: { stroke: token("--line"), width: 1 }, ticks: { show: false } };
  const hms = showing.range <= 600 ? 8 : 5;
  return {
    ...size,
    legend: { show: false },
    cursor: { points: { show: true, size: 7 }, drag: { x: false, y: false }, y: false },
    scales: { x: { time: true, auto: false }, y: { range: (_plot, low, high) => span(low, high) } },
    series: [{}, { stroke: token("--ink"), width: 1.6, points: { show: false }, spanGaps: false }],
    axes: [
      { ...axis, size: 28, space: 90, values: (_plot, ticks) => ticks.map((x) => clock(x * 1e6).slice(0, hms)) },
      { ...axis, size: 46, values: (_plot, ticks) => ticks.map((y) => `${+y.toFixed(2)}`) },
    ],
    hooks: { drawClear: [hatch], draw: [limits], setCursor: [readCursor] },
  };
}

/** The range of the axis holds data and limit, and never makes a mountain of noise. */
function span(low, high) {
  const { limit, reset } = showing.alarm;
  const values = [low, high, limit, reset].filter((y) => Number.isFinite(y));
  if (values.length === 0) return [0, 1];
  const least = Math.min(...values);
  const most = Math.max(...values);
  const room = Math.max((most - least) * 0.08, Math.abs(most) * 0.02, 0.05);
  return [least - room, most + room];
}

function hatch(u) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  for (const [from, to] of u.gaps ?? []) {
    const left = Math.max(bbox.left, u.valToPos(from, "x", true));
    const right = Math.min(bbox.left + bbox.width, u.valToPos(to, "x", true));
    if (right > left) ctx.rect(left, bbox.top, right - left, bbox.height);
  }
  ctx.clip();
  ctx.strokeStyle = token("--hatch");
  ctx.globalAlpha = 0.45;
  ctx.lineWidth = 1;
  ctx.beginPath();
  for (let x = bbox.left - bbox.height; x < bbox.left + bbox.width; x += 7) {
    ctx.moveTo(x, bbox.top + bbox.height);
    ctx.lineTo(x + bbox.height, bbox.top);
  }
  if (u.gaps?.length) ctx.stroke();
  ctx.restore();
}

function limits(u) {
  const { limit, reset, uom } = showing.alarm;
  const { ctx, bbox } = u;
  const colour = token(showing.alarm.cls === "fire" ? "--fire-ink" : "--ink-2");
  ctx.save();
  ctx.textAlign = "left";
  ctx.textBaseline = "bottom";
  ctx.font = `${12 * devicePixelRatio}px ${token("--font-ui")}`;
  ctx.lineWidth = 1.3 * devicePixelRatio;
  for (const [y, dash] of [[limit, [7, 4]], [reset, [2, 4]]]) {
    if (!Number.isFinite(y)) continue;
    const top = u.valToPos(y, "y", true);
    ctx.strokeStyle = ctx.fillStyle = colour;
    ctx.setLineDash(dash.map((n) => n * devicePixelRatio));
    ctx.beginPath();
    ctx.moveTo(bbox.left, top);
    ctx.lineTo(bbox.left + bbox.width, top);
    ctx.stroke();
    if (y === limit) ctx.fillText(t("detail.limit", { limit: `${+y.toFixed(2)} ${uomText(uom)}` }), bbox.left + 6, top - 3);
  }
  ctx.restore();
}

function readCursor(u) {
  const i = u.cursor.idx;
  if (i === null || i === undefined || u.data[1][i] === null) return;
  const caption = box?.parentNode?.querySelector(".caption");
  if (caption) text(caption, `${measure(u.data[1][i], showing.alarm.uom)} · ${clock(u.data[0][i] * 1e6, store.nowUs())}`);
}

/** The colours changed: draw anew. */
export function recolour() {
  plot?.destroy();
  plot = null;
  paint();
}
