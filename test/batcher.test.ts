import { mock } from 'node:test';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { DomainError } from '../lib/errors.ts';
import { Admission } from '../lib/runtime/admission.ts';
import { type Batch, Batcher, type BatcherOptions } from '../lib/runtime/batcher.ts';

/** A batcher whose runs end when the test says so. */
function gated(options: Omit<BatcherOptions<string, string>, 'run'> = {}) {
  const batches: Batch<string>[] = [];
  const gates: PromiseWithResolvers<void>[] = [];
  const batcher = new Batcher<string, string>({
    ...options,
    run: async (batch) => {
      batches.push(batch);
      const gate = Promise.withResolvers<void>();
      gates.push(gate);
      await gate.promise;
      return batch.items.map((item) => `${item}!`);
    },
  });
  /** Ends the oldest run, and lets what follows from that happen. */
  const open = async (): Promise<void> => {
    gates.shift()?.resolve();
    await turn();
  };
  const items = (): string[] => batches.map((batch) => batch.items.join(''));
  return { batcher, batches, items, open };
}

const code = (error: unknown): unknown => (error instanceof DomainError ? error.code : error);

test('an idle batcher runs a request at once and alone', async (t) => {
  const { batcher, items, open } = gated({ maxBatch: 8, maxDelayMs: 1000 });
  const answer = batcher.submit('a');
  t.deepEqual(items(), ['a']);
  await open();
  t.is(await answer, 'a!');
});

test('requests that come during a run share the next, up to the batch size', async (t) => {
  const sizes: number[] = [];
  const observer = { onBatch: (size: number) => sizes.push(size) };
  const { batcher, items, open } = gated({ maxBatch: 3, observer });
  const answers = ['a', 'b', 'c', 'd', 'e'].map((item) => batcher.submit(item));
  t.is(batcher.depth, 4);
  for (let count = 0; count < 3; count += 1) await open();
  t.deepEqual(items(), ['a', 'bcd', 'e']);
  t.deepEqual(await Promise.all(answers), ['a!', 'b!', 'c!', 'd!', 'e!']);
  t.deepEqual(sizes, [1, 3, 1]);
  t.is(batcher.depth, 0);
});

test('without a batch size, requests run one at a time', async (t) => {
  const { batcher, items, open } = gated();
  for (const item of ['a', 'b', 'c']) void batcher.submit(item);
  for (let count = 0; count < 3; count += 1) await open();
  t.deepEqual(items(), ['a', 'b', 'c']);
});

test('only requests of one key share a run, and the oldest leads', async (t) => {
  const { batcher, items, open } = gated({ maxBatch: 8 });
  void batcher.submit('x', { key: 'one' });
  void batcher.submit('a', { key: 'two' });
  void batcher.submit('b', { key: 'one' });
  void batcher.submit('c', { key: 'two' });
  for (let count = 0; count < 3; count += 1) await open();
  t.deepEqual(items(), ['x', 'ac', 'b']);
});

test('a run is told how long each of its requests waited', async (t) => {
  const { batcher, batches, open } = gated({ maxBatch: 2 });
  void batcher.submit('x');
  for (const item of ['a', 'b']) {
    void batcher.submit(item);
    await sleep(2);
  }
  await open();
  const [first = 0, second = 0] = batches[1]?.waitedMs ?? [];
  t.true(first > second && second > 0, `${first}, ${second}`);
  await open();
});

test('a caller who leaves the queue is answered at once and takes no part in a run', async (t) => {
  const { batcher, items, open } = gated({ maxBatch: 8 });
  const first = batcher.submit('a');
  const controller = new AbortController();
  const left = batcher.submit('b', { signal: controller.signal });
  const last = batcher.submit('c');
  controller.abort();
  t.is(code(await t.throwsAsync(left)), 'CANCELLED');
  await open();
  await open();
  t.deepEqual(items(), ['a', 'c']);
  t.deepEqual(await Promise.all([first, last]), ['a!', 'c!']);
  const late = batcher.submit('d', { signal: AbortSignal.abort() });
  t.is(code(await t.throwsAsync(late)), 'CANCELLED');
});

