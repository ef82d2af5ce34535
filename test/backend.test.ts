import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { promisify } from 'node:util';
import type { Worker } from 'node:worker_threads';
import test, { type ExecutionContext } from 'ava';
import { o } from '../lib/graph/build.ts';
import type { Dtype, Tensor } from '../lib/graph/types.ts';
import { type Value, input, parameter } from '../lib/graph/value.ts';
import { emitModel } from '../lib/onnx/emit.ts';
import { type Backend, type Provider, createBackend } from '../lib/runtime/backend.ts';
import { graphOf, numbers, tensor } from './support/engine.ts';
import { refused } from './support/refused.ts';

const run = promisify(execFile);

async function backendOf(
  t: ExecutionContext,
  provider: Provider = 'cpu',
  intraOpThreads = 1,
): Promise<Backend> {
  const backend = await createBackend({ provider, intraOpThreads });
  t.teardown(() => backend.dispose());
  return backend;
}

const modelOf = (inputs: readonly Value[], outputs: Readonly<Record<string, Value>>): Uint8Array =>
  emitModel(graphOf(inputs, outputs), { name: 'test' });

const x = input('x', 'float32', ['batch', 2]);
const y = input('y', 'float32', ['batch', 2]);
const arithmetic = modelOf([x, y], { sum: o.Add(x, y), product: o.Mul(x, y), less: o.Sub(x, y) });
const pair = (): Record<string, Tensor> => ({
  x: tensor([1, 2, 3, 4], [2, 2]),
  y: tensor([5, 6, 7, 8], [2, 2]),
});

/** A model that multiplies a matrix by itself `times`, so that a run takes a while. */
function slowModel(size: number, times: number): Uint8Array {
  const a = input('a', 'float32', [size, size]);
  const { carried } = o.Loop(times, [a], (_, [value]) => ({
    carried: [o.MatMul(value ?? a, a)],
    scans: [],
  }));
  return modelOf([a], { y: carried[0] as Value });
}
const slowFeed = (size: number): Record<string, Tensor> => ({
  a: { dtype: 'float32', shape: [size, size], data: new Float32Array(size * size) },
});

