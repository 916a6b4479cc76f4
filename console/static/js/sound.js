// Sound by Web Audio, scheduled on the audio clock: a hidden tab's timers are throttled, its audio is not.
// Only the highest waiting class sounds. Acknowledge ends an alarm's sound; silence lasts 120 s at most and
// a new fire starts again.

import { isWaiting } from "./alarms.js";
import * as store from "./store.js";
import { clock } from "./time.js";

const SILENCE_US = 120e6;
// Each tone: [starts at s, lasts s, from Hz, to Hz]; `again(n, waited)` is the gap before the next, s, or null.
const PATTERNS = {
  fire: {
    tones: [0, 1, 2, 3].flatMap((n) => [[n * 1.2, 0.6, 480, 960], [n * 1.2 + 0.6, 0.6, 960, 480]]),
    level: 1, again: (_n, waited) => (waited > 30 ? 0.4 : 1.2),
  },
  prealarm: { tones: [0, 1, 2].map((n) => [n * 0.3, 0.15, 700, 700]), level: 0.7, again: (n) => (n < 6 ? 10 : 60) },
  supervisory: { tones: [[0, 0.25, 520, 520], [0.3, 0.25, 415, 415]], level: 0.55, again: () => 60 },
  fault: { tones: [[0, 0.4, 330, 330], [0.4, 0.4, 262, 262]], level: 0.45, again: (n) => [60, 240, null][Math.min(n, 2)] },
  lost: { tones: [[0, 0.08, 180, 180], [0.16, 0.08, 180, 180]], level: 0.8, again: () => 1.8 },
};
const ORDER = ["fire", "prealarm", "supervisory", "fault"];

let audio = null;
let wave = null;
let leads = !navigator.locks;
let playing = null; // {name, nodes, n, since}
let silenced = { until_us: 0, ids: new Set() };
export const state = { tested_us: null };

export function init() {
  // One tab of a desk sounds: whoever holds the lock, until it closes.
  navigator.locks?.request("fengsui-sound", () => {
    leads = true;
    store.touch("sound");
    return new Promise(() => {});
  });
  try {
    open(); // allowed at once where the person has already acted on this site
  } catch {
    audio = null;
  }
}

function open() {
  audio ??= new AudioContext();
  // Five harmonics: a bare sine is hard to locate and easily masked.
  wave ??= audio.createPeriodicWave(new Float32Array(6), new Float32Array([0, 1, 0.6, 0.5, 0.35, 0.25]));
  audio.onstatechange = () => store.touch("sound");
}

/** The gesture that lets a browser sound: opens the audio and plays one sweep of the fire's wail. */
export async function test() {
  open();
  await audio.resume();
  state.tested_us = store.nowUs();
  stop();
  playing = { name: "test", nodes: play(PATTERNS.fire.tones.slice(0, 2), 1, 0.2, () => { playing = null; follow(); }), n: 0 };
  store.touch("sound");
}

/** "ok", "other" (another tab sounds) or "none". */
export function health() {
  if (!leads) return "other";
  return audio?.state === "running" && state.tested_us !== null ? "ok" : "none";
}

export const testedAt = () => clock(state.tested_us, store.nowUs());
export const silencedFor = () => Math.max(0, Math.ceil((silenced.until_us - store.nowUs()) / 1e6));

export function silence() {
  silenced = {
    until_us: store.nowUs() + SILENCE_US,
    ids: new Set([...store.state.alarms.values()].filter(isWaiting).map((alarm) => alarm.id)),
    lost: store.isLost(),
  };
  follow();
  store.touch("sound");
}

function wanted() {
  const quiet = store.nowUs() < silenced.until_us;
  const waiting = [...store.state.alarms.values()].filter((a) => isWaiting(a) && !a.silent && !a.silenced && !a.inhibited && !(quiet && silenced.ids.has(a.id)));
  const cls = ORDER.find((one) => waiting.some((alarm) => alarm.cls === one));
  if (cls === "fire") return cls;
  if (store.isLost() && !(quiet && silenced.lost)) return "lost";
  return cls ?? null;
}

/** Start, keep or stop what sounds; called when alarms, link or silence change. */
export function follow() {
  if (playing?.name === "test") return;
  const name = leads && audio?.state === "running" ? wanted() : null;
  if (playing?.name === name) return;
  stop();
  if (name) {
    playing = { name, n: 0, since: audio.currentTime, nodes: [] };
    round(playing);
  }
}

function round(mine) {
  const { tones, level, again } = PATTERNS[mine.name];
  const gap = again(mine.n, audio.currentTime - mine.since);
  mine.n += 1;
  mine.nodes = play(tones, level, gap ?? 3600, () => {
    if (playing === mine && gap !== null) round(mine);
  });
}

/** Play tones once; `done` is called by the audio clock after the last tone and `gap_s`. */
function play(tones, level, gap_s, done) {
  const start = audio.currentTime + 0.03;
  const nodes = tones.map(([at, lasts, from, to]) => {
    const tone = audio.createOscillator();
    const gain = audio.createGain();
    tone.setPeriodicWave(wave);
    tone.frequency.setValueAtTime(from, start + at);
    tone.frequency.linearRampToValueAtTime(to, start + at + lasts);
    gain.gain.setValueAtTime(0, start + at);
    gain.gain.linearRampToValueAtTime(level * 0.5, start + at + 0.015);
    gain.gain.setValueAtTime(level * 0.5, start + at + lasts - 0.015);
    gain.gain.linearRampToValueAtTime(0, start + at + lasts);
    tone.connect(gain).connect(audio.destination);
    tone.start(start + at);
    tone.stop(start + at + lasts);
    return tone;
  });
  const timer = audio.createConstantSource();
  const last = tones[tones.length - 1];
  const mute = audio.createGain();
  mute.gain.value = 0;
  timer.connect(mute).connect(audio.destination);
  timer.onended = done;
  timer.start(start);
  timer.stop(start + last[0] + last[1] + gap_s);
  return [...nodes, timer];
}

function stop() {
  for (const node of playing?.nodes ?? []) {
    node.onended = null;
    try {
      node.stop();
    } catch {
      // not started yet: nothing to stop
    }
    node.disconnect();
  }
  playing = null;
}

/** What sounds now, for the page and its tests. */
export const sounding = () => playing?.name ?? null;
