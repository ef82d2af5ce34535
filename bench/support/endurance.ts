import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { DomainError } from '../../lib/errors.ts';
import type { ReleaseStore } from '../../lib/releases/store/store.ts';
import { serviceNames } from '../../cli/start/cluster.ts';
import type { startChain } from '../../test/support/cluster.ts';
import { atRate, percentile, underLoad } from './load.ts';
import { print } from './measure.ts';

type Chain = Awaited<ReturnType<typeof startChain>>;

interface Endurance {
  readonly chain: Chain;
  readonly store: ReleaseStore;
  readonly variant: string;
  readonly image: Buffer;
  readonly soakMinutes: number;
  /** Times that the channel moves; needs two releases of the variant in the store. */
  readonly reloads: number;
}

/** One without, then one at whose start the channel moves to another release. */
const windowMs = 3000;

/** Memory after a soak and after reloads, and the latency while another release loads. */
export async function endurance(options: Endurance): Promise<void> {
  const { chain, image, soakMinutes, reloads } = options;
  const ask = () => chain.client.generateReport({ images: [{ data: image }] });
  // Heaps that fill for the first time are no growth.
  if (soakMinutes > 0) await underLoad(4, 60_000, ask);
  const before = await resident(chain);
  print(`\nresident memory in MB: ${before.map(([name, mb]) => `${name} ${mb}`).join(', ')}`);
  const grown = async (what: string): Promise<void> => {
    const after = await resident(chain);
    const growth = after.map(
      ([name, mb], index) => `${name} ${mb} (${signed(mb - before[index]![1])})`,
    );
    print(`after ${what}: ${growth.join(', ')}`);
  };
  if (soakMinutes > 0) {
    const { answers, failures } = await underLoad(4, soakMinutes * 60_000, ask);
    await grown(`${soakMinutes} minutes, ${answers.length} reports, ${failures} failures`);
  }
  if (reloads === 0) return;
  await switching(options, ask);
  await grown(`${reloads} reloads`);
}

/** At half the rate that four callers reach. */
async function switching(
  { store, variant, reloads }: Endurance,
  ask: () => ReturnType<Chain['client']['generateReport']>,
): Promise<void> {
  const { releases } = await store.list();
  const ids = releases.filter((release) => release.variant === variant).map(({ id }) => id);
  if (ids.length < 2) {
    const message = `the store has ${ids.length} release of ${variant}, reloads need two; leave --store out`;
    throw new DomainError('INVALID_ARGUMENT', 'RELEASES_TOO_FEW', message);
  }
  const { perSecond: most } = await underLoad(4, windowMs, ask);
  const perSecond = most / 2;
  const quiet: number[] = [];
  const loading: number[] = [];
  let failures = 0;
  for (let count = 0; count < reloads; count += 1) {
    const { release } = await ask();
    const without = await atRate(perSecond, windowMs, ask);
    const next = ids[(ids.indexOf(release) + 1) % ids.length]!;
    await store.promote('stable', next);
    const during = await atRate(perSecond, windowMs, ask);
    quiet.push(...without.latenciesMs);
    loading.push(...during.latenciesMs);
    failures += without.failures + during.failures;
    while ((await ask()).release !== next) await sleep(100);
    // The old one goes.
    await sleep(1000);
  }
  const [base, other] = [quiet, loading].map((all) => all.toSorted((a, b) => a - b));
  const ratios = [0.5, 0.95, 0.99].map(
    (share) => `p${100 * share} ${ratio(percentile(other!, share), percentile(base!, share))}`,
  );
  print(
    `while another release loads, at ${perSecond.toFixed(1)}/s, ${other!.length} reports, ${failures} failures: ${ratios.join(', ')}`,
  );
}

const ratio = (value: number, base: number): string =>
  `${base.toFixed(0)} -> ${value.toFixed(0)} ms (${(value / base).toFixed(2)}x)`;

const signed = (value: number): string => (value < 0 ? `${value}` : `+${value}`);

async function resident({ cluster }: Chain): Promise<readonly (readonly [string, number])[]> {
  return Promise.all(
    serviceNames.map(async (name) => {
      const status = await readFile(`/proc/${cluster.child(name).pid}/status`, 'utf8');
      return [name, Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024)] as const;
    }),
  );
}