test('a run is told once all its callers have left, and they are answered when it ends', async (t) => {
  const { batcher, batches, open } = gated({ maxBatch: 2 });
  const first = batcher.submit('x');
  const one = new AbortController();
  const two = new AbortController();
  const answers = Promise.allSettled([
    batcher.submit('a', { signal: one.signal }),
    batcher.submit('b', { signal: two.signal }),
  ]);
  await open();
  await first;
  one.abort();
  t.false(batches[1]?.signal.aborted);
  two.abort(new DomainError('DEADLINE_EXCEEDED', 'RPC_DEADLINE', 'late'));
  t.true(batches[1]?.signal.aborted);
  t.is(code(batches[1]?.signal.reason), 'DEADLINE_EXCEEDED');
  await open();
  const codes = (await answers).map((result) => 'reason' in result && code(result.reason));
  t.deepEqual(codes, ['CANCELLED', 'DEADLINE_EXCEEDED']);
});

test('a run goes on for those who stay, and never ends for a caller without a signal', async (t) => {
  const { batcher, batches, open } = gated({ maxBatch: 2 });
  void batcher.submit('x');
  const one = new AbortController();
  const left = batcher.submit('a', { signal: one.signal });
  const stays = batcher.submit('b');
  await open();
  one.abort();
  t.false(batches[1]?.signal.aborted);
  await open();
  t.is(code(await t.throwsAsync(left)), 'CANCELLED');
  t.is(await stays, 'b!');
});

/** Runs that fail as a whole for `throw`, and for `bad` alone. */
const failing = async ({ items }: Batch<string>): Promise<(string | Error)[]> => {
  await turn();
  if (items.includes('throw')) throw new Error('all');
  return items.map((item) => (item === 'bad' ? new Error('one') : item));
};

const statuses = async (answers: readonly Promise<string>[]): Promise<string[]> =>
  (await Promise.allSettled(answers)).map(({ status }) => status);

test('an error among the results fails its request alone; a thrown one fails the batch', async (t) => {
  const batcher = new Batcher<string, string>({ maxBatch: 8, run: failing });
  const submit = (items: readonly string[]) => items.map((item) => batcher.submit(item));
  await batcher.submit('first');
  t.deepEqual(await statuses(submit(['x', 'bad', 'y'])), ['fulfilled', 'rejected', 'fulfilled']);
  t.deepEqual(await statuses(submit(['z', 'throw', 'w'])), ['fulfilled', 'rejected', 'rejected']);
  t.is(await batcher.submit('again'), 'again', 'it goes on');
});

test('a caller who left a run that fails gets the reason of leaving', async (t) => {
  const batcher = new Batcher<string, string>({ run: failing });
  const controller = new AbortController();
  const answer = batcher.submit('throw', { signal: controller.signal });
  controller.abort();
  t.is(code(await t.throwsAsync(answer)), 'CANCELLED');
});

test('a run that answers too few of its requests is an internal error for the others', async (t) => {
  const batcher = new Batcher<string, string>({
    maxBatch: 2,
    run: async ({ items }) => items.slice(0, 1),
  });
  void batcher.submit('x');
  const [answered, missing] = await Promise.allSettled([batcher.submit('a'), batcher.submit('b')]);
  t.is(answered?.status, 'fulfilled');
  t.like(missing, { reason: { code: 'INTERNAL', reason: 'BATCH_INCOMPLETE' } });
  t.regex(String(missing?.status === 'rejected' && missing.reason), /answered 1 of 2 requests/);
});

test('several runs go at a time where the work allows it', async (t) => {
  const { batcher, items, open } = gated({ concurrency: 2 });
  const answers = ['a', 'b', 'c'].map((item) => batcher.submit(item));
  t.deepEqual(items(), ['a', 'b']);
  await open();
  t.deepEqual(items(), ['a', 'b', 'c']);
  await open();
  await open();
  t.deepEqual(await Promise.all(answers), ['a!', 'b!', 'c!']);
});

test('a limit that admits nothing is refused by name', (t) => {
  const run = () => Promise.resolve([]);
  for (const [field, value] of [
    ['maxBatch', 0],
    ['maxBatch', 2.5],
    ['concurrency', 0],
  ] as const) {
    const error = t.throws(() => new Batcher({ [field]: value, run }), { instanceOf: DomainError });
    t.like(error, { code: 'INVALID_ARGUMENT', field });
    t.true(error.message.startsWith(`${field}: got ${value}`));
  }
});

