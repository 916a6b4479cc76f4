// The alarm list: grouped by work to do, virtual, and still under the pointer. Rows have a fixed height, so
// what is in view is arithmetic; at most some 60 rows exist, whatever is open.

import * as act from "./act.js";
import { GROUPS, before, colour, groupOf, isFire, isWaiting, matches, place, subject, tags, why } from "./alarms.js";
import { $, fill, h, icon, text } from "./dom.js";
import * as store from "./store.js";
import { age, clock, count, iso } from "./time.js";
import { t } from "./words.js";

const GROUP_PX = 30;
const STILL_MS = 5000;
const LEARNED_US = 5e6;
let items = []; // {top, group} or {top, id}
let height = 0;
let rowPx = 34;
const rows = new Map(); // id or group -> element in the page
let moved = -STILL_MS; // when the pointer last moved over the list
let over = false;
let ordered = new Set(); // ids that have their place in `items`

export function init() {
  rowPx = parseInt(getComputedStyle(document.documentElement).getPropertyValue("--row-h"), 10);
  const box = $("rows");
  box.addEventListener("scroll", () => lay(), { passive: true });
  box.addEventListener("pointermove", () => { over = true; moved = performance.now(); });
  box.addEventListener("pointerleave", () => { over = false; store.touch("order"); });
  box.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (!row) return;
    const alarm = store.state.alarms.get(row.dataset.id);
    if (event.target.closest(".ack")) act.acknowledge(alarm);
    else select(row.dataset.id);
  });
  box.addEventListener("keydown", key);
  new ResizeObserver(() => lay()).observe(box);
  $("held").onclick = () => { over = false; store.touch("order"); box.scrollTop = 0; };
  $("find").addEventListener("input", (event) => {
    store.state.needle = event.target.value.trim().toLowerCase();
    over = false;
    store.touch("order");
  });
}

export function select(id) {
  store.state.selected = id;
  store.touch("selected");
}

/** The alarm whose detail is shown: what was chosen, else the fire in the strip. */
export function selected() {
  return store.state.alarms.get(store.state.selected) ?? store.fires()[0] ?? null;
}

function key(event) {
  const ids = items.filter((item) => item.id).map((item) => item.id);
  const at = ids.indexOf(selected()?.id);
  const page = Math.max(1, Math.floor($("rows").clientHeight / rowPx) - 2);
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -ids.length, End: ids.length };
  if (event.key in steps && ids.length) {
    event.preventDefault();
    const next = ids[at < 0 ? 0 : Math.min(ids.length - 1, Math.max(0, at + steps[event.key]))];
    select(next);
    show(next);
  } else if (event.key === "Enter" && !event.target.closest(".ack")) {
    event.preventDefault();
    document.querySelector("#detail [data-do=ack]")?.focus();
  }
}

function show(id) {
  const item = items.find((one) => one.id === id);
  const box = $("rows");
  if (!item) return;
  if (item.top < box.scrollTop + GROUP_PX) box.scrollTop = item.top - GROUP_PX;
  else if (item.top + rowPx > box.scrollTop + box.clientHeight) box.scrollTop = item.top + rowPx - box.clientHeight;
}

/** Take the list into view: from the search field or the skip link. */
export function focus() {
  $("rows").focus();
}

export function draw(kinds) {
  if (kinds.has("alarms") || kinds.has("order") || kinds.has("words")) order();
  if (["alarms", "order", "selected", "link", "words"].some((kind) => kinds.has(kind))) lay();
  if (kinds.has("age")) {
    if (over && performance.now() - moved > STILL_MS && waitingOrder()) order(), lay();
    const now = store.nowUs();
    for (const [id, row] of rows) {
      const alarm = store.state.alarms.get(id);
      if (alarm) text(row.querySelector(".age"), age(now - alarm.measured_at_us));
    }
  }
}

const isStill = () => over && performance.now() - moved < STILL_MS;
const waitingOrder = () => [...store.state.alarms.keys()].some((id) => !ordered.has(id));

function order() {
  const { alarms, needle } = store.state;
  const all = [...alarms.values()];
  text($("count"), needle ? t("list.shown", { n: count(all.filter((a) => matches(a, needle)).length) }) : t("list.open", { n: count(all.length) }));
  const fresh = all.filter((alarm) => !ordered.has(alarm.id));
  // Nothing moves under the pointer; a new fire is in the strip at once, and here too.
  if (isStill() && !fresh.some(isFire)) {
    $("held").hidden = fresh.length === 0;
    text($("held"), t("list.held", { n: fresh.length }));
    items = items.filter((item) => item.group || alarms.has(item.id));
    stack();
    return;
  }
  $("held").hidden = true;
  ordered = new Set(alarms.keys());
  const groups = Object.fromEntries(GROUPS.map((group) => [group, []]));
  for (const alarm of all) if (matches(alarm, needle)) groups[groupOf(alarm)].push(alarm);
  items = [];
  for (const group of GROUPS) {
    if (group !== "waiting" && groups[group].length === 0) continue;
    items.push({ group, n: groups[group].length });
    for (const alarm of groups[group].sort(before)) items.push({ id: alarm.id });
  }
  stack();
}

