import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import { type Batch, BatchQueue, type QueueOptions } from '../lib/runtime/queue.ts';

type Work = Omit<QueueOptions<string, string>, 'run'>;

const limits = { maxRequests: 100, maxBytes: 1000 };

/** A queue whose runs end when the test says so. */
function gated(options: Partial<Work> = {}) {
  const batches: Batch<string>[] = [];
  const gates: PromiseWithResolvers<void>[] = [];
  const queue = new BatchQueue<string, string>({
    ...limits,
    ...options,
    run: async (batch) => {
      batches.push(batch);
      const gate = Promise.withResolvers<void>();
      gates.push(gate);
      await gate.promise;
      return batch.items.map((item) => `${item}!`);
    },
  });
  const open = async (): Promise<void> => {
    gates.shift()?.resolve();
    await sleep(1);
  };
  const items = (): string[] => batches.map((batch) => batch.items.join(''));
  return { queue, batches, items, open };
}

const code = (error: unknown): unknown => (error instanceof DomainError ? error.code : error);

test('an idle queue runs a request at once and alone', async (t) => {
  const { queue, items, open } = gated({ maxBatch: 8, maxDelayMs: 1000 });
  const answer = queue.submit('a');
  t.deepEqual(items(), ['a']);
  await open();
  t.is(await answer, 'a!');
});

test('requests that come during a run share the next, up to the batch size', async (t) => {
  const { queue, items, open } = gated({ maxBatch: 3 });
  const answers = ['a', 'b', 'c', 'd', 'e'].map((item) => queue.submit(item));
  t.is(queue.inFlight, 1);
  t.is(queue.depth, 4);
  await open();
  await open();
  await open();
  t.deepEqual(items(), ['a', 'bcd', 'e']);
  t.deepEqual(await Promise.all(answers), ['a!', 'b!', 'c!', 'd!', 'e!']);
  t.is(queue.depth + queue.inFlight + queue.bytes, 0);
});

test('only requests of one key share a run, and the oldest leads', async (t) => {
  const { queue, items, batches, open } = gated({ maxBatch: 8 });
  void queue.submit('x', { key: 'one' });
  void queue.submit('a', { key: 'two' });
  void queue.submit('b', { key: 'one' });
  void queue.submit('c', { key: 'two' });
  await open();
  await open();
  await open();
  t.deepEqual(items(), ['x', 'ac', 'b']);
  t.deepEqual(
    batches.map(({ key }) => key),
    ['one', 'two', 'one'],
  );
});

test('interactive requests go before bulk work, which still gets one turn in eight', async (t) => {
  const { queue, items, open } = gated();
  void queue.submit('x');
  for (const item of ['B', 'C']) void queue.submit(item, { priority: 'batch' });
  for (let count = 0; count < 10; count += 1) void queue.submit('i');
  for (let count = 0; count < 13; count += 1) await open();
  t.is(items().join(''), 'xiiiiiiBiiiiC');
});

test('a full queue refuses at once and says when to come again', async (t) => {
  const rejected: string[] = [];
  const observer = { onReject: (reason: string) => rejected.push(reason) };
  const { queue, open } = gated({ maxRequests: 2, observer });
  const kept = [queue.submit('a'), queue.submit('b')];
  const error = await t.throwsAsync(queue.submit('c'), { instanceOf: DomainError });
  t.is(error.code, 'RESOURCE_EXHAUSTED');
  t.true(Number(error.metadata['retryAfterMs']) >= 50);
  t.deepEqual(rejected, ['queue_full']);
  await open();
  const next = queue.submit('d');
  await open();
  await open();
  t.deepEqual(await Promise.all([...kept, next]), ['a!', 'b!', 'd!']);
});

test('the payload is bounded too, but a request larger than the bound runs alone', async (t) => {
  const { queue, open } = gated({ maxBytes: 10 });
  const large = queue.submit('a', { bytes: 50 });
  t.is(queue.bytes, 50);
  t.is(code(await t.throwsAsync(queue.submit('b', { bytes: 1 }))), 'RESOURCE_EXHAUSTED');
  await open();
  t.is(await large, 'a!');
  t.is(queue.bytes, 0);
});

test('bulk work leaves half of the queue to interactive requests', async (t) => {
  const { queue, open } = gated({ maxRequests: 4 });
  const bulk = [1, 2].map(() => queue.submit('b', { priority: 'batch' }));
  t.is(code(await t.throwsAsync(queue.submit('b', { priority: 'batch' }))), 'RESOURCE_EXHAUSTED');
  const answers = [...bulk, queue.submit('i')];
  for (let count = 0; count < 3; count += 1) await open();
  t.deepEqual(await Promise.all(answers), ['b!', 'b!', 'i!']);
});

test('a caller who left is skipped', async (t) => {
  const { queue, items, open } = gated({ maxBatch: 8 });
  const first = queue.submit('a');
  const controller = new AbortController();
  const left = queue.submit('b', { signal: controller.signal, bytes: 5 });
  const last = queue.submit('c');
  controller.abort();
  t.is(code(await t.throwsAsync(left)), 'CANCELLED');
  t.is(queue.bytes, 0);
  await open();
  await open();
  t.deepEqual(items(), ['a', 'c']);
  t.deepEqual(await Promise.all([first, last]), ['a!', 'c!']);
  t.is(code(await t.throwsAsync(queue.submit('d', { signal: AbortSignal.abort() }))), 'CANCELLED');
});

