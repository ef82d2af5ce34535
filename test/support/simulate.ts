import type { BatchCost, GeneratorCost } from '../../lib/plan/costs.ts';
import type { Lengths } from '../../lib/plan/queue.ts';

/** Random numbers from 0 to below 1, the same for the same seed (mulberry32). */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const quantile = (sorted: Float64Array, q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;

export interface Simulated {
  readonly arrivals: Float64Array;
  readonly departures: Float64Array;
  readonly p50: number;
  readonly p99: number;
}

function simulated(arrivals: Float64Array, departures: Float64Array): Simulated {
  const stays = departures.map((at, i) => at - (arrivals[i] ?? 0)).sort();
  return { arrivals, departures, p50: quantile(stays, 0.5), p99: quantile(stays, 0.99) };
}

/** Times of Poisson arrivals in milliseconds; `rate` is per millisecond. */
export function poissonArrivals(rate: number, count: number, next: () => number): Float64Array {
  let now = 0;
  return Float64Array.from({ length: count }, () => (now += -Math.log(1 - next()) / rate));
}

/** A model that runs the waiting requests, up to a batch, whenever it is idle; simulated by events. */
export function simulateBatches(
  cost: BatchCost,
  maxBatch: number,
  arrivals: Float64Array,
): Simulated {
  const departures = new Float64Array(arrivals.length);
  let free = 0;
  let at = 0;
  while (at < arrivals.length) {
    const start = Math.max(free, arrivals[at] ?? 0);
    let size = 0;
    while (size < maxBatch && at + size < arrivals.length && (arrivals[at + size] ?? 0) <= start)
      size += 1;
    free = start + cost.fixedMs + cost.itemMs * size;
    departures.fill(free, at, at + size);
    at += size;
  }
  return simulated(arrivals, departures);
}

/** A decoder that admits requests between steps: a prefill for each new one, then a step for all. */
export function simulateDecoding(
  cost: GeneratorCost,
  tokens: Lengths,
  maxBatch: number,
  arrivals: Float64Array,
  next: () => number,
): Simulated {
  const departures = new Float64Array(arrivals.length);
  const batch: { index: number; left: number }[] = [];
  let now = 0;
  let at = 0;
  while (at < arrivals.length || batch.length > 0) {
    if (batch.length === 0) now = Math.max(now, arrivals[at] ?? 0);
    while (batch.length < maxBatch && at < arrivals.length && (arrivals[at] ?? 0) <= now) {
      const normal = Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
      const length = Math.round(tokens.mean + normal * tokens.deviation);
      batch.push({ index: at, left: Math.min(tokens.most, Math.max(1, length)) });
      now += cost.prefillMs;
      at += 1;
    }
    now += cost.stepFixedMs + batch.length * cost.stepRowMs;
    for (let i = batch.length - 1; i >= 0; i -= 1) {
      const report = batch[i];
      if (!report) continue;
      report.left -= 1;
      if (report.left > 0) continue;
      departures[report.index] = now;
      batch.splice(i, 1);
    }
  }
  return simulated(arrivals, departures);
}
