import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import {
  RetryBudget,
  backoff,
  replicaLost,
  requestedDelay,
  withRetries,
} from '../lib/rpc/retry.ts';
import { RequestTimings, ownMs } from '../services/gateway/request-timings.ts';
import { ResumedText } from '../services/gateway/resumed-text.ts';
import { GatewayRetries, retryTable } from '../services/gateway/retries.ts';

const lost = (): DomainError => new DomainError('UNAVAILABLE', 'GONE', 'the replica died');
const full = (retryAfterMs = 1): DomainError =>
  new DomainError('RESOURCE_EXHAUSTED', 'QUEUE_FULL', 'full', {
    metadata: { retryAfterMs: `${retryAfterMs}` },
  });

/** A step that fails with each of `errors` in turn, then succeeds. */
function failing(...errors: readonly Error[]) {
  const left = [...errors];
  let attempts = 0;
  const work = async (): Promise<string> => {
    attempts += 1;
    const error = left.shift();
    if (error !== undefined) throw error;
    return 'done';
  };
  return { work, attempts: () => attempts };
}

const times = (count: number, make: () => Error): Error[] => Array.from({ length: count }, make);
const { signal } = new AbortController();
const limits = { signal, deadline: undefined };

test('each model service is retried by itself: a lost replica up to 3 times, for any request', async (t) => {
  for (const step of ['vision', 'labeler', 'generator'] as const) {
    const retries = new GatewayRetries();
    const enough = failing(...times(3, lost));
    t.is(await retries.run(step, limits, enough.work), 'done');
    t.is(enough.attempts(), 4);
    const never = failing(...times(9, lost));
    await t.throwsAsync(retries.run(step, limits, never.work), { message: 'the replica died' });
    t.is(never.attempts(), 4);
  }
});

test('a full queue refuses interactive work at once; bulk work comes back up to 19 times', async (t) => {
  for (const step of ['admission', 'vision', 'labeler', 'generator'] as const) {
    const retries = new GatewayRetries();
    const interactive = failing(full());
    await t.throwsAsync(retries.run(step, limits, interactive.work), { message: 'full' });
    t.is(interactive.attempts(), 1);
    const bulk = { ...limits, bulk: true };
    const enough = failing(...times(19, full));
    t.is(await retries.run(step, bulk, enough.work), 'done');
    const never = failing(...times(30, full));
    await t.throwsAsync(retries.run(step, bulk, never.work), { message: 'full' });
    t.is(never.attempts(), 20);
  }
});

test('bulk work comes back after the delay that the queue asks for, and not without one', async (t) => {
  t.is(requestedDelay(1, full(250)), 250);
  t.is(requestedDelay(1, new DomainError('RESOURCE_EXHAUSTED', 'TOO_LARGE', 'big')), undefined);
  const large = failing(new DomainError('RESOURCE_EXHAUSTED', 'TOO_LARGE', 'big'));
  const retries = new GatewayRetries();
  await t.throwsAsync(retries.run('vision', { ...limits, bulk: true }, large.work), {
    message: 'big',
  });
  t.is(large.attempts(), 1);
});

test('a chain is started again for a release that is not held, 6 times, and for nothing else', async (t) => {
  const notHeld = () => new DomainError('FAILED_PRECONDITION', 'RELEASE_NOT_HELD', 'not held');
  const retries = new GatewayRetries();
  const never = failing(...times(9, notHeld));
  await t.throwsAsync(retries.run('release', limits, never.work), { message: 'not held' });
  t.is(never.attempts(), 7);
  const others = [
    lost(),
    full(),
    new DomainError('FAILED_PRECONDITION', 'OTHER', 'other'),
    new Error('unknown'),
  ];
  for (const error of others) {
    const once = failing(error);
    t.is(await t.throwsAsync(retries.run('release', { ...limits, bulk: true }, once.work)), error);
    t.is(once.attempts(), 1);
  }
  const [{ pauseMs }] = retryTable.release;
  t.deepEqual(
    [1, 2, 3, 4, 5, 6].map(pauseMs),
    [0, 100, 200, 400, 800, 1600],
    'the first change of release is immediate',
  );
});

