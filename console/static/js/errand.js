// Work that the server does beside everything else: asked for, looked at until it is answered, given up on leaving.

import { NotDone, ask, leave } from "./act.js";

const LOOK_MS = 1000;
const LOSS = 5; // so many answers in a row may be lost

export class Errand {
  /** `runs`: where its tickets are looked at. */
  constructor(runs) {
    this.runs = runs;
    this.ticket = null;
    this.progress = null;
    this.cancelled = false;
  }

  /** Ask, and look until there is an answer: looking keeps it going. Null when it was cancelled. */
  async ask(path, body, looked) {
    const { ticket } = await ask(path, body);
    this.ticket = ticket;
    if (this.cancelled) await this.cancel();
    let missed = 0;
    for (let wait_ms = LOOK_MS / 4; !this.cancelled; wait_ms = LOOK_MS) {
      await new Promise((done) => setTimeout(done, wait_ms));
      try {
        const told = await ask(`${this.runs}/${ticket}`);
        missed = 0;
        this.progress = told.progress;
        if (told.report !== null) return told.report;
      } catch (error) {
        if (this.cancelled) return null;
        if (!(error instanceof NotDone) || error.code !== "no_answer" || ++missed > LOSS) throw error;
      }
      looked();
    }
    return null;
  }

  async cancel() {
    this.cancelled = true; // also while the ticket is still on its way
    if (this.ticket) await ask(`${this.runs}/${this.ticket}/cancel`, {}).catch(() => null);
  }

  /** The page goes away: give it up, waiting for nothing. */
  leave() {
    if (this.ticket) leave(`${this.runs}/${this.ticket}/cancel`);
  }
}
