import { setTimeout as sleep } from 'node:timers/promises';
import { encodePng, planStudy, renderStudy } from '../lib/data/phantom/study.ts';
import type { GenerateReportResponse } from '../lib/rpc/messages.ts';
import type { StageCosts } from '../lib/plan/costs.ts';
import { plan } from '../lib/plan/sizing.ts';
import { openStore } from '../lib/releases/store/open.ts';
import { Cleanup, startChain } from '../test/support/cluster.ts';
import { percentile, underLoad } from './support/load.ts';
import { median, print } from './support/measure.ts';

const rates = [2, 5, 10] as const;
const seconds = 20;

const durationOf = ({ timings }: GenerateReportResponse, stage: string): number =>
  timings.filter((timing) => timing.stage === stage).reduce((sum, t) => sum + t.durationMs, 0);

/** Milliseconds of `stage` without its waiting, in the median. */
const stageMs = (answers: readonly GenerateReportResponse[], stage: string): number =>
  median(answers.map((each) => durationOf(each, stage) - durationOf(each, `${stage}.queue`)));

/** Milliseconds between two tokens of a report. */
const tokenMs = (answers: readonly GenerateReportResponse[]): number =>
  median(
    answers.map((each) => durationOf(each, 'generator.generate') / (each.tokens?.generated ?? 1)),
  );

/** The costs of the stages: alone, and of a step of eight reports. */
function measuredCosts(
  alone: readonly GenerateReportResponse[],
  eight: readonly GenerateReportResponse[],
): StageCosts {
  const [one, many] = [tokenMs(alone), tokenMs(eight)];
  const stepRowMs = Math.max(0, Math.min(one, (many - one) / 7));
  const vision = { fixedMs: 0, itemMs: stageMs(alone, 'vision') };
  return {
    vision: { chexnet: vision, resnet101: vision, vit: vision },
    labeler: { fixedMs: 0, itemMs: stageMs(alone, 'labeler') },
    generator: {
      prefillMs:
        stageMs(alone, 'generator') -
        median(alone.map((each) => durationOf(each, 'generator.generate'))),
      stepFixedMs: one - stepRowMs,
      stepRowMs,
    },
  };
}

/** Calls that come by themselves, `rate` a second in the mean, whether others are under way or not. */
async function openLoop(rate: number, ask: () => Promise<unknown>): Promise<number[]> {
  const latenciesMs: number[] = [];
  const calls: Promise<void>[] = [];
  const call = async (): Promise<void> => {
    const askedMs = performance.now();
    await ask();
    latenciesMs.push(performance.now() - askedMs);
  };
  const endMs = performance.now() + seconds * 1000;
  let state = 7;
  while (performance.now() < endMs) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    await sleep((-Math.log((state + 1) / 2 ** 32) * 1000) / rate);
    calls.push(call());
  }
  await Promise.all(calls);
  return latenciesMs.sort((a, b) => a - b);
}

/**
 * `npm run bench -- plan`: what `radscribe plan` expects of a chain with the costs measured on it, beside
 * what calls at random moments see. The plan gives every stage a device of its own, and here all share
 * the cores: with the load the measured durations leave the plan's.
 */
export async function run(): Promise<void> {
  const cleanup = new Cleanup();
  try {
    const store = openStore('releases');
    const { release } = await store.channels.get('stable');
    const { variant, preset } = (await store.open(release)).manifest;
    const options = { seed: 9, size: 768 };
    const film = await renderStudy(options, planStudy(options, 0), 'PA');
    const data = await encodePng(film, options.size);
    const chain = await startChain(cleanup, {
      RADSCRIBE_STORE: store.url,
      RADSCRIBE_THREADS: '1',
      RADSCRIBE_QUEUE_LIMIT: '128',
    });
    const ask = () => chain.client.generateReport({ images: [{ data }] });
    const alone = await underLoad(1, 5000, ask);
    const eight = await underLoad(8, 5000, ask);
    const costs = measuredCosts(alone.answers, eight.answers);
    const { generator, labeler, vision } = costs;
    const tokens = alone.answers[0]?.tokens?.generated ?? 1;
    print(
      `${variant}, preset ${preset.name}, ${tokens} tokens: vision ${vision.vit.itemMs.toFixed(1)} ms, ` +
        `labeler ${labeler.itemMs.toFixed(1)}, prefill ${generator.prefillMs.toFixed(1)}, ` +
        `step ${generator.stepFixedMs.toFixed(2)} + ${generator.stepRowMs.toFixed(2)} a report`,
    );
    print('reports/s |  p50 plan  measured  ratio |  p99 plan  measured  ratio');
    for (const rate of rates) {
      const demand = {
        rps: rate,
        variant,
        preset,
        imageBytes: data.length,
        tokens: { mean: tokens, deviation: 1, most: tokens },
        p99Ms: 1e6,
      };
      const expected = plan(demand, { source: 'measured', memoryGiB: 24, costs });
      const seen = await openLoop(rate, ask);
      const row = [
        [expected.p50Ms, percentile(seen, 0.5)],
        [expected.p99Ms, percentile(seen, 0.99)],
      ].map(
        ([planned = 0, measured = 0]) =>
          [planned, measured].map((ms) => ms.toFixed(0).padStart(9)).join(' ') +
          (measured / planned).toFixed(2).padStart(7),
      );
      print(`${`${rate}`.padStart(9)} | ${row.join(' | ')}`);
    }
  } finally {
    await cleanup.run();
  }
}