/** Stands for the clock: time passes when the test says so. */
function stopClock(t: ExecutionContext): (ms: number) => Promise<void> {
  let now = 1000;
  mock.method(performance, 'now', () => now);
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => {
    mock.timers.reset();
    mock.restoreAll();
  });
  return async (ms) => {
    now += ms;
    mock.timers.tick(ms);
    await turn();
  };
}

/** A run of 100 ms with one request, then one of `runMs` with two: both may be back soon. */
async function underLoad(t: ExecutionContext, maxDelayMs: number, runMs = 100) {
  const pass = stopClock(t);
  const made = gated({ maxBatch: 4, maxDelayMs });
  const { batcher, open } = made;
  for (const item of ['x', 'a', 'b']) void batcher.submit(item);
  await pass(100);
  await open();
  // The one that was answered does not come back.
  await pass(25);
  await pass(runMs);
  await open();
  return { ...made, pass };
}

test.serial('under load a run waits for a quarter of a run, and no longer', async (t) => {
  const { batcher, items, pass } = await underLoad(t, 10_000);
  void batcher.submit('c');
  await pass(24);
  t.deepEqual(items(), ['x', 'ab']);
  await pass(1);
  t.deepEqual(items(), ['x', 'ab', 'c']);
});

test.serial('under load a run starts as soon as those who were answered are back', async (t) => {
  const { batcher, items, pass } = await underLoad(t, 10_000);
  void batcher.submit('c');
  await pass(10);
  void batcher.submit('d');
  t.deepEqual(items(), ['x', 'ab', 'cd']);
});

test.serial('no run waits longer than the maximum delay', async (t) => {
  const { batcher, items, pass } = await underLoad(t, 7);
  void batcher.submit('c');
  await pass(6);
  t.deepEqual(items(), ['x', 'ab']);
  await pass(1);
  t.deepEqual(items(), ['x', 'ab', 'c']);
});

test.serial('the delay counts from the end of the last run', async (t) => {
  const { batcher, items, pass } = await underLoad(t, 10_000);
  await pass(25);
  void batcher.submit('c');
  t.deepEqual(items(), ['x', 'ab', 'c']);
});

test.serial(
  'the duration of a run is a moving average, of which the newest is a fifth',
  async (t) => {
    const { batcher, items, pass } = await underLoad(t, 10_000, 200);
    void batcher.submit('c');
    // A quarter of 100 + 0.2 * (200 - 100).
    await pass(29);
    t.deepEqual(items(), ['x', 'ab']);
    await pass(1);
    t.deepEqual(items(), ['x', 'ab', 'c']);
  },
);

test.serial('a lone caller never waits for others', async (t) => {
  const pass = stopClock(t);
  const { batcher, items, open } = gated({ maxBatch: 8, maxDelayMs: 10_000 });
  for (const item of ['a', 'b', 'c']) {
    void batcher.submit(item);
    await pass(100);
    await open();
  }
  t.deepEqual(items(), ['a', 'b', 'c']);
});

test('thousands of requests with random ends leave nothing behind', async (t) => {
  const seed = Date.now() % 1000;
  t.log(`seed ${seed}`);
  let state = seed + 1;
  const random = (): number => (state = (state * 48271) % 0x7fffffff) / 0x7fffffff;
  const admission = new Admission({ maxRequests: 64, maxBytes: 4000 });
  const batcher = new Batcher<number, number>({
    maxBatch: 8,
    maxDelayMs: 2,
    concurrency: 2,
    run: async ({ items }) => {
      await sleep(random() * 2);
      if (random() < 0.1) throw new Error('run failed');
      return items;
    },
  });
  const results = await Promise.allSettled(
    Array.from({ length: 3000 }, async (_, id) => {
      await sleep(random() * 300);
      const leaves = random() < 0.5;
      const signal = leaves ? AbortSignal.timeout(1 + Math.floor(random() * 20)) : undefined;
      const priority = random() < 0.3 ? 'bulk' : 'interactive';
      using _permit = admission.acquire(Math.floor(random() * 100), priority);
      t.is(await batcher.submit(id, { signal, priority, key: id % 2 }), id);
    }),
  );
  await admission.close();
  t.is(batcher.depth + admission.requests + admission.bytes, 0);
  t.true(results.some(({ status }) => status === 'fulfilled'));
});
