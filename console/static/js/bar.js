// The bar, the banner of a lost connection, the tallies and the foot: the same on every screen.

import * as act from "./act.js";
import { colour, isFire, isWaiting } from "./alarms.js";
import { $, fill, h, icon, text } from "./dom.js";
import * as sound from "./sound.js";
import * as store from "./store.js";
import { age, clock, count, iso } from "./time.js";
import { currentLanguage, either, loadWords, t } from "./words.js";

const root = document.documentElement;
const TALLIES = ["fire", "prealarm", "supervisory", "fault", "disablement"];
const RARE = ["technical", "security"];
const LOAD_US = 600e6;

export function init(redraw) {
  $("sound").onclick = () => sound.test();
  $("theme").onclick = () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    document.cookie = `fengsui_theme=${root.dataset.theme};path=/;max-age=31536000;samesite=lax`;
    redraw();
  };
  $("language").onclick = async () => {
    await loadWords(currentLanguage() === "en" ? "zh" : "en");
    redraw();
  };
  $("sign-out").onclick = () => act.signOut();
  $("start-fire").onclick = () => act.startFire();
}

export function draw(kinds) {
  const { state } = store;
  root.dataset.state = state.link.state;
  if (kinds.has("link") || kinds.has("age")) drawLink();
  if (kinds.has("sound") || kinds.has("age")) drawSound();
  if (kinds.has("alarms") || kinds.has("status") || kinds.has("age")) drawTallies();
  if (kinds.has("status") || kinds.has("link")) {
    drawFoot();
    const simulated = state.status?.server?.simulated === true && store.me.may.has("simulate");
    $("start-fire").hidden = !simulated;
    $("start-fire").disabled = store.isLost();
    $("start-fire").title = t("lab.start_fire_hint");
  }
  if (kinds.has("words")) {
    text($("theme"), t(root.dataset.theme === "dark" ? "choose.light" : "choose.dark"));
    document.title = `${t("name")} · ${t(`screen.${state.screen}`)}`;
  }
  const now = store.nowUs();
  const [time, date] = $("clock").children;
  text(time, clock(now));
  text(date, new Date(now / 1000).toLocaleDateString(root.lang, { month: "short", day: "numeric", weekday: "short" }));
}

function drawLink() {
  const { link } = store.state;
  const node = $("link");
  const bad = link.state !== "live";
  node.className = bad ? "fact bad" : "fact";
  text(node.querySelector(".word"), t(`link.${link.state}`));
  text(node.querySelector("b"), link.state === "lost" ? "" : `${link.age_s.toFixed(1)} s`);
  const name = link.state === "lost" ? "cut" : "link";
  if (node.dataset.icon !== name) {
    node.dataset.icon = name;
    node.firstElementChild.replaceWith(icon(name));
  }
  drawLost(link);
}

function drawLost(link) {
  const banner = $("lost");
  const lost = link.state === "lost";
  if (banner.hidden !== !lost || banner.dataset.why !== link.why || banner.dataset.lang !== root.lang) {
    banner.hidden = !lost;
    banner.dataset.why = link.why;
    banner.dataset.lang = root.lang;
    const at = clock(link.since_us, store.nowUs());
    const { standby } = store.me;
    const title = link.why === "signed_out" ? t("lost.signed_out") : t(link.why === "core" ? "lost.core" : "lost.title", { at });
    fill(banner, lost && [
      icon("cut"),
      h("div", "", h("h2", "", title), h("p", "", standby ? t("lost.standby", { standby }) : t("lost.what"),
        link.why === "signed_out" && h("a", { class: "btn main", href: "/sign-in" }, t("lost.sign_in")))),
      h("span", "watch num"),
    ]);
  }
  if (lost) text(banner.querySelector(".watch"), age(store.nowUs() - link.since_us));
}