// What every provider must do alike.
const contract: Readonly<Record<string, (t: ExecutionContext, backend: Backend) => Promise<void>>> =
  {
    'tells what a model takes and gives': async (t, backend) => {
      const session = await backend.load(arithmetic);
      t.deepEqual(session.inputs, [
        { name: 'x', dtype: 'float32', shape: ['batch', 2] },
        { name: 'y', dtype: 'float32', shape: ['batch', 2] },
      ]);
      t.deepEqual(
        session.outputs.map(({ name }) => name),
        ['sum', 'product', 'less'],
      );
    },

    'returns all outputs, or those that are asked for': async (t, backend) => {
      const session = await backend.load(arithmetic);
      const all = await session.run(pair());
      t.deepEqual(Object.keys(all.fetched).sort(), ['less', 'product', 'sum']);
      t.deepEqual(all.fetched['sum'], tensor([6, 8, 10, 12], [2, 2]));
      t.deepEqual(all.kept, {});
      const one = await session.run(pair(), { fetch: ['product'] });
      t.deepEqual(one.fetched, { product: tensor([5, 12, 21, 32], [2, 2]) });
    },

    'keeps outputs and feeds them to another session, again and again': async (t, backend) => {
      const first = await backend.load(arithmetic, { keep: ['product'] });
      const second = await backend.load(arithmetic);
      const { fetched, kept } = await first.run(pair());
      t.deepEqual(Object.keys(fetched).sort(), ['less', 'sum']);
      const { product } = kept;
      if (!product) throw new Error('not kept');
      t.deepEqual(product.shape, [2, 2]);
      for (let round = 0; round < 2; round++) {
        const again = await second.run({ x: product, y: product }, { fetch: ['sum'] });
        t.deepEqual(numbers(again.fetched['sum']), [10, 24, 42, 64]);
      }
      await refused(t, first.run(pair(), { fetch: ['product'] }), 'OUTPUT_KEPT', /product/);
      // A run asked for before the release still sees it.
      const before = second.run({ x: product, y: product }, { fetch: ['less'] });
      await product.release();
      t.deepEqual(numbers((await before).fetched['less']), [0, 0, 0, 0]);
      const after = second.run({ x: product, y: product });
      await refused(t, after, 'KEPT_RELEASED', /feeds\.x: .*released/);
    },

    'carries state from step to step without reading a buffer that is written': async (
      t,
      backend,
    ) => {
      const state = input('state', 'float32', [4]);
      const step = await backend.load(
        modelOf([state], { next: o.Add(o.Mul(state, 2), 1), seen: o.Mul(state, 1) }),
        { keep: ['next'] },
      );
      let { kept } = await step.run({ state: tensor([0, 1, 2, 3], [4]) });
      for (let round = 0; round < 5; round++) {
        const { next } = kept;
        if (!next) throw new Error('not kept');
        ({ kept } = await step.run({ state: next }, { fetch: [] }));
        await next.release();
      }
      const { fetched } = await step.run({ state: kept['next'] as never });
      t.deepEqual(numbers(fetched['seen']), [63, 127, 191, 255]);
    },

    'refuses feeds that do not fit, naming input, what came and what was expected': async (
      t,
      backend,
    ) => {
      const session = await backend.load(arithmetic);
      const { x: good } = pair();
      if (!good) throw new Error('no feed');
      const cases: readonly (readonly [Record<string, Tensor>, RegExp])[] = [
        [{ x: good }, /^feeds\.y: missing, expected float32\[batch,2\]/],
        [{ ...pair(), z: good }, /^feeds\.z: the model has no such input; it takes x: float32/],
        [
          { ...pair(), y: tensor([1, 2, 3, 4], [2, 2], 'int32') },
          /^feeds\.y: got int32\[2,2\], expected float32/,
        ],
        [
          { ...pair(), y: tensor([1, 2, 3, 4], [4]) },
          /^feeds\.y: got float32\[4\], expected float32\[batch,2\]/,
        ],
        [
          { ...pair(), y: tensor([1, 2, 3], [1, 3]) },
          /^feeds\.y: got float32\[1,3\], expected float32\[batch,2\]/,
        ],
        [
          { ...pair(), y: tensor([1, 2, 3, 4, 5, 6], [3, 2]) },
          /^feeds\.y: got float32\[3,2\], .*; batch is 2 in x/,
        ],
        [
          { ...pair(), y: { ...good, data: Float32Array.of(1) } },
          /^feeds\.y: float32\[2,2\] takes 16 bytes, got a Float32Array of 4/,
        ],
      ];
      for (const [feeds, message] of cases)
        await refused(t, session.run(feeds), 'FEED_INVALID', message);
      await refused(
        t,
        session.run(pair(), { fetch: ['nope'] }),
        'OUTPUT_UNKNOWN',
        /^fetch: no output nope; the model has sum/,
      );
      t.deepEqual(numbers((await session.run(pair())).fetched['sum']), [6, 8, 10, 12]);
    },

    'refuses a model that is none, and one that is not there': async (t, backend) => {
      await refused(t, backend.load(new Uint8Array(9)), 'MODEL_INVALID', /model of 9 bytes/);
      await refused(t, backend.load('/nowhere/model.onnx'), 'MODEL_NOT_FOUND', /nowhere/);
      const error = await refused(
        t,
        backend.load(arithmetic, { keep: ['nope'] }),
        'OUTPUT_UNKNOWN',
      );
      t.regex(error.message, /nope/);
    },

    'refuses work after it was disposed': async (t, backend) => {
      const session = await backend.load(arithmetic);
      const last = session.run(pair());
      await session.dispose();
      await t.notThrowsAsync(last);
      await refused(t, session.run(pair()), 'SESSION_DISPOSED', /session was disposed/);
      await backend.dispose();
      await refused(t, backend.load(arithmetic), 'BACKEND_DISPOSED', /backend was disposed/);
    },
  };

