import { setTimeout as sleep } from 'node:timers/promises';

/** What a number of callers saw who each ask again as soon as they have their answer. */
export interface Measured<T> {
  readonly answers: readonly T[];
  /** Sorted. */
  readonly latenciesMs: readonly number[];
  readonly perSecond: number;
  readonly failures: number;
}

/** Asks with so many calls in flight for `durationMs`, after each caller had one answer. */
export async function underLoad<T>(
  inFlight: number,
  durationMs: number,
  ask: () => Promise<T>,
): Promise<Measured<T>> {
  await Promise.all(Array.from({ length: Math.min(4, inFlight) }, ask));
  const answers: T[] = [];
  const latenciesMs: number[] = [];
  let failures = 0;
  const startMs = performance.now();
  const caller = async (): Promise<void> => {
    while (performance.now() - startMs < durationMs) {
      const askedMs = performance.now();
      try {
        answers.push(await ask());
        latenciesMs.push(performance.now() - askedMs);
      } catch {
        failures += 1;
        await sleep(50);
      }
    }
  };
  await Promise.all(Array.from({ length: inFlight }, caller));
  const seconds = (performance.now() - startMs) / 1000;
  return {
    answers,
    latenciesMs: latenciesMs.sort((a, b) => a - b),
    perSecond: answers.length / seconds,
    failures,
  };
}

/**
 * Asks at an even rate for `durationMs`, however long answers take; a latency counts from when its
 * request was due, so that what is late to be sent is not forgotten.
 */
export async function atRate<T>(
  perSecond: number,
  durationMs: number,
  ask: () => Promise<T>,
): Promise<Omit<Measured<T>, 'perSecond'>> {
  const answers: T[] = [];
  const latenciesMs: number[] = [];
  let failures = 0;
  const startMs = performance.now();
  const count = Math.max(1, Math.floor((durationMs / 1000) * perSecond));
  const asked = Array.from({ length: count }, async (_, index) => {
    const dueMs = startMs + (index * 1000) / perSecond;
    await sleep(Math.max(0, dueMs - performance.now()));
    try {
      answers.push(await ask());
      latenciesMs.push(performance.now() - dueMs);
    } catch {
      failures += 1;
    }
  });
  await Promise.all(asked);
  return { answers, latenciesMs: latenciesMs.sort((a, b) => a - b), failures };
}

/** Of sorted values; `share` 0.5 is the median. */
export const percentile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