function drawSound() {
  const node = $("sound");
  const health = sound.health();
  const left = sound.silencedFor();
  const words = left > 0 && health === "ok" ? t("sound.silenced", { left }) : t(`sound.${health}`, { at: sound.testedAt() });
  const key = `${health}${left > 0}`;
  if (node.dataset.key !== key) {
    node.dataset.key = key;
    node.className = health === "none" ? "fact bad" : "fact act";
    node.firstElementChild.replaceWith(icon(health === "ok" && left === 0 ? "sound" : "mute"));
  }
  text(node.lastElementChild, words);
  node.title = t("sound.test");
}

function drawTallies() {
  const alarms = [...store.state.alarms.values()];
  const now = store.nowUs();
  const silent = (store.state.status?.gateways ?? []).reduce((sum, gateway) => sum + (gateway.silent ?? 0), 0);
  const real = alarms.filter((alarm) => !alarm.test);
  const rows = [...TALLIES, ...RARE].map((cls) => {
    const of = (isFire({ cls }) ? alarms : real).filter((alarm) => alarm.cls === cls);
    return { cls, css: colour({ cls }), n: of.length, wait: of.filter(isWaiting).length };
  }).filter((row) => row.n > 0 || !RARE.includes(row.cls));
  const tests = alarms.filter((alarm) => alarm.test);
  rows.push({ cls: "silent", css: "c-dark", n: silent, wait: 0 }, { cls: "test", css: "c-test", n: tests.length, wait: 0 });
  const load = alarms.filter((alarm) => now - (alarm.detected_at_us ?? alarm.measured_at_us) < LOAD_US).length;
  const key = JSON.stringify([rows, load, root.lang]);
  const node = $("tally");
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  fill(node,
    rows.map(({ cls, css, n, wait }) => h("span", `${css}${n ? "" : " zero"}`, icon(cls), h("span", "", t(`class.${cls}`)),
      h("b", "num", count(n)), wait > 0 && h("span", "wait num", t("tally.wait", { n: wait })))),
    h("span", "load", h("span", "meta", t("tally.load")),
      h("span", "cells", Array.from({ length: 10 }, (_, i) => h("i", i < load ? "on" : ""))),
      h("b", "num", count(load)), h("span", "meta", t("tally.storm"))));
}

export const residueOf = (status) => [...(status?.gateways ?? []), ...(status?.store_balance ?? [])]
  .reduce((sum, row) => sum + Math.abs(row.residue ?? 0), 0);

export function waitingAtGateways(status) {
  return (status?.gateways ?? []).flatMap((gateway) => Object.values(gateway.lanes ?? {}))
    .reduce((sum, lane) => sum + (lane.waiting ?? 0), 0);
}

function drawFoot() {
  const { status } = store.state;
  const gateways = status?.gateways ?? [];
  const silent = gateways.reduce((sum, gateway) => sum + (gateway.silent ?? 0), 0);
  const points = gateways.reduce((sum, gateway) => sum + (gateway.points ?? 0), 0);
  const residue = status ? residueOf(status) : null;
  const fact = (words, value, more) => h("span", "", h("span", "", words), h("b", "num", value), more && h("span", "", more));
  fill($("foot"),
    fact(t("foot.gateways"), status ? `${gateways.filter((gateway) => gateway.online).length} / ${gateways.length}` : "–"),
    fact(t("foot.points"), status ? count(points) : "–", silent > 0 && t("foot.silent", { n: silent })),
    h("span", residue ? "c-fault" : "", residue ? icon("broken") : null, h("span", "", t("foot.residue")), h("b", "num", count(residue))),
    fact(t("foot.waiting"), status ? count(waitingAtGateways(status)) : "–"),
    fact(t("foot.latency"), status?.latency?.p99_ms != null ? `${(status.latency.p99_ms / 1000).toFixed(2)} s` : "–"),
    (status?.server?.faults ?? []).slice(0, 1).map((fault) => h("span", "c-fault fault", icon("fault"),
      h("time", { datetime: iso(fault.since_us) }, clock(fault.since_us, store.nowUs())), h("b", "", either(fault.text_zh, fault.text_en)))),
    h("span", "end", t("foot.keys")));
}