/** Why a provider is absent; asked in a child process, as a driver may take the process down. */
async function absent(provider: Provider): Promise<string | undefined> {
  const module = new URL('../lib/runtime/backend.ts', import.meta.url);
  const script = `const { createBackend } = await import('${module.href}');
    await (await createBackend({ provider: '${provider}' })).dispose();`;
  try {
    await run(process.execPath, ['--input-type=module', '--eval', script]);
    return undefined;
  } catch (error) {
    const { stderr = '' } = error as { stderr?: string };
    return /DomainError: (.*)/.exec(stderr)?.[1] ?? String(error);
  }
}

for (const provider of ['cpu', 'webgpu', 'cuda'] as const) {
  let reason: string | undefined;
  test.before(`${provider}: is it there?`, async (t) => {
    reason = await absent(provider);
    t.true(reason === undefined || provider !== 'cpu', reason);
  });
  for (const [title, body] of Object.entries(contract)) {
    test.serial(`${provider}: ${title}`, async (t) => {
      if (reason !== undefined) {
        t.log(`skipped: ${reason}`);
        t.pass();
        return;
      }
      await body(t, await backendOf(t, provider));
    });
  }
}

test('an absent provider and a wrong number of threads are refused by name', async (t) => {
  await refused(t, createBackend({ intraOpThreads: 0 }), 'THREADS_INVALID', /intraOpThreads/);
  if ((await absent('cuda')) === undefined) return;
  await refused(t, createBackend({ provider: 'cuda' }), 'PROVIDER_ABSENT', /provider: cuda/);
});

test('every dtype that ONNX Runtime carries in JavaScript goes in, is kept, and comes out', async (t) => {
  const backend = await backendOf(t);
  const samples: Readonly<Partial<Record<Dtype, readonly number[]>>> = {
    float64: [Math.PI, -0],
    float32: [0.5, NaN],
    float16: [65504, 2 ** -24],
    int64: [-(2 ** 53), 1],
    int32: [-7, 7],
    int8: [-128, 127],
    uint8: [0, 255],
    uint32: [0, 2 ** 32 - 1],
    bool: [1, 0],
  };
  for (const [dtype, values] of Object.entries(samples)) {
    const v = input('v', dtype as Dtype, ['n']);
    const session = await backend.load(modelOf([v], { out: v }));
    const given = tensor(values, [2], dtype as Dtype);
    const { fetched, kept } = await session.run({ v: given }, { fetch: ['out'], keep: ['out'] });
    t.deepEqual(fetched['out'], given, dtype);
    const again = await session.run({ v: kept['out'] as never });
    t.deepEqual(again.fetched['out'], given, `${dtype} kept`);
    const none = await session.run({ v: tensor([], [0], dtype as Dtype) });
    t.deepEqual(none.fetched['out']?.shape, [0], `${dtype} empty`);
  }
  const bits = input('v', 'bfloat16', ['n']);
  await refused(t, backend.load(modelOf([bits], { out: bits })), 'MODEL_INVALID');
});

