export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.floor(middle)] ?? Number.NaN) + (sorted[Math.ceil(middle) - 1] ?? 0)) / 2;
}

/** Milliseconds that `work` takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/**
 * Times several pieces of work in turn, A B A B ..., so that a machine whose speed drifts disturbs all
 * of them alike; one round before is not counted. Gives the milliseconds of every round.
 */
export async function interleaved<K extends string>(
  works: Readonly<Record<K, () => Promise<unknown>>>,
  rounds: number,
): Promise<Record<K, number[]>> {
  const entries = Object.entries(works) as [K, () => Promise<unknown>][];
  const times = Object.fromEntries(entries.map(([name]) => [name, [] as number[]])) as Record<
    K,
    number[]
  >;
  for (let round = -1; round < rounds; round++) {
    for (const [name, work] of entries) {
      const ms = await timed(work);
      if (round >= 0) times[name].push(ms);
    }
  }
  return times;
}

/** The median over the rounds of a[i] / b[i]. */
export const ratioOf = (a: readonly number[], b: readonly number[]): number =>
  median(a.map((value, i) => value / (b[i] ?? Number.NaN)));

export const print = (line = ''): void => {
  process.stdout.write(`${line}\n`);
};
