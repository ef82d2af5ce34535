import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { encodePng, planStudy, renderStudy } from '../lib/data/phantom/study.ts';
import { countFlops } from '../lib/models/counts.ts';
import type { GenerateReportResponse } from '../lib/rpc/messages.ts';
import { growHeapBeforeCollecting } from '../lib/service/heap.ts';
import { createBackend } from '../lib/runtime/backend.ts';
import { openStore } from '../lib/releases/store/open.ts';
import type { Manifest } from '../lib/releases/manifest.ts';
import { Cleanup, startChain } from '../test/support/cluster.ts';
import { writeRandomRelease } from '../test/support/release.ts';
import { matMulCeiling } from './support/ceiling.ts';
import { openDirect } from './support/direct.ts';
import { endurance } from './support/endurance.ts';
import { ownMs } from '../services/gateway/request-timings.ts';
import { loadInProcess } from './support/in-process.ts';
import { percentile, underLoad } from './support/load.ts';
import { median, print, timed } from './support/measure.ts';

const levels = [1, 4, 16, 64] as const;
const threads = 1;
const maxBatch = 8;

type Chain = Awaited<ReturnType<typeof startChain>>;

interface Setting {
  readonly cleanup: Cleanup;
  readonly store: string;
  readonly manifest: Manifest;
  /** Of one measurement. */
  readonly durationMs: number;
}

/**
 * `npm run bench -- chain [--seconds N] [--soak MINUTES] [--reloads N] [--store PLACE] [--channel NAME]`
 * The chain as processes on this machine against the same models called in this process, in turn.
 */
export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      seconds: { type: 'string', default: '2' },
      soak: { type: 'string', default: '0' },
      reloads: { type: 'string', default: '0' },
      store: { type: 'string' },
      channel: { type: 'string', default: 'stable' },
    },
  });
  // As the services do, so that the garbage of the caller is not taken for theirs.
  growHeapBeforeCollecting();
  const cleanup = new Cleanup();
  try {
    const { url, release } = await chooseRelease(cleanup, values.store, values.channel);
    const store = openStore(url);
    const { manifest } = await store.open(release);
    const durationMs = Number(values.seconds) * 1000;
    const setting = { cleanup, store: url, manifest, durationMs };
    print(`${manifest.variant}, preset ${manifest.preset.name}, ${threads} thread a model`);
    print('In flight and throughput: of callers who ask again at once. The machine is this one.');
    const pictures = await makePictures();
    const chain = await serve(setting, maxBatch);
    for (const [name, picture] of pictures) await compare(setting, chain, name, picture);
    await firstToken(chain, pictures[0]![1]);
    await ceiling(setting, chain, pictures[0]![1]);
    const image = pictures[0]![1];
    const lasting = { soakMinutes: Number(values.soak), reloads: Number(values.reloads) };
    await endurance({ chain, store, variant: manifest.variant, image, ...lasting });
    await chain.cluster.stop();
    await batching(setting, pictures[0]![1]);
  } finally {
    await cleanup.run();
  }
}

/** That of a channel, or one of random weights that writes 64 tokens. */
async function chooseRelease(cleanup: Cleanup, given: string | undefined, channel: string) {
  if (given !== undefined) {
    return { url: given, release: (await openStore(given).channels.get(channel)).release };
  }
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-bench-'));
  cleanup.add(() => rm(folder, { recursive: true, force: true }));
  const store = openStore(join(folder, 'store'));
  for (const seed of [2, 1]) {
    const place = join(folder, `${seed}`);
    // Sampled, as the likeliest word of random weights is always the same.
    const decoding = { strategy: 'sample', minTokens: 64, maxTokens: 64 } as const;
    await writeRandomRelease(place, 'vit-label', { seed, decoding });
    const { id } = await store.publish(place);
    await store.promote('stable', id);
  }
  print('a release of random weights, 64 tokens a report (give a trained one by --store)');
  return { url: join(folder, 'store'), release: (await store.channels.get('stable')).release };
}