test('feeds are copied unless they may be consumed, and a view on part of a buffer always is', async (t) => {
  const session = await (await backendOf(t)).load(arithmetic);
  const expected = [6, 8, 10, 12];
  const feeds = pair();
  const promise = session.run(feeds, { fetch: ['sum'] });
  feeds['x']?.data.fill(0 as never);
  t.deepEqual(numbers((await promise).fetched['sum']), expected, 'changed after the call');

  const moved = pair();
  const consumed = await session.run(moved, { fetch: ['sum'], transfer: true });
  t.deepEqual(numbers(consumed.fetched['sum']), expected);
  t.is(moved['x']?.data.length, 0);
  await refused(t, session.run(moved), 'FEED_INVALID', /takes 16 bytes, got a Float32Array of 0/);

  const both = Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8);
  const views = {
    x: { dtype: 'float32', shape: [2, 2], data: both.subarray(0, 4) },
    y: { dtype: 'float32', shape: [2, 2], data: both.subarray(4) },
  } as const;
  const partial = await session.run(views, { fetch: ['sum'], transfer: true });
  t.deepEqual(numbers(partial.fetched['sum']), expected);
  t.is(both.length, 8);
  const twice = await session.run({ x: views.x, y: views.x }, { fetch: ['sum'], transfer: true });
  t.deepEqual(numbers(twice.fetched['sum']), [2, 4, 6, 8]);
  const same = tensor([1, 2, 3, 4], [2, 2]);
  const one = await session.run({ x: same, y: same }, { fetch: ['sum'], transfer: true });
  t.deepEqual(numbers(one.fetched['sum']), [2, 4, 6, 8]);
});

test('a waiting run is cancelled at once, a running one ends unseen, and others go on', async (t) => {
  const backend = await backendOf(t);
  const slow = await backend.load(slowModel(256, 200));
  const quick = await backend.load(arithmetic);
  const running = new AbortController();
  const waiting = new AbortController();
  const a = slow.run(slowFeed(256), { signal: running.signal });
  const b = quick.run(pair(), { signal: waiting.signal });
  const c = quick.run(pair(), { fetch: ['sum'] });
  waiting.abort();
  await refused(t, b, 'REQUEST_CANCELLED');
  running.abort();
  await refused(t, a, 'REQUEST_CANCELLED');
  t.deepEqual(numbers((await c).fetched['sum']), [6, 8, 10, 12]);
  await refused(t, quick.run(pair(), { signal: AbortSignal.abort() }), 'REQUEST_CANCELLED');
  const late = AbortSignal.timeout(1);
  const blocking = slow.run(slowFeed(256));
  await refused(t, quick.run(pair(), { signal: late }), 'REQUEST_EXPIRED');
  await blocking;
});

// Ending a thread from outside while native code runs in it aborts the whole process, so nothing does.
test.serial(
  'a worker that throws what nobody catches fails the run it is at, and is replaced',
  async (t) => {
    const workers: Worker[] = [];
    const onWorker = (made: Worker): number => workers.push(made);
    process.on('worker', onWorker);
    t.teardown(() => process.off('worker', onWorker));
    // One may rest from tests before: the first takes it, so that the second is seen to start its own.
    await backendOf(t);
    const backend = await backendOf(t);
    const session = await backend.load(arithmetic);
    const { sum } = (await session.run(pair(), { keep: ['sum'] })).kept;
    const worker = workers.at(-1);
    if (!sum || !worker) throw new Error('nothing kept');
    // Before the run's own message, so that the worker dies with the run ahead of it.
    worker.postMessage(null, []);
    const running = session.run(pair());
    const orphan = session.run({ ...pair(), x: sum });
    const waiting = session.run(pair(), { fetch: ['sum'] });
    const [, , { fetched }] = await Promise.all([
      refused(t, running, 'WORKER_DIED', /worker of radscribe-cpu died/),
      refused(t, orphan, 'KEPT_LOST', /feeds\.x: .*lost when its worker died/),
      waiting,
    ]);
    t.deepEqual(numbers(fetched['sum']), [6, 8, 10, 12]);
    await t.notThrowsAsync(sum.release());
    t.deepEqual(numbers((await session.run(pair())).fetched['less']), [-4, -4, -4, -4]);
  },
);

