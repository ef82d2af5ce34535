import { setTimeout as sleep } from 'node:timers/promises';

/**
 * How long a test waits for what must happen. It only limits how late a failure is reported: tests
 * wait for conditions, and a machine with much other work may take a hundred times as long as a quiet one.
 */
export const patienceMs = 300_000;

/** Waits until `holds` is true; rejects after `patienceMs`. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  what = 'the condition',
): Promise<void> {
  const endMs = performance.now() + patienceMs;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`${what} did not hold in ${patienceMs} ms`);
    await sleep(10);
  }
}

/**
 * Resolves when `count` no longer changes. What is under way when it is first read may still be
 * counted; a count that goes on for ever never resolves.
 */
export async function settled(count: () => Promise<number>): Promise<number> {
  for (let before = await count(); ;) {
    await sleep(400);
    const now = await count();
    if (now === before) return now;
    before = now;
  }
}

/**
 * Gets a page of a server that is up, over a connection of its own: one that was kept from an earlier
 * request may be closed by the server at the same moment, which fails the request.
 */
export const getPage = (url: string): Promise<Response> =>
  fetch(url, { headers: { connection: 'close' } });

/** Whether `url` answers with a status from 200 to 299; false where nothing listens. */
export async function isUp(url: string): Promise<boolean> {
  try {
    const response = await getPage(url);
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}
