// Numbers and times as an officer reads them. Stamps are microseconds since 1970 UTC.

import { t } from "./words.js";

const two = (n) => String(n).padStart(2, "0");
export const NONE = "–";

/** 24 h with seconds, local; of another day (by `nowUs`), date, hour and minute. */
export function clock(us, nowUs) {
  if (us === null || us === undefined) return NONE;
  const at = new Date(us / 1000);
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  if (nowUs === undefined || new Date(nowUs / 1000).toDateString() === at.toDateString()) return time;
  return `${two(at.getMonth() + 1)}-${two(at.getDate())} ${time.slice(0, 5)}`;
}

/** mm:ss under an hour, from then on with units, so that 2:41 is never read two ways. */
export function age(us) {
  if (us === null || us === undefined || !Number.isFinite(us)) return NONE;
  const s = Math.max(0, Math.floor(us / 1e6));
  if (s < 3600) return `${two(Math.floor(s / 60))}:${two(s % 60)}`;
  if (s < 86400) return t("age.h", { h: Math.floor(s / 3600), m: two(Math.floor((s % 3600) / 60)) });
  return t("age.d", { d: Math.floor(s / 86400), h: two(Math.floor((s % 86400) / 3600)) });
}

/** A short time with its unit: 0.31 s, 38 s, 04:10. */
export function took(us) {
  if (us === null || us === undefined || us < 0) return NONE;
  const s = us / 1e6;
  return s < 60 ? `${s < 10 ? s.toFixed(2) : s.toFixed(0)} s` : age(us);
}

export const count = (n) => (n === null || n === undefined ? NONE : Math.round(n).toLocaleString("en-US"));

const UOM = { degC: "°C", Cel: "°C", percent: "%", MPa: "MPa" };
export const uomText = (uom) => UOM[uom] ?? uom ?? "";

/** Value, narrow space, unit; an unknown value is a dash, never 0. */
export function measure(value, uom) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  const size = Math.abs(value);
  const digits = Number.isInteger(value) && size >= 10 ? 0 : size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 1 : 2;
  return `${value.toFixed(digits)}\u202f${uomText(uom)}`.trim();
}

/** An ISO stamp for <time datetime>. */
export const iso = (us) => (us ? new Date(us / 1000).toISOString() : "");
