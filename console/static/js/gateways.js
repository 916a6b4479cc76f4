// Gateways and conservation: do we lose anything. Also what nobody registered, and the dead letters.

import { ask } from "./act.js";
import { $, fill, h, icon } from "./dom.js";
import * as store from "./store.js";
import { NONE, age, clock, count, iso, measure } from "./time.js";
import { either, t } from "./words.js";

const AGAIN_MS = 5000;
const CLOCKS = ["synced", "unsynced", "corrected"]; // as numbered on the wire
const FIELDS = [["id", true], ["quantity", true], ["uom", false], ["unit", false], ["building", false], ["zone", false], ["place", false]];
let found = [];
let dead = [];
let open = null; // the discovered name whose form is open: {gateway, name}
let asked = -AGAIN_MS;
const mayRegister = () => store.me.may.has("register");
const mayReadDead = () => store.me.may.has("read_dead_letters");

export function init() {
  fill($("gateways"), h("div", "tables", h("section", { id: "server" }), h("section", { id: "wire" }), h("section", { id: "stored" })),
    (mayRegister() || mayReadDead()) && h("div", "side", mayRegister() && h("section", { id: "found" }), mayReadDead() && h("section", { id: "dead" })));
}

export function draw(kinds) {
  if (store.state.screen !== "gateways") return;
  if (kinds.has("status") || kinds.has("words") || kinds.has("screen")) drawTables();
  if (kinds.has("words") || kinds.has("screen")) drawSide();
  if (performance.now() - asked > AGAIN_MS && !store.isLost()) refresh();
}

async function refresh() {
  asked = performance.now();
  const [names, letters] = await Promise.allSettled([
    mayRegister() ? ask("/api/v1/discovered") : [],
    mayReadDead() ? ask("/api/v1/deadletters?limit=100") : [],
  ]);
  if (names.status === "fulfilled") found = names.value;
  if (letters.status === "fulfilled") dead = letters.value;
  drawSide();
}

const table = (heads, rows) => h("table", "grid", h("thead", "", h("tr", "", heads.map(([words, css]) => h("th", { class: css, scope: "col" }, words)))), h("tbody", "", rows));
const cell = (css, ...children) => h("td", css, ...children);
const number = (n) => cell("r num", count(n));
const quiet = (n) => cell(n ? "r num" : "r num none", count(n));

/** Residue is a shape and a word before it is a number. */
function residue(n) {
  return n ? cell("r num c-fault residue", icon("broken"), h("b", "", count(n))) : cell("r num none residue", icon("ok"), h("span", "", t("gw.residue_none")));
}

const many = (terms) => Object.values(terms ?? {}).reduce((sum, n) => sum + n, 0);
/** Missing numbers come as ranges [first, last]. */
const holes = (ranges) => (ranges ?? []).reduce((sum, [first, last]) => sum + last - first + 1, 0);
const each = (terms) => Object.entries(terms ?? {}).filter(([, n]) => n).map(([reason, n]) => `${reason} ${count(n)}`).join("\n");