/** A radiograph in about 100 KB and one in about 2 MB. */
async function makePictures(): Promise<readonly (readonly [string, Buffer])[]> {
  const options = { seed: 9, size: 2048 };
  const pixels = await renderStudy(options, planStudy(options, 0), 'PA');
  const film = sharp(await encodePng(pixels, options.size));
  const small = await film.clone().resize(768).jpeg({ quality: 90 }).toBuffer();
  let large = await film.clone().jpeg({ quality: 95 }).toBuffer();
  for (let quality = 96; quality <= 100 && large.length < 2e6; quality += 1) {
    large = await film.clone().jpeg({ quality }).toBuffer();
  }
  return [small, large].map((file) => [`${(file.length / 1e6).toFixed(2)} MB JPEG`, file] as const);
}

const serve = (setting: Setting, batch: number): Promise<Chain> =>
  startChain(setting.cleanup, {
    RADSCRIBE_STORE: setting.store,
    RADSCRIBE_MAX_BATCH: `${batch}`,
    RADSCRIBE_QUEUE_LIMIT: '128',
    RADSCRIBE_THREADS: `${threads}`,
    RADSCRIBE_RELEASE_LINGER_MS: '500',
    // As in production; tests look more often.
    RADSCRIBE_STORE_POLL_MS: '1000',
  });

const ms = (value: number): string => value.toFixed(1).padStart(8);

/** Latency and throughput of the chain beside those of the models alone, and where the rest goes. */
async function compare(
  setting: Setting,
  chain: Chain,
  name: string,
  picture: Buffer,
): Promise<void> {
  const { client } = chain;
  const { manifest, store, durationMs } = setting;
  const models = await loadInProcess(await openStore(store).open(manifest.id), threads, maxBatch);
  const images = [{ data: picture }];
  print(`\n${name}`);
  print(
    'in flight |  chain p50      p95      p99 ms    per s | models alone p50      p99 ms    per s',
  );
  for (const inFlight of levels) {
    const chained = await underLoad(inFlight, durationMs, () => client.generateReport({ images }));
    const direct = await underLoad(inFlight, durationMs, () => models.report(picture));
    const [p50, p95, p99] = [0.5, 0.95, 0.99].map((share) =>
      ms(percentile(chained.latenciesMs, share)),
    );
    const [d50, d99] = [0.5, 0.99].map((share) => ms(percentile(direct.latenciesMs, share)));
    const failed = chained.failures > 0 ? `  ${chained.failures} refused` : '';
    print(
      `${`${inFlight}`.padStart(9)} |   ${p50} ${p95} ${p99} ${ms(chained.perSecond)} |      ${d50} ${d99} ${ms(direct.perSecond)}${failed}`,
    );
  }
  await models.dispose();
  await costs(setting, chain, picture);
}

/**
 * What is not the models', at one in flight: what the gateway adds, against the same chain called by the
 * caller itself, in turn, so that a machine whose speed drifts disturbs both alike; and the hops.
 */
async function costs(setting: Setting, chain: Chain, picture: Buffer): Promise<void> {
  const direct = openDirect(chain.ports, setting.manifest);
  const whole: Asked[] = [];
  const itself: Asked[] = [];
  for (const endMs = performance.now() + 4 * setting.durationMs; performance.now() < endMs;) {
    whole.push(await asked(() => chain.client.generateReport({ images: [{ data: picture }] })));
    itself.push(await asked(() => direct.report(picture)));
  }
  direct.close();
  const total = median(itself.map(({ tookMs }) => tookMs));
  const percent = (value: number): string => `${((100 * value) / total).toFixed(1)} %`;
  const through = median(whole.map(({ tookMs }) => tookMs));
  print(
    `one in flight, in turn: chain ${through.toFixed(1)} ms, without the gateway ${total.toFixed(1)} ms`,
  );
  const line = (what: string, values: readonly number[]): void => {
    const [p50, p99] = [0.5, 0.99].map((share) => spread(values, share));
    print(
      `  ${what.padEnd(22)} p50 ${p50!.toFixed(2)} ms ${percent(p50!)}, p99 ${p99!.toFixed(2)} ms`,
    );
  };
  line(
    'gateway itself',
    whole.map(({ timings }) => ownMs(timings)),
  );
  line(
    'caller and hop to it',
    whole.map(({ tookMs, timings }) => tookMs - wholeMs(timings)),
  );
  line(
    'caller without it',
    itself.map(({ tookMs, timings }) => tookMs - wholeMs(timings) + ownMs(timings)),
  );
  for (const service of ['vision', 'labeler', 'generator']) {
    line(
      `hop to ${service}`,
      whole.map(({ timings }) => hopMs(timings, service)),
    );
  }
}