test('the pause after a lost replica grows up to a second, and is random', (t) => {
  const { random } = Math;
  t.teardown(() => (Math.random = random));
  Math.random = () => 0.5;
  const pauseMs = backoff(50, 3, 1000);
  t.deepEqual(
    [1, 2, 3, 4, 9].map((failures) => pauseMs(failures, lost())),
    [25, 75, 225, 500, 500],
  );
});

test('no pause goes beyond the deadline, and an aborted call is not repeated', async (t) => {
  const rows = [{ ...replicaLost, pauseMs: () => 60_000 }];
  const late = failing(lost());
  await t.throwsAsync(withRetries(rows, { deadline: Date.now() + 30_000 }, late.work), {
    message: 'the replica died',
  });
  t.is(late.attempts(), 1);
  const controller = new AbortController();
  const reason = new DomainError('DEADLINE_EXCEEDED', 'RPC_DEADLINE', 'late');
  const waiting = failing(lost());
  const pauseMs = (): number => {
    setImmediate(() => controller.abort(reason));
    return 60_000;
  };
  const options = { signal: controller.signal };
  const aborted = withRetries([{ ...replicaLost, pauseMs }], options, waiting.work);
  t.is(await t.throwsAsync(aborted), reason);
  const gone = failing(lost());
  await t.throwsAsync(withRetries(rows, options, gone.work), { message: 'the replica died' });
  t.is(waiting.attempts() + gone.attempts(), 2);
});

test('a broken service is retried until half of the budget is spent, and again after successes', (t) => {
  const budget = new RetryBudget();
  const allowed = Array.from({ length: 60 }, () => budget.fail()).filter(Boolean);
  t.is(allowed.length, 24);
  for (let count = 0; count < 130; count += 1) budget.succeed();
  t.false(budget.fail(), '26 tokens, of which one is spent');
  for (let count = 0; count < 10; count += 1) budget.succeed();
  t.true(budget.fail());
  for (let count = 0; count < 1000; count += 1) budget.succeed();
  const again = Array.from({ length: 60 }, () => budget.fail()).filter(Boolean);
  t.is(again.length, 24, 'the budget does not grow above its size');
});

test('steps have budgets of their own, and a full queue costs none', async (t) => {
  const rows = retryTable.vision;
  const budget = new RetryBudget();
  const bulk = failing(...times(15, full));
  await withRetries(rows, { bulk: true, budget }, bulk.work);
  t.true(budget.fail());
  const retries = new GatewayRetries();
  for (let turn = 0; turn < 20; turn += 1) {
    await t.throwsAsync(retries.run('vision', limits, failing(...times(4, lost)).work));
  }
  const spent = failing(lost());
  await t.throwsAsync(retries.run('vision', limits, spent.work));
  t.is(spent.attempts(), 1);
  t.is(await retries.run('labeler', limits, failing(lost()).work), 'done');
});

/** What a listener hears of a generation whose attempts have these deltas, and then this text. */
function resumed(...attempts: readonly { deltas: readonly string[]; text?: string }[]) {
  const heard: string[] = [];
  const text = new ResumedText({
    onAccepted: () => heard.push('accepted'),
    onText: (delta) => heard.push(`${delta.text} ${delta.tokens}`),
  });
  for (const { deltas, text: complete } of attempts) {
    text.start();
    text.accept();
    for (const [index, delta] of deltas.entries()) text.add({ text: delta, tokens: index + 1 });
    if (complete !== undefined) text.end(complete);
  }
  return heard;
}

