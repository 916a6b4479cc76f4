// The page starts here: words, store, socket; then everything is drawn from the store, once per frame.

import * as act from "./act.js";
import * as backtest from "./backtest.js";
import * as bar from "./bar.js";
import * as chart from "./chart.js";
import * as detail from "./detail.js";
import { $, fill, h, icon } from "./dom.js";
import * as gateways from "./gateways.js";
import * as lab from "./lab.js";
import * as list from "./list.js";
import * as live from "./live.js";
import * as seen from "./seen.js";
import * as sound from "./sound.js";
import * as store from "./store.js";
import * as strip from "./strip.js";
import { clock } from "./time.js";
import { loadWords, t } from "./words.js";

const SCREENS = ["desk", "gateways", "backtest", "lab"];
const EVERYTHING = ["alarms", "status", "link", "age", "selected", "readings", "sound", "notices", "order", "screen", "words"];

for (const node of document.querySelectorAll("i[data-icon]")) node.replaceWith(icon(node.dataset.icon));
await loadWords(document.documentElement.lang === "en" ? "en" : "zh");

function redraw() {
  store.touch(...EVERYTHING);
  chart.recolour();
}

function draw(kinds) {
  bar.draw(kinds);
  strip.draw(kinds);
  list.draw(kinds);
  detail.draw(kinds);
  gateways.draw(kinds);
  backtest.draw(kinds);
  lab.draw(kinds);
  if (kinds.has("age")) store.forget();
  if (kinds.has("notices")) drawNotices();
  if (kinds.has("alarms") || kinds.has("link") || kinds.has("age")) sound.follow();
  if (kinds.has("alarms")) store.painted();
  if (kinds.has("alarms") || kinds.has("age") || kinds.has("screen")) seen.report();
}

function drawNotices() {
  fill($("notices"), store.state.notices.map((one) => h("div", "notice", h("time", "num", clock(one.at_us)), h("b", "", one.text),
    h("button", { class: "plain", type: "button", onclick: () => store.dismiss(one.id) }, t("act.dismiss")))));
}

function go(screen, push = true) {
  store.state.screen = screen;
  document.body.dataset.screen = screen;
  for (const link of document.querySelectorAll(".nav a")) {
    if (link.dataset.to === screen) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (push) history.pushState({}, "", screen === "desk" ? "/" : `/${screen}`);
  redraw();
}

const inField = (event) => event.target.closest?.("input, textarea, select");

addEventListener("keydown", (event) => {
  if (event.key === "F2") act.acknowledge(strip.current());
  else if (event.key === "F4") {
    if (strip.current()) list.select(strip.current().id);
  } else if (event.key === "F8") sound.silence();
  else if (event.altKey && event.key === "1") go("desk");
  else if (event.altKey && event.key === "2") go("gateways");
  else if (event.altKey && event.key === "3" && store.me.may.has("backtest")) go("backtest");
  else if (event.altKey && event.key === "4" && store.me.may.has("backtest")) go("lab");
  else if (event.key === "/" && !inField(event)) $("find").focus();
  else if (event.key === "Escape" && inField(event)) list.focus();
  else if (["ArrowDown", "ArrowUp"].includes(event.key) && event.target === document.body) {
    list.focus();
    $("rows").dispatchEvent(new KeyboardEvent("keydown", { key: event.key }));
  } else return;
  event.preventDefault();
});
for (const link of document.querySelectorAll(".nav a")) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(link.dataset.to);
  });
}
addEventListener("popstate", () => go(SCREENS.find((screen) => location.pathname === `/${screen}`) ?? "desk", false));

bar.init(redraw);
strip.init();
list.init();
gateways.init();
backtest.init();
lab.init();
sound.init();
store.subscribe(draw);
store.state.seen.from_us = store.nowUs();
live.connect();
setInterval(live.tick, 1000);
redraw();