interface Asked {
  readonly tookMs: number;
  readonly timings: GenerateReportResponse['timings'];
}

async function asked(ask: () => Promise<Pick<Asked, 'timings'>>): Promise<Asked> {
  const startMs = performance.now();
  const { timings } = await ask();
  return { tookMs: performance.now() - startMs, timings };
}

const wholeMs = (timings: Asked['timings']): number =>
  timings.find(({ stage }) => stage === 'gateway')?.durationMs ?? 0;

const spread = (values: readonly number[], share: number): number =>
  percentile(
    values.toSorted((a, b) => a - b),
    share,
  );

/** What a call took longer than the service was busy with it. */
function hopMs(timings: GenerateReportResponse['timings'], service: string): number {
  const call = timings.find(({ stage }) => stage === service);
  const parts = timings.filter(({ stage }) => stage.startsWith(`${service}.`));
  const began = Math.min(...parts.map(({ startMs }) => startMs));
  const ended = Math.max(...parts.map(({ startMs, durationMs }) => startMs + durationMs));
  return (call?.durationMs ?? 0) - (ended - began);
}

async function firstToken({ client }: Chain, picture: Buffer): Promise<void> {
  const images = [{ data: picture }];
  const first = async (): Promise<number> => {
    const askedMs = performance.now();
    let firstMs = Number.NaN;
    for await (const { text } of client.streamReport({ images })) {
      if (text && Number.isNaN(firstMs)) firstMs = performance.now() - askedMs;
    }
    return firstMs;
  };
  for (const inFlight of [1, 16]) {
    const { answers } = await underLoad(inFlight, 1000, first);
    const sorted = answers.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
    const [p50, p95] = [0.5, 0.95].map((share) => percentile(sorted, share).toFixed(1));
    print(
      `${inFlight === 1 ? '\n' : ''}first text at ${inFlight} in flight: p50 ${p50} ms, p95 ${p95} ms`,
    );
  }
}

/** How much of what this machine can compute through ONNX Runtime the cluster uses under load. */
async function ceiling(setting: Setting, { client }: Chain, picture: Buffer): Promise<void> {
  const { manifest, durationMs } = setting;
  const images = [{ data: picture }];
  const { perSecond, answers } = await underLoad(16, durationMs, () =>
    client.generateReport({ images }),
  );
  const tokens = median(answers.map(({ tokens }) => tokens?.generated ?? 0));
  const { vision, encoder, decoder } = countFlops(manifest.variant, manifest.preset);
  const used = perSecond * (vision + encoder + decoder * tokens);
  const backend = await createBackend();
  const best = await matMulCeiling(backend);
  await best.run();
  const times: number[] = [];
  for (let round = 0; round < 5; round += 1) times.push(await timed(() => best.run()));
  await backend.dispose();
  const peak = best.flops / (median(times) / 1000);
  const share = ((100 * used) / peak).toFixed(1);
  print(
    `of the ceiling of ${(peak / 1e9).toFixed(0)} GFLOP/s (MatMul): ${(used / 1e9).toFixed(1)} GFLOP/s, ${share} %`,
  );
}

/** Batches against one request a run: the rest of the chain is the same. */
async function batching(setting: Setting, picture: Buffer): Promise<void> {
  const images = [{ data: picture }];
  const results: string[] = [];
  const rates: number[] = [];
  for (const batch of [1, maxBatch]) {
    const chain = await serve(setting, batch);
    const { latenciesMs, perSecond } = await underLoad(16, setting.durationMs, () =>
      chain.client.generateReport({ images }),
    );
    await chain.cluster.stop();
    rates.push(perSecond);
    results.push(
      `${batch} a run ${perSecond.toFixed(1)}/s, p95 ${percentile(latenciesMs, 0.95).toFixed(0)} ms`,
    );
  }
  print(
    `\nbatching at 16 in flight: ${results.join('; ')}; ${(rates[1]! / rates[0]!).toFixed(2)}x`,
  );
}
