import { setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import { type DecodingInput, parseDecodingOptions } from '../lib/releases/decoding.ts';
import type { Backend, Session } from '../lib/runtime/backend.ts';
import { type Member, RunningBatch, loadBatch } from '../lib/runtime/decode/batch.ts';
import type { DecoderCaches } from '../lib/runtime/decode/cache.ts';
import { createSearch } from '../lib/runtime/decode/create-search.ts';
import type { GenerateRequest } from '../lib/runtime/decode/generator.ts';
import { Scheduler, type SchedulerOptions } from '../lib/runtime/decode/scheduler.ts';
import type { Search } from '../lib/runtime/decode/search.ts';
import { refused } from './support/refused.ts';

const preset = {
  maxTextTokens: 40,
  maxReportTokens: 6,
  fusion: { sep: 3, vocabulary: 100 },
  t5: { vocabulary: 4 },
};
const request: GenerateRequest = {
  tokens: { dtype: 'float32', shape: [2, 3], data: new Float32Array(6) },
  textIds: [7, 8],
};
const decoding = (options: DecodingInput = {}) => parseDecodingOptions(options);

/** A scheduler over an encoder and a batch without models; every token is the third. */
function fakeScheduler(options: Partial<SchedulerOptions> = {}) {
  const calls: string[] = [];
  const fed: Record<string, { readonly shape: readonly number[]; readonly data: unknown }>[] = [];
  const fail: { step?: Error; prefill?: Error } = {};
  let duringPrefill = (): void => {};
  const encoder = {
    inputs: [{ name: 'tokens', dtype: 'float32', shape: ['batch', 2, 3] }],
    run: async (feeds: (typeof fed)[number]) => {
      fed.push(feeds);
      duringPrefill();
      if (fail.prefill) throw fail.prefill;
      const kept = { cross: { release: async () => calls.push('release') } };
      return { fetched: { memoryBias: { data: new Float32Array(2) } }, kept };
    },
    dispose: async () => calls.push('dispose encoder'),
  };
  let members: Member[] = [];
  const batch = {
    join: async (_: unknown, search: Search) => {
      const member: Member = {
        search,
        group: {} as never,
        rows: [{ from: -1, length: 0, token: 0 }],
      };
      members.push(member);
      calls.push('join');
      return member;
    },
    leave: (member: Member) => {
      members = members.filter((other) => other !== member);
      calls.push('leave');
    },
    step: async () => {
      await turn();
      if (fail.step) throw fail.step;
      calls.push(`step ${members.length}`);
      for (const member of members) {
        const scores = { logits: Float32Array.of(0, 0, 1, 0), normalizer: 1 };
        member.rows = member.search
          .advance(member.rows.map(() => scores))
          .map(({ token }) => ({ from: 0, length: 1, token }));
      }
    },
    clear: () => {
      members = [];
      calls.push('clear');
    },
    dispose: async () => calls.push('dispose batch'),
  };
  const scheduler = new Scheduler(encoder as unknown as Session, batch as unknown as RunningBatch, {
    preset,
    ...options,
  });
  const setDuringPrefill = (work: () => void): void => {
    duringPrefill = work;
  };
  return { scheduler, calls, fed, fail, setDuringPrefill };
}

test('one request joins between two steps, and each leaves when it is complete', async (t) => {
  const { scheduler, calls } = fakeScheduler();
  const generate = (maxTokens: number) => scheduler.generate(request, decoding({ maxTokens }));
  const [first, second] = await Promise.all([generate(2), generate(2)]);
  t.deepEqual(calls, ['join', 'step 1', 'join', 'step 2', 'leave', 'step 1', 'leave']);
  t.deepEqual(first.ids, [2, 2]);
  t.is(second.steps, 2);
  t.deepEqual(scheduler.load, { rows: 0, steps: 3, prefills: 2 });
  t.deepEqual(scheduler.tokensShape, [2, 3]);
});

test('text is padded to a multiple of 16 and masked, up to what the encoder takes', async (t) => {
  const { scheduler, fed } = fakeScheduler();
  for (const length of [0, 15, 16, 40]) {
    const textIds = Array.from({ length }, () => 9);
    await scheduler.generate({ ...request, textIds }, decoding({ maxTokens: 1 }));
  }
  t.deepEqual(
    fed.map(({ textIds }) => textIds?.shape),
    [
      [1, 16],
      [1, 16],
      [1, 32],
      [1, 41],
    ],
  );
  t.deepEqual(fed[0]?.['tokens']?.shape, [1, 2, 3]);
  const numbers = (name: string): number[] =>
    Array.from(fed[2]![name]!.data as BigInt64Array, Number);
  t.deepEqual(numbers('textIds').slice(14, 19), [9, 9, 3, 0, 0]);
  t.deepEqual(numbers('textMask').slice(14, 19), [1, 1, 1, 0, 0]);
});

test('no report is longer than the release allows, nor made to be', async (t) => {
  const { scheduler } = fakeScheduler();
  const { ids, finishReason } = await scheduler.generate(
    request,
    decoding({ maxTokens: 50, minTokens: 40 }),
  );
  t.is(ids.length, 6);
  t.is(finishReason, 'length');
});

test('a request that does not fit is refused before it waits', async (t) => {
  const { scheduler, fed } = fakeScheduler({ maxRows: 3 });
  const generate = (change: Partial<GenerateRequest>, options: DecodingInput = {}) =>
    scheduler.generate({ ...request, ...change }, decoding(options));
  const beams = generate({}, { strategy: 'beam', beams: 4 });
  await refused(t, beams, 'TOO_MANY_BEAMS', /got 4, expected at most 3/);
  const long = Array.from({ length: 41 }, () => 1);
  await refused(t, generate({ textIds: long }), 'TEXT_TOO_LONG', /got 41 .* at most 40/);
  for (const id of [-1, 100, 1.5]) {
    const unknown = generate({ textIds: [5, id] });
    await refused(t, unknown, 'TOKEN_UNKNOWN', /^textIds\[1\]: got .* below 100/);
  }
  const flat = { ...request.tokens, shape: [6] };
  await refused(t, generate({ tokens: flat }), 'TOKENS_INVALID', /got shape \[6\]/);
  await refused(t, scheduler.follow(request, [4]), 'TOKEN_UNKNOWN', /^ids\[0\]: got 4/);
  t.is(fed.length, 0);
});

test('caches that were lost while the worker was idle make requests retryable', async (t) => {
  const { scheduler, calls, fail } = fakeScheduler();
  fail.step = new DomainError('FAILED_PRECONDITION', 'KEPT_LOST', 'lost');
  const running = [1, 2].map(() => scheduler.generate(request, decoding()));
  await refused(t, running[0]!, 'CACHE_LOST');
  t.true(calls.includes('clear'));
  delete fail.step;
  t.is((await scheduler.generate(request, decoding({ maxTokens: 1 }))).ids.length, 1);
  await Promise.allSettled(running);
});

test('a step that fails for another reason fails the batch with it', async (t) => {
  const { scheduler, fail } = fakeScheduler();
  fail.step = new DomainError('INTERNAL', 'RUN_FAILED', 'a damaged model');
  await refused(t, scheduler.generate(request, decoding()), 'RUN_FAILED', /damaged model/);
  t.is(scheduler.load.rows, 0);
});

test('an encoder run that fails ends its request alone, a worker that dies in it the batch too', async (t) => {
  const { scheduler, fail, calls } = fakeScheduler();
  const begun = Promise.withResolvers<void>();
  const running = scheduler.generate(request, decoding({ maxTokens: 6 }), {
    onStep: (step) => {
      if (step !== 1) return;
      fail.prefill = new DomainError('INTERNAL', 'RUN_FAILED', 'bad feeds');
      begun.resolve();
    },
  });
  await begun.promise;
  await refused(t, scheduler.generate(request, decoding()), 'RUN_FAILED');
  t.false(calls.includes('clear'));
  fail.prefill = new DomainError('UNAVAILABLE', 'WORKER_DIED', 'died');
  await refused(t, scheduler.generate(request, decoding()), 'WORKER_DIED');
  await refused(t, running, 'WORKER_DIED');
  t.true(calls.includes('clear'));
});

test('what an encoder run made for a caller who left meanwhile is released', async (t) => {
  const { scheduler, calls, setDuringPrefill } = fakeScheduler();
  const controller = new AbortController();
  setDuringPrefill(() => controller.abort());
  const left = scheduler.generate(request, decoding(), { signal: controller.signal });
  await refused(t, left, 'REQUEST_CANCELLED');
  await scheduler.dispose();
  t.deepEqual(calls, ['release', 'dispose batch', 'dispose encoder']);
});

test('a caller who leaves the batch is answered when its rows are free', async (t) => {
  const { scheduler, calls } = fakeScheduler();
  const controller = new AbortController();
  const left = scheduler.generate(request, decoding(), {
    signal: controller.signal,
    onStep: (step) => {
      if (step === 2) controller.abort();
    },
  });
  await refused(t, left, 'REQUEST_CANCELLED');
  t.deepEqual(calls, ['join', 'step 1', 'step 1', 'leave']);
  t.is(scheduler.load.rows, 0);
});

test('every encoder run and step is reported with its rows', async (t) => {
  const runs: string[] = [];
  const { scheduler } = fakeScheduler({
    onRun: ({ kind, rows, durationMs }) => runs.push(`${kind} ${rows} ${durationMs >= 0}`),
  });
  const options = decoding({ strategy: 'beam', beams: 2, maxTokens: 1 });
  const { timings } = await scheduler.generate(request, options);
  t.deepEqual(runs, ['prefill 1 true', 'step 2 true']);
  t.true(Object.values(timings).every((ms) => ms >= 0 && ms < 600_000));
});

/** A running batch over a decoder that gives these normalizers. */
function fakeBatch(normalizers: readonly number[]): RunningBatch {
  const decoder = {
    run: async () => ({
      fetched: {
        logits: { shape: [1, 2], data: Float32Array.of(1, 2) },
        normalizers: { data: Float32Array.from(normalizers) },
      },
      kept: {},
    }),
  } as unknown as Session;
  const caches = {
    self: { arrange: async () => ({}), advance: () => {} },
    cross: { places: 1, join: async () => ({ index: 0 }), arrange: async () => ({}) },
  } as unknown as DecoderCaches;
  return new RunningBatch(decoder, caches);
}

test('a decoder that gives NaN or infinite scores fails by name', async (t) => {
  const searching = () =>
    createSearch({ options: decoding({ maxTokens: 2 }), start: 0, eos: -1, onToken: () => {} });
  for (const normalizer of [Number.NaN, Infinity, -Infinity]) {
    const batch = fakeBatch([normalizer]);
    await batch.join({} as never, searching(), 0);
    await refused(t, batch.step(), 'SCORES_NOT_FINITE');
  }
  const batch = fakeBatch([3]);
  const member = await batch.join({} as never, searching(), 0);
  await batch.step();
  t.deepEqual(member.rows, [{ from: 0, length: 1, token: 1 }]);
});

test('a decoder graph without caches is refused', async (t) => {
  const backend = {
    load: async () => ({ inputs: [{ name: 'ids', dtype: 'int64', shape: ['rows'] }] }),
  } as unknown as Backend;
  await refused(t, loadBatch(backend, 'decoder.onnx', false), 'DECODER_UNKNOWN');
});
