import { setTimeout as sleep } from 'node:timers/promises';
import { type RunDatabase, type RunEvent, hasEnded } from './database.ts';

/** How often the database is read for new events. */
const pollMs = 250;

/**
 * The events of a run after a given one, past ones and new ones, until the run has ended and its last
 * event was given. Throws RUN_NOT_FOUND, and the signal's reason.
 */
export async function* followEvents(
  database: RunDatabase,
  id: string,
  after: number,
  signal?: AbortSignal,
): AsyncGenerator<RunEvent> {
  let last = after;
  for (;;) {
    // Before the events: what comes after this reading is read in the next turn.
    const { state } = database.get(id);
    const events = database.events(id, last);
    for (const event of events) {
      yield event;
      last = event.sequence;
    }
    if (events.length > 0) continue;
    if (hasEnded(state)) return;
    // The timer's own error would hide the reason.
    await sleep(pollMs, undefined, { signal }).catch(() => signal?.throwIfAborted());
  }
}
