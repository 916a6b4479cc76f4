// Reports which alarms are on this officer's screen, once each: the stamp "seen" in the alarm's record.

import { ask } from "./act.js";
import * as list from "./list.js";
import * as store from "./store.js";
import * as strip from "./strip.js";

const reported = new Set();

/** After a frame was drawn. A hidden page and a scrolled-away row show nobody anything. */
export function report() {
  const { alarms, screen } = store.state;
  if (document.hidden || store.isLost() || !store.me.may.has("handle")) return;
  for (const id of reported) if (!alarms.has(id)) reported.delete(id);
  const shown = [strip.current()?.id, ...(screen === "desk" ? list.inView() : [])];
  const fresh = [...new Set(shown)].filter((id) => alarms.has(id) && !reported.has(id) && !alarms.get(id).seen_at_us);
  if (fresh.length === 0) return;
  for (const id of fresh) reported.add(id);
  ask("/api/v1/alarms/seen", { alarms: fresh }).catch(() => {
    for (const id of fresh) reported.delete(id); // with the next frame
  });
}