test.serial('the worker of a disposed backend is used again, and holds nothing', async (t) => {
  const first = await backendOf(t);
  const old = await first.load(arithmetic);
  await old.run(pair(), { keep: ['sum'] });
  await first.dispose();
  const onWorker = (): void => t.fail('a worker was started');
  process.on('worker', onWorker);
  t.teardown(() => process.off('worker', onWorker));
  const session = await (await backendOf(t)).load(arithmetic);
  t.deepEqual(numbers((await session.run(pair())).fetched['sum']), [6, 8, 10, 12]);
  await refused(t, old.run(pair()), 'BACKEND_DISPOSED');
});

test.serial('a throttled backend pauses after each task until it is unthrottled', async (t) => {
  /** The time of a run and the pause before it, to that of a run without a pause. */
  const measure = async (): Promise<number> => {
    const backend = await createBackend({ intraOpThreads: 1, throttled: true });
    const session = await backend.load(slowModel(128, 100));
    const runMs = (startMs = performance.now()): Promise<number> =>
      session.run(slowFeed(128)).then(() => performance.now() - startMs);
    await runMs();
    const paused = await runMs();
    backend.unthrottle();
    const busy = Math.min(await runMs(), await runMs(), await runMs());
    await backend.dispose();
    return paused / busy;
  };
  // The pause is four times the run before it; other work on the machine spoils a measurement.
  let ratio = await measure();
  for (let attempt = 1; attempt < 20 && ratio <= 2; attempt++) ratio = await measure();
  t.true(ratio > 2, `${ratio}`);
});

test('a failure within the model is an internal error that names feeds and dtypes', async (t) => {
  const indices = input('indices', 'int64', ['n']);
  const picked = o.Gather(parameter('table', [3]), indices, 0);
  const model = emitModel(graphOf([indices], { picked }), {
    name: 'gather',
    weights: () => new Uint8Array(12),
  });
  const session = await (await backendOf(t)).load(model);
  const feeds = { indices: tensor([7], [1], 'int64') };
  await refused(t, session.run(feeds), 'RUN_FAILED', /indices: int64\[1\] to picked failed/);
});

test.serial('the event loop goes on while a run of a second computes', async (t) => {
  const size = 512;
  const session = await (await backendOf(t)).load(slowModel(size, 800));
  const ratios: number[] = [];
  // Other processes make gaps too; a gap that the run itself makes stands in every round.
  while (ratios.length < 20 && !ratios.some((ratio) => ratio < 0.02)) {
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const start = performance.now();
    await session.run(slowFeed(size));
    const elapsedMs = performance.now() - start;
    delay.disable();
    ratios.push(delay.max / 1e6 / elapsedMs);
    t.log(`run ${elapsedMs.toFixed(0)} ms, largest gap ${(delay.max / 1e6).toFixed(1)} ms`);
  }
  t.true(Math.min(...ratios) < 0.02, `gap / run: ${ratios.join(', ')}`);
});

test('ten backends made and disposed leave no memory behind', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const megabytes = 16;
  const table = parameter('table', [megabytes * 2 ** 18]);
  const s = input('s', 'float32', []);
  const model = emitModel(graphOf([s], { y: o.Mul(table, s) }), {
    name: 'memory',
    weights: () => new Uint8Array(megabytes * 2 ** 20),
  });
  await writeFile(join(folder, 'memory.onnx'), model);
  const cycle = async (): Promise<void> => {
    const backend = await createBackend({ intraOpThreads: 1 });
    const session = await backend.load(join(folder, 'memory.onnx'));
    await session.run({ s: { dtype: 'float32', shape: [], data: Float32Array.of(2) } });
    await backend.dispose();
  };
  const rss = (): number => process.memoryUsage.rss() / 2 ** 20;
  for (let warm = 0; warm < 3; warm++) await cycle();
  const before = rss();
  for (let round = 0; round < 10; round++) await cycle();
  const grown = rss() - before;
  t.log(`${grown.toFixed(0)} MB over ten cycles of a ${megabytes} MB model`);
  t.true(grown < 4 * megabytes, `${grown} MB`);
});