function drawTables() {
  const { status } = store.state;
  const now = store.nowUs();
  const gateways = status?.gateways ?? [];
  const server = status?.server ?? {};
  fill($("server"), h("h2", "", t("gw.server"), " ", h("span", "meta num", server.started_at_us ? `${server.version ?? ""} · ${t("gw.started", { at: clock(server.started_at_us, now) })}` : "")),
    h("p", "states", [["watch.store", server.store], ["watch.database", server.database]].map(([words, of]) => of && h("span", of.state === "ok" ? "" : "c-fault",
      of.state === "ok" ? icon("ok") : icon("fault"), h("span", "", t(words)), h("b", "", t(`watch.state_${of.state}`)), of.text && h("span", "meta", of.text)))),
    (server.faults ?? []).map((fault) => h("p", "states", h("span", "c-fault", icon("fault"), h("time", { class: "num", datetime: iso(fault.since_us) }, clock(fault.since_us, now)), h("b", "", either(fault.text_zh, fault.text_en))))));

  const wire = gateways.flatMap((gateway) => {
    const lanes = Object.entries(gateway.lanes ?? {});
    const span = Math.max(1, lanes.length);
    const wide = (css, ...children) => h("td", { class: css, rowspan: span }, ...children);
    const first = [
      wide("name", h("b", "", gateway.gateway), (gateway.faults ?? []).map((fault) => h("div", "c-fault note", icon("fault"), h("span", "", typeof fault === "string" ? fault : either(fault.text_zh, fault.text_en))))),
      wide(gateway.online ? "" : "c-dark", icon(gateway.online ? "link" : "silent"), " ", h("span", "", t(gateway.online ? "gw.online" : "gw.offline"))),
      wide("r num", h("span", { "data-since": gateway.last_seen_us ?? "" }, gateway.last_seen_us ? age(now - gateway.last_seen_us) : NONE)),
    ];
    const last = [
      wide("r num", gateway.autonomy_h == null ? NONE : t("gw.hours", { n: Math.round(gateway.autonomy_h) })),
      wide("", gateway.clock == null ? NONE : t(`gw.clock_${CLOCKS[gateway.clock] ?? gateway.clock}`)),
      wide("r num", count(gateway.points)),
      wide(gateway.silent ? "r num c-dark" : "r num none", gateway.silent ? icon("silent") : null, " ", count(gateway.silent)),
    ];
    const rest = h("td", { class: gateway.residue ? "r num c-fault residue" : "r num none residue", rowspan: span }, gateway.residue ? [icon("broken"), h("b", "", count(gateway.residue))] : [icon("ok"), h("span", "", t("gw.residue_none"))]);
    const row = ([lane, terms]) => [cell("", t(`gw.${lane}`)), number(terms.next == null ? null : terms.next - 1), number(terms.upto), quiet(terms.waiting), quiet(terms.shed), quiet(terms.lost), quiet(holes(terms.missing)), cell("r num", terms.waiting && terms.oldest_age_ms != null ? age(terms.oldest_age_ms * 1000) : NONE)];
    const blank = Array.from({ length: 8 }, () => cell("r num none", NONE));
    return (lanes.length ? lanes : [null]).map((lane, i) => h("tr", i === 0 ? "first" : "", i === 0 && first, lane ? row(lane) : blank, i === 0 && [...last, rest]));
  });
  fill($("wire"), h("h2", "", t("gw.title"), " · ", t("gw.wire"), " ", h("span", "meta", t("gw.wire_note"))),
    gateways.length === 0 ? h("p", "meta empty", t("gw.no_gateways")) : table([
      [t("gw.name"), ""], [t("gw.link"), ""], [t("gw.last"), "r"], [t("gw.lane"), ""], [t("gw.next"), "r"], [t("gw.upto"), "r"], [t("gw.waiting"), "r"], [t("gw.shed"), "r"],
      [t("gw.lost"), "r"], [t("gw.missing"), "r"], [t("gw.oldest"), "r"], [t("gw.autonomy"), "r"], [t("gw.clock"), ""], [t("gw.points"), "r"], [t("gw.silent"), "r"], [t("gw.residue"), "r"]], wire));

  const balance = status?.store_balance ?? [];
  fill($("stored"), h("h2", "", t("gw.store"), " ", h("span", "meta", t("gw.store_note"))),
    balance.length === 0 ? h("p", "meta empty", t("gw.no_gateways")) : table([
      [t("gw.name"), ""], [t("gw.journalled"), "r"], [t("gw.stored"), "r"], [t("gw.duplicate"), "r"], [t("gw.dead"), "r"], [t("gw.shed"), "r"], [t("gw.store_waiting"), "r"], [t("gw.residue"), "r"]],
    balance.map((row) => h("tr", "first", cell("name", h("b", "", row.gateway)), number(row.journalled), number(row.stored), quiet(row.duplicate),
      h("td", { class: many(row.dead) ? "r num" : "r num none", title: each(row.dead) }, count(many(row.dead))), h("td", { class: many(row.shed) ? "r num" : "r num none", title: each(row.shed) }, count(many(row.shed))),
      quiet(row.waiting), residue(row.residue)))));
}

function drawSide() {
  const now = store.nowUs();
  if (mayRegister() && !document.activeElement?.closest("#found form")) {
    fill($("found"), h("h2", "", t("found.title"), " ", h("span", "meta num", t("found.note", { n: count(found.length) }))),
      found.length === 0 ? h("p", "meta empty", t("found.none")) : h("ul", "found", found.slice(0, 200).map((one) => h("li", "",
        h("b", "", one.name), h("span", "meta", one.gateway), h("span", "num value", measure(one.value, one.uom)),
        h("span", "meta num", `${t("found.seen", { n: count(one.count) })} · ${clock(one.at_us, now)}`),
        isOpen(one) ? form(one) : h("button", { class: "btn", type: "button", onclick: () => { open = one; drawSide(); $("found").querySelector("input")?.focus(); } }, t("act.accept"))))));
  }
  if (mayReadDead()) {
    fill($("dead"), h("h2", "", t("dead.title"), " ", h("span", "meta num", t("dead.note", { n: count(dead.length) }))),
      dead.length === 0 ? h("p", "meta empty", t("dead.none")) : table([[t("dead.at"), ""], [t("gw.name"), ""], [t("dead.reason"), ""], [t("dead.text"), ""]],
        dead.map((one) => h("tr", "first", cell("num", clock(one.at_us, now)), cell("name", one.gateway ?? NONE), cell("code", one.reason), cell("words", one.text ?? "")))));
  }
}

const isOpen = (one) => open !== null && open.gateway === one.gateway && open.name === one.name;

function form(one) {
  const close = () => { open = null; document.activeElement?.blur(); drawSide(); };
  const given = { id: one.name, quantity: one.quantity ?? "", uom: one.uom ?? "" };
  return h("form", {
    class: "accept",
    onsubmit: async (event) => {
      event.preventDefault();
      const what = Object.fromEntries(FIELDS.map(([key]) => [key, event.target.elements[key].value.trim()]));
      try {
        await ask("/api/v1/discovered/accept", { gateway: one.gateway, name: one.name, ...what });
        store.note(t("notice.accepted", { name: one.name, id: what.id }), null, 15);
        close();
        refresh();
      } catch (error) {
        store.note(t("notice.accept_not_done", { name: one.name, why: error.why }), `accept ${one.name}`);
      }
    },
  }, FIELDS.map(([key, required]) => h("label", "", h("span", "", t(`found.${key}`)), h("input", { name: key, value: given[key] ?? "", maxlength: key === "id" ? 64 : 80, required, pattern: key === "id" ? "[A-Za-z0-9_.:\\-]{1,64}" : null, autocomplete: "off", spellcheck: "false" }))),
  h("div", "acts", h("button", { class: "btn", type: "button", onclick: close }, t("act.cancel")), h("button", { class: "btn main", type: "submit" }, t("act.accept"))));
}