test('a request whose deadline passed before its turn is skipped', async (t) => {
  const reasons: string[] = [];
  const observer = { onReject: (reason: string) => reasons.push(reason) };
  const { queue, items, open } = gated({ observer });
  const first = queue.submit('a');
  const late = queue.submit('b', { deadline: Date.now() + 5 });
  const timed = queue.submit('c', { signal: AbortSignal.timeout(5) });
  const outcome = Promise.allSettled([late, timed]);
  await sleep(20);
  await open();
  await first;
  const codes = (await outcome).map((result) => 'reason' in result && code(result.reason));
  t.deepEqual(codes, ['DEADLINE_EXCEEDED', 'DEADLINE_EXCEEDED']);
  t.deepEqual(items(), ['a']);
  t.deepEqual(reasons, ['expired', 'expired']);
  t.is(code(await t.throwsAsync(queue.submit('d', { deadline: 1 }))), 'DEADLINE_EXCEEDED');
});

test('a caller who leaves a run is answered at once; the run is told when all have left', async (t) => {
  const { queue, batches, open } = gated({ maxBatch: 2 });
  const first = queue.submit('x');
  const one = new AbortController();
  const two = new AbortController();
  const answers = Promise.allSettled([
    queue.submit('a', { signal: one.signal }),
    queue.submit('b', { signal: two.signal }),
  ]);
  await open();
  await first;
  one.abort();
  t.false(batches[1]?.signal.aborted);
  two.abort();
  t.true(batches[1]?.signal.aborted);
  for (const result of await answers) t.is(result.status, 'rejected');
  t.is(queue.inFlight, 2, 'what they hold is free when the run has ended');
  await open();
  t.is(queue.inFlight, 0);
});

test('an error among the results fails its request alone; a thrown one fails the batch', async (t) => {
  const queue = new BatchQueue<string, string>({
    ...limits,
    maxBatch: 8,
    run: async ({ items }) => {
      await sleep(2);
      if (items.includes('throw')) throw new Error('all');
      return items.map((item) => (item === 'bad' ? new Error('one') : item));
    },
  });
  await queue.submit('first');
  const some = await Promise.allSettled([
    queue.submit('x'),
    queue.submit('bad'),
    queue.submit('y'),
  ]);
  t.deepEqual(
    some.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  const all = await Promise.allSettled([
    queue.submit('z'),
    queue.submit('throw'),
    queue.submit('w'),
  ]);
  t.deepEqual(
    all.map(({ status }) => status),
    ['fulfilled', 'rejected', 'rejected'],
  );
  t.is(await queue.submit('again'), 'again', 'the queue lives on');
});

test('a run that answers too few of its requests is an internal error for the others', async (t) => {
  const queue = new BatchQueue<string, string>({ ...limits, run: () => Promise.resolve([]) });
  t.is(code(await t.throwsAsync(queue.submit('a'))), 'INTERNAL');
});

test('under load a run waits for those whom the last one answered', async (t) => {
  const sizes: number[] = [];
  const queue = new BatchQueue<number, number>({
    ...limits,
    maxBatch: 4,
    maxDelayMs: 200,
    run: async ({ items }) => {
      sizes.push(items.length);
      await sleep(40);
      return items;
    },
  });
  const client = async (id: number): Promise<void> => {
    for (let count = 0; count < 5; count += 1) {
      await queue.submit(id);
      await sleep(id);
    }
  };
  await Promise.all([1, 2, 3, 4].map(client));
  t.is(
    sizes.reduce((sum, size) => sum + size),
    20,
  );
  t.true(sizes.length <= 8, `20 requests went in runs of ${sizes.join(', ')}`);
});

test('a lone caller never waits for company', async (t) => {
  const queue = new BatchQueue<number, number>({
    ...limits,
    maxBatch: 8,
    maxDelayMs: 10_000,
    run: ({ items }) => Promise.resolve(items),
  });
  const startMs = performance.now();
  for (let count = 0; count < 50; count += 1) await queue.submit(count);
  t.true(performance.now() - startMs < 1000);
});

test('several runs go at a time where the work allows it', async (t) => {
  const { queue, items, open } = gated({ concurrency: 2 });
  for (const item of ['a', 'b', 'c']) void queue.submit(item);
  t.deepEqual(items(), ['a', 'b']);
  await open();
  t.deepEqual(items(), ['a', 'b', 'c']);
  await open();
  await open();
  t.is(queue.inFlight, 0);
});

test('a closed queue answers what it admitted and refuses the rest', async (t) => {
  const { queue, open } = gated();
  const answers = [queue.submit('a'), queue.submit('b')];
  const closed = queue.close();
  t.is(code(await t.throwsAsync(queue.submit('c'))), 'UNAVAILABLE');
  await open();
  await open();
  t.deepEqual(await Promise.all(answers), ['a!', 'b!']);
  await closed;
});

test('a limit that admits nothing is refused when the queue is made', (t) => {
  const run = () => Promise.resolve([]);
  const error = t.throws(() => new BatchQueue({ ...limits, maxBatch: 0, run }));
  t.regex(error.message, /^maxBatch: got 0/);
});

test('thousands of requests with random ends leave nothing behind', async (t) => {
  const seed = Date.now() % 1000;
  t.log(`seed ${seed}`);
  let state = seed + 1;
  const random = (): number => (state = (state * 48271) % 0x7fffffff) / 0x7fffffff;
  const queue = new BatchQueue<number, number>({
    maxRequests: 64,
    maxBytes: 4000,
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
      const signal = AbortSignal.timeout(1 + Math.floor(random() * 20));
      const priority = random() < 0.3 ? 'batch' : 'interactive';
      const bytes = Math.floor(random() * 100);
      t.is(await queue.submit(id, { signal, priority, bytes, key: `${id % 2}` }), id);
    }),
  );
  await queue.close();
  t.is(queue.depth + queue.inFlight + queue.bytes, 0);
  t.true(results.some(({ status }) => status === 'fulfilled'));
});
