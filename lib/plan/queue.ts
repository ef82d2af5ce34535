import type { BatchCost, GeneratorCost } from './costs.ts';
import { Distribution } from './distribution.ts';

/** One replica of a stage under Poisson arrivals. */
interface Load {
  /** Arrivals per millisecond. */
  readonly rate: number;
  readonly maxBatch: number;
  readonly binMs: number;
}

export interface Answer {
  /** Share of the time in which the model is busy. */
  readonly busy: number;
  /** From arrival to answer. */
  readonly sojourn: Distribution;
}

const serviceMs = ({ fixedMs, itemMs }: BatchCost, size: number): number => fixedMs + itemMs * size;

/** The highest arrival rate, per millisecond, that a replica sustains. */
export const batchCapacity = (cost: BatchCost, maxBatch: number): number =>
  maxBatch / serviceMs(cost, maxBatch);

/** P(0), P(1), ... of a Poisson variable, as far as they matter. */
function poisson(mean: number, most: number): number[] {
  const weights: number[] = [];
  let log = -mean;
  for (let n = 0; n <= most; n += 1) {
    weights.push(Math.exp(log));
    log += Math.log(mean) - Math.log(n + 1);
    if (n > mean + 10 * Math.sqrt(mean) + 10) break;
  }
  return weights;
}

/**
 * A bulk-service queue, M/D(k)/1 with batches of up to `maxBatch`: an idle model starts a request at
 * once, a busy one takes all waiting requests when its run ends (Bailey 1954; Neuts 1967). The state is
 * the number of requests that wait when a run ends; its stationary distribution is found by iteration,
 * and the state that an arrival finds by the time spent in each state.
 */
export function batchQueue(cost: BatchCost, { rate, maxBatch, binMs }: Load): Answer {
  const states = Math.max(64, 8 * maxBatch);
  const sizeOf = (waiting: number) => Math.min(Math.max(waiting, 1), maxBatch);
  const arrivals = Array.from({ length: maxBatch + 1 }, (_, size) =>
    size === 0 ? [] : poisson(rate * serviceMs(cost, size), states),
  );
  let state = new Float64Array(states).fill(0);
  state[0] = 1;
  for (let round = 0; round < 2000; round += 1) {
    const next = new Float64Array(states);
    for (let waiting = 0; waiting < states; waiting += 1) {
      const weight = state[waiting] ?? 0;
      if (weight < 1e-14) continue;
      const size = sizeOf(waiting);
      const left = Math.max(0, waiting - size);
      (arrivals[size] ?? []).forEach((share, came) => {
        const to = Math.min(states - 1, left + came);
        next[to] = (next[to] ?? 0) + weight * share;
      });
    }
    const moved = next.reduce((sum, weight, i) => sum + Math.abs(weight - (state[i] ?? 0)), 0);
    state = next;
    if (moved < 1e-10) break;
  }

  const samples: [number, number][] = [];
  const idleMs = (state[0] ?? 0) / rate;
  let busyMs = 0;
  samples.push([serviceMs(cost, 1), idleMs]);
  const parts = 16;
  for (let waiting = 0; waiting < states; waiting += 1) {
    const weight = state[waiting] ?? 0;
    if (weight < 1e-9) continue;
    const size = sizeOf(waiting);
    const runMs = serviceMs(cost, size);
    busyMs += weight * runMs;
    const left = Math.max(0, waiting - size);
    for (let part = 0; part < parts; part += 1) {
      const elapsed = ((part + 0.5) / parts) * runMs;
      poisson(rate * elapsed, states).forEach((share, came) => {
        const ahead = left + came;
        const fullRuns = Math.floor(ahead / maxBatch);
        const waitMs = runMs - elapsed + fullRuns * serviceMs(cost, maxBatch);
        const met = (weight * share * runMs) / parts;
        if (met < 1e-12) return;
        // Requests that arrive before the run starts join it, and make it longer.
        let rest = 1;
        for (const [behind, likely] of poisson(rate * waitMs, maxBatch).entries()) {
          const own = (ahead % maxBatch) + 1 + behind;
          if (own >= maxBatch) break;
          samples.push([waitMs + serviceMs(cost, own), met * likely]);
          rest -= likely;
        }
        if (rest > 1e-9) samples.push([waitMs + serviceMs(cost, maxBatch), met * rest]);
      });
    }
  }
  return { busy: busyMs / (busyMs + idleMs), sojourn: Distribution.of(samples, binMs) };
}

/** Tokens of a report: most are near the mean. Shares of a normal distribution, cut at its quantiles. */
function lengths(mean: number, deviation: number, most: number): [tokens: number, share: number][] {
  const points = 15;
  const weights = Array.from({ length: points }, (_, i) => {
    const z = -2.8 + (5.6 * i) / (points - 1);
    const tokens = Math.min(most, Math.max(1, mean + z * deviation));
    return [tokens, Math.exp((-z * z) / 2)] as [number, number];
  });
  const total = weights.reduce((sum, [, weight]) => sum + weight, 0);
  return weights.map(([tokens, weight]) => [tokens, weight / total]);
}