test('a text that is started again goes on after what was sent, without a word twice', (t) => {
  t.deepEqual(resumed({ deltas: ['ab', 'c'], text: 'abc' }), ['accepted', 'ab 1', 'c 2']);
  t.deepEqual(resumed({ deltas: ['ab'] }, { deltas: ['a', 'bc', 'd'], text: 'abcd' }), [
    'accepted',
    'ab 1',
    'c 2',
    'd 3',
  ]);
  t.deepEqual(resumed({ deltas: ['abcd'] }, { deltas: ['ab', 'cd'], text: 'abcd' }), [
    'accepted',
    'abcd 1',
  ]);
  t.deepEqual(resumed({ deltas: [] }, { deltas: ['a'], text: 'a' }), ['accepted', 'a 1']);
  t.deepEqual(resumed({ deltas: ['ab'] }, { deltas: ['a'] }, { deltas: ['abc'], text: 'abc' }), [
    'accepted',
    'ab 1',
    'c 1',
  ]);
});

test('another text than before is an error: what was sent cannot be taken back', (t) => {
  const expectation = { instanceOf: DomainError, message: /wrote another text/ };
  const error = t.throws(() => resumed({ deltas: ['ab'] }, { deltas: ['xy'] }), expectation);
  t.is(error.reason, 'GENERATION_DIVERGED');
  t.throws(() => resumed({ deltas: ['ab'] }, { deltas: ['abc', 'd'], text: 'abx' }), expectation);
  t.throws(() => resumed({ deltas: ['abc'] }, { deltas: [], text: 'ab' }), expectation);
  t.throws(() => resumed({ deltas: ['ab'] }, { deltas: ['ab'], text: 'x ab' }), expectation);
  t.notThrows(() => resumed({ deltas: ['ab '], text: 'ab' }), 'nothing was started again');
});

/** Timings of a request whose clock is set by hand. */
function timed() {
  let nowMs = 1000;
  const timings = new RequestTimings(() => nowMs);
  return { timings, pass: (ms: number) => (nowMs += ms) };
}

test('half of the time that a call takes beyond its service is put before the work', (t) => {
  const { timings, pass } = timed();
  pass(10);
  const startMs = timings.now();
  t.is(startMs, 10);
  pass(50);
  timings.add('vision', startMs, [
    { stage: 'decode', startMs: 0, durationMs: 12 },
    { stage: 'inference', startMs: 12, durationMs: 30 },
  ]);
  pass(5);
  t.deepEqual(timings.end(), [
    { stage: 'gateway', startMs: 0, durationMs: 65 },
    { stage: 'vision', startMs: 10, durationMs: 50 },
    // 50 ms of the call, 42 of them busy: 4 before, 4 after.
    { stage: 'vision.decode', startMs: 14, durationMs: 12 },
    { stage: 'vision.inference', startMs: 26, durationMs: 30 },
  ]);
});

test('a service whose clock runs fast, and one that reports no stages, do not shift a call', (t) => {
  const { timings, pass } = timed();
  pass(3);
  timings.add('labeler', 1, [{ stage: 'queue', startMs: 0, durationMs: 7 }]);
  timings.add('generator', 2, []);
  t.deepEqual(timings.end().slice(1), [
    { stage: 'labeler', startMs: 1, durationMs: 2 },
    { stage: 'labeler.queue', startMs: 1, durationMs: 7 },
    { stage: 'generator', startMs: 2, durationMs: 1 },
  ]);
});

test("the gateway's own time is the whole without the calls, however they overlap", (t) => {
  const timing = (stage: string, startMs: number, durationMs: number) => ({
    stage,
    startMs,
    durationMs,
  });
  const own = ownMs([
    timing('gateway', 0, 100),
    timing('vision', 1, 30),
    timing('vision', 2, 49),
    timing('vision', 3, 5),
    timing('vision.inference', 5, 20),
    timing('labeler', 53, 7),
    timing('generator', 61, 38),
  ]);
  t.is(own, 100 - 50 - 7 - 38);
  t.is(ownMs([]), 0);
  t.is(ownMs([timing('gateway', 0, 8)]), 8);
});
