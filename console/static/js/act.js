// What a person does. Nothing is shown as done before the server has said so.

import { placeText } from "./alarms.js";
import * as store from "./store.js";
import { t } from "./words.js";

const ANSWER_MS = 6000;
const DONE_S = 15; // how long it is said that something was done
const FIRE_MS = 14000; // a gateway answers, not the core
const KNOWN = new Set(["stale", "forbidden", "unknown", "unavailable", "invalid", "signed_out"]);

export class NotDone extends Error {
  constructor(code, text = "") {
    super(code);
    this.code = code;
    this.text = text; // the server's own words, English
    this.why = t(`why.${KNOWN.has(code) ? code : "no_answer"}`);
  }
}

export async function ask(path, body, wait_ms = ANSWER_MS) {
  let answer;
  try {
    answer = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers: body === undefined ? {} : { "content-type": "application/json", "x-fengsui-token": store.me.token },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(wait_ms),
    });
    if (answer.ok) return await answer.json();
  } catch {
    throw new NotDone("no_answer");
  }
  const told = await answer.json().catch(() => ({}));
  throw new NotDone(told.code ?? "no_answer", told.detail);
}

/** Tell the server something while the page goes away; nobody waits for an answer. */
export function leave(path) {
  fetch(path, { method: "POST", keepalive: true, body: "{}", headers: { "content-type": "application/json", "x-fengsui-token": store.me.token } }).catch(() => null);
}

export const mayAcknowledge = () => store.me.may.has("acknowledge");

export const acknowledge = (alarm) => step(alarm, "acknowledge");
export const reset = (alarm) => step(alarm, "reset");

/** Move an alarm on as the version that is on the screen; what had no answer is listed as not done. */
async function step(alarm, action) {
  const { sending } = store.state;
  if (!alarm || sending.has(alarm.id) || store.isLost() || !store.me.may.has(action)) return;
  sending.add(alarm.id);
  store.touch("alarms");
  try {
    await ask(`/api/v1/alarms/${encodeURIComponent(alarm.id)}/${action}`, { version: alarm.version });
    store.dismiss(`${action} ${alarm.id}`);
  } catch (error) {
    store.note(t("notice.not_done", { act: t(`act.${action}`), place: placeText(alarm), why: error.why }), `${action} ${alarm.id}`);
  } finally {
    sending.delete(alarm.id);
    store.touch("alarms");
  }
}

export async function startFire() {
  if (store.isLost()) return;
  try {
    await ask("/api/v1/lab/fire", {}, FIRE_MS);
    store.note(t("lab.started"), "fire", DONE_S);
  } catch (error) {
    store.note(t("notice.fire_not_done", { why: error.why }), "fire");
  }
}

export async function signOut() {
  await ask("/sign-out", {}).catch(() => null);
  location.assign("/sign-in");
}
