// What an alarm means to an officer: class, group, order, place and reason. No state, no page.

import { NONE, measure } from "./time.js";
import { either, t } from "./words.js";

/** Class to CSS colour; the order is the order of work. */
export const CLASSES = {
  fire: "fire", prealarm: "pre", supervisory: "sup", fault: "fault", disablement: "off", technical: "dark", security: "dark",
};
const ORDER = Object.fromEntries(Object.keys(CLASSES).map((cls, i) => [cls, i]));
export const GROUPS = ["waiting", "hand", "reset"];

export const isWaiting = (alarm) => alarm.state.endsWith("unacknowledged");
export const isFire = (alarm) => alarm.cls === "fire";
export const isTest = (alarm) => alarm.test;

export function groupOf(alarm) {
  if (isWaiting(alarm)) return "waiting";
  return alarm.active ? "hand" : "reset";
}

/** Class, then newest; what is a test comes last in its group. */
export function before(a, b) {
  return (a.test ? 1 : 0) - (b.test ? 1 : 0) || (ORDER[a.cls] ?? 9) - (ORDER[b.cls] ?? 9)
    || b.measured_at_us - a.measured_at_us || (a.id < b.id ? -1 : 1);
}

/** Fires waiting, the one for the strip first: real before test, then newest. */
export function firesWaiting(alarms) {
  return alarms.filter((a) => isFire(a) && isWaiting(a)).sort(before);
}

/** An unregistered point is `gateway/name`, a gateway itself `gateway/`, a zone `/unit/building/zone`: no history. */
export const isRegistered = (alarm) => !alarm.point.includes("/");
export const isZone = (alarm) => alarm.point.startsWith("/");

/** What raised it, as short as it can be told. */
export const subject = (alarm) => (isZone(alarm) ? alarm.zone : alarm.point || alarm.name || "");

export const colour = (alarm) => `c-${CLASSES[alarm.cls] ?? "dark"}`;

/** Big to small: [what is bold, the rest]. An unregistered point is named by gateway and raw name. */
export function place(alarm) {
  const big = alarm.building || alarm.unit || alarm.gateway || NONE;
  if (isZone(alarm)) return [big, [t("detail.zone", { zone: alarm.zone }), alarm.place].filter(Boolean).join(" / ")];
  return [big, alarm.place || alarm.zone || alarm.name || ""];
}
export const placeText = (alarm) => place(alarm).filter(Boolean).join(" / ");

export const reasonText = (reason) => either(reason.text_zh, reason.text_en) || reason.key || "";

/** All reasons in one line; without any, value and limit. */
export function why(alarm) {
  const said = (alarm.reasons || []).map(reasonText).filter(Boolean).join(" · ");
  if (said) return said;
  if (alarm.value === null || alarm.value === undefined) return t("detail.no_reason");
  const limit = alarm.limit === null || alarm.limit === undefined ? "" : `, ${t("detail.limit", { limit: measure(alarm.limit, alarm.uom) })}`;
  return measure(alarm.value, alarm.uom) + limit;
}

export function tags(alarm) {
  const found = [];
  if (alarm.level) found.push(alarm.level);
  if (alarm.linkage) found.push("linkage");
  if (alarm.test) found.push("test");
  if (alarm.stale) found.push("stale");
  if (alarm.unknown) found.push("unknown");
  if (alarm.inhibited) found.push(alarm.inhibited);
  if (alarm.late) found.push("late");
  if (alarm.recorded === false) found.push("unrecorded");
  if (isWaiting(alarm) && !alarm.active) found.push("restored");
  return found.map((key) => [key, t(`tag.${key}`)])
    .concat(alarm.folded > 0 ? [["folded", t("tag.folded", { n: alarm.folded })]] : [])
    .concat(alarm.count > 1 ? [["times", t("tag.times", { n: alarm.count })]] : []);
}

/** Whether an alarm matches what was typed; a waiting or open fire always does. */
export function matches(alarm, needle) {
  if (!needle || isFire(alarm)) return true;
  return [alarm.building, alarm.unit, alarm.place, alarm.zone, alarm.point, alarm.name, alarm.gateway]
    .some((part) => part && part.toLowerCase().includes(needle));
}

export function nextStep(alarm, mayAcknowledge) {
  if (!mayAcknowledge) return t("next.not_allowed");
  const group = groupOf(alarm);
  if (group === "waiting" && alarm.level) return t(`next.${alarm.level}`);
  if (group === "waiting") return t(isFire(alarm) ? "next.fire" : "next.other");
  return t(group === "hand" ? "next.hand" : "next.reset");
}