export interface Lengths {
  readonly mean: number;
  readonly deviation: number;
  readonly most: number;
}

/** The highest arrival rate, per millisecond, of a replica with continuous batching: prefills and full steps. */
export function decodingCapacity(
  { prefillMs, stepFixedMs, stepRowMs }: GeneratorCost,
  { mean }: Lengths,
  maxBatch: number,
): number {
  const shareOfSteps = (mean * (stepFixedMs + maxBatch * stepRowMs)) / maxBatch;
  return 1 / (prefillMs + shareOfSteps);
}

/**
 * P(0), P(1), ... prefills of new requests that interrupt `workMs` of decoding, those that arrive during
 * prefills included: a generalized Poisson distribution (Consul and Jain 1973).
 */
function interruptions(rate: number, prefillMs: number, workMs: number): number[] {
  const theta = rate * workMs;
  const lambda = rate * prefillMs;
  const weights: number[] = [];
  let factorial = 0;
  for (let k = 0; k < 400; k += 1) {
    if (k > 0) factorial += Math.log(k);
    const mean = theta + k * lambda;
    weights.push(Math.exp(Math.log(theta) + (k - 1) * Math.log(mean) - mean - factorial));
    if (k > theta && (weights[k] ?? 0) < 1e-7) break;
  }
  return weights;
}

/**
 * Continuous batching as processor sharing: n reports in the running batch each get one token per step, and a
 * step takes `stepFixedMs + n * stepRowMs`, so the number of reports is a birth-death process whose
 * distribution depends on the mean length alone (Kelly 1979, symmetric queues). Above `maxBatch`
 * reports wait in order, for which lengths that differ little wait less (Lee and Longton 1959).
 *
 * A report finds n others on arrival, and during its stay, on average, a number between n and the mean:
 * the influence of n decays at the rate at which reports end, so that n keeps the weight
 * (1 - e^-u) / u after u mean stays. Prefills of new requests interrupt it.
 */
export function decodingQueue(
  cost: GeneratorCost,
  tokens: Lengths,
  { rate, maxBatch, binMs }: Load,
): Answer & { readonly firstToken: Distribution; readonly running: number } {
  const { prefillMs } = cost;
  const prefillShare = Math.min(0.99, rate * prefillMs);
  const stepMs = (rows: number) => cost.stepFixedMs + rows * cost.stepRowMs;
  const slowedMs = (rows: number) => stepMs(rows) / (1 - prefillShare);
  const endRate = (n: number) => {
    const rows = Math.min(n, maxBatch);
    return rows / (tokens.mean * slowedMs(rows));
  };
  const share = [1];
  for (let n = 1; n < maxBatch * 12; n += 1) share.push(((share[n - 1] ?? 0) * rate) / endRate(n));
  const total = share.reduce((sum, weight) => sum + weight, 0);
  const running = share.reduce((sum, weight, n) => sum + weight * Math.min(n, maxBatch), 0) / total;

  const whole: [number, number][] = [];
  const first: [number, number][] = [];
  const sizes = lengths(tokens.mean, tokens.deviation, tokens.most);
  const evenness = (1 + (tokens.deviation / tokens.mean) ** 2) / 2;
  // New requests whose prefill is under way when it arrives come first.
  const heldMs = prefillMs / (2 * (1 - prefillShare));
  share.forEach((weight, n) => {
    if (weight / total < 1e-7) return;
    const waitMs = n < maxBatch ? 0 : (evenness * (n - maxBatch + 1)) / endRate(maxBatch);
    const startMs = waitMs + prefillMs + (n === 0 ? 0 : stepMs(Math.min(n, maxBatch)) / 2);
    const starts = [
      [startMs, 1 - prefillShare],
      [startMs + heldMs, prefillShare],
    ] as const;
    for (const [readyMs, held] of starts) {
      const likely = (held * weight) / total;
      first.push([readyMs + stepMs(Math.min(n, maxBatch - 1) + 1), likely]);
      for (const [length, size] of sizes) {
        const u = length / tokens.mean;
        const kept = (1 - Math.exp(-u)) / u;
        const others = Math.min(maxBatch - 1, n * kept + running * (1 - kept));
        const workMs = length * stepMs(others + 1);
        const usual = (rate * workMs) / (1 - prefillShare);
        interruptions(rate, prefillMs, workMs).forEach((chance, count) => {
          // A new request beyond the usual number stays for half of the remaining steps, and slows each.
          const slowerMs = (count - usual) * 0.5 * length * cost.stepRowMs;
          const stayMs = readyMs + workMs + count * prefillMs + slowerMs;
          whole.push([stayMs, likely * size * chance]);
        });
      }
    }
  });
  return {
    busy: 1 - (share[0] ?? 0) / total,
    running,
    sojourn: Distribution.of(whole, binMs),
    firstToken: Distribution.of(first, binMs),
  };
}