function stack() {
  height = 0;
  for (const item of items) {
    item.top = height;
    height += item.group ? GROUP_PX : rowPx;
  }
  $("rows").firstElementChild.style.height = `${height}px`;
  $("rows").setAttribute("aria-rowcount", items.length);
}

/** Put the rows that are in view where they belong; take away the others. */
function lay() {
  const box = $("rows");
  const from = box.scrollTop - 3 * rowPx;
  const to = box.scrollTop + box.clientHeight + 3 * rowPx;
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (items[middle].top < from) low = middle + 1;
    else high = middle;
  }
  const keep = new Set();
  const chosen = selected()?.id;
  for (let i = Math.max(0, low - 1); i < items.length && items[i].top < to; i += 1) {
    const item = items[i];
    const id = item.group ?? item.id;
    keep.add(id);
    let node = rows.get(id);
    if (!node) {
      node = item.group ? groupRow() : alarmRow(id);
      rows.set(id, node);
      box.firstElementChild.append(node);
    }
    node.style.transform = `translateY(${item.top}px)`;
    node.setAttribute("aria-rowindex", i + 1);
    if (item.group) drawGroup(node, item);
    else drawRow(node, store.state.alarms.get(id), id === chosen);
  }
  for (const [id, node] of rows) {
    if (keep.has(id)) continue;
    node.remove();
    rows.delete(id);
  }
}

/** Ids of the alarms whose rows are in view. */
export function inView() {
  const { scrollTop, clientHeight } = $("rows");
  return items.filter((item) => item.id && item.top < scrollTop + clientHeight && item.top + rowPx > scrollTop).map((item) => item.id);
}

function groupRow() {
  return h("div", { class: "group", role: "row", "aria-level": 1 }, h("b", { role: "gridcell" }), h("b", "num"), h("span", "meta"));
}

function drawGroup(node, { group, n }) {
  text(node.children[0], t(`group.${group}`));
  text(node.children[1], count(n));
  text(node.children[2], t(`group.${group}_hint`));
}

function alarmRow(id) {
  const cell = (cls) => h("span", { class: cls, role: "gridcell" });
  return h("div", { class: "row", role: "row", "aria-level": 2, "data-id": id },
    h("span", "edge"), h("span", "k"), cell("kind"), cell("where cut"), cell("pid code cut"), cell("why cut"),
    cell("age num"), h("time", { class: "at num", role: "gridcell" }), cell("who num"));
}

function drawRow(node, alarm, chosen) {
  if (!alarm) return;
  const group = groupOf(alarm);
  const sending = store.state.sending.has(alarm.id);
  const state = { waiting: " waits", hand: "", reset: " latched" }[group];
  const css = `row ${colour(alarm)}${state}${alarm.stale ? " stale" : ""}${alarm.test ? " is-test" : ""}${chosen ? " sel" : ""}`;
  if (node.className !== css) node.className = css;
  node.setAttribute("aria-selected", chosen);
  const key = `${alarm.version} ${alarm.recorded} ${sending} ${store.isLost()} ${document.documentElement.lang}`;
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  const [, k, kind, where, pid, reason, old, at, who] = node.children;
  fill(k, icon(alarm.test ? "test" : alarm.cls, "k"));
  fill(kind, t(`class.${alarm.cls}`), isWaiting(alarm) && h("small", "", ` ${t("tag.new")}`));
  const [big, rest] = place(alarm);
  fill(where, h("b", "", big), h("span", "", rest));
  text(pid, subject(alarm));
  fill(reason, tags(alarm).map(([tag, words]) => [h("span", `tag ${tag}`, words), " "]), why(alarm));
  const now = store.nowUs();
  text(old, age(now - alarm.measured_at_us));
  text(at, clock(alarm.measured_at_us, now));
  at.dateTime = iso(alarm.measured_at_us);
  const learned = alarm.received_at_us - alarm.measured_at_us;
  at.title = learned > LEARNED_US ? t("strip.learned", { ago: age(learned), at: clock(alarm.received_at_us, now) }) : "";
  if (group === "waiting" && act.mayAcknowledge()) {
    fill(who, h("button", { class: "ack", type: "button", tabindex: -1, disabled: sending || store.isLost() }, t(sending ? "act.sending" : "act.acknowledge")));
  } else text(who, alarm.acknowledged_by || "–");
}
