import { mock } from 'node:test';
import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import { Admission } from '../lib/runtime/admission.ts';

const reasonOf = (run: () => unknown): unknown => {
  try {
    run();
    return undefined;
  } catch (error) {
    return error instanceof DomainError ? error.reason : error;
  }
};

test('a full service refuses at once, says when to retry, and admits again', (t) => {
  const rejected: string[] = [];
  const observer = { onReject: (reason: string) => rejected.push(reason) };
  const admission = new Admission({ maxRequests: 2, maxBytes: 1000, observer });
  const permit = admission.acquire(10, 'interactive');
  admission.acquire(10, 'interactive');
  const error = t.throws(() => admission.acquire(10, 'interactive'), { instanceOf: DomainError });
  t.like(error, { code: 'RESOURCE_EXHAUSTED', reason: 'QUEUE_FULL' });
  t.is(error.metadata['retryAfterMs'], '50');
  t.regex(error.message, /\(2 of 2 requests, 20 of 1000 bytes\); retry after 50 ms/);
  t.deepEqual(rejected, ['queue_full']);
  permit[Symbol.dispose]();
  permit[Symbol.dispose]();
  t.is(admission.requests, 1, 'a permit is given back once');
  t.notThrows(() => admission.acquire(10, 'interactive'));
});

test('the payload is bounded too, but a request larger than the bound is admitted alone', (t) => {
  const admission = new Admission({ maxRequests: 100, maxBytes: 10 });
  const large = admission.acquire(50, 'interactive');
  t.is(admission.bytes, 50);
  t.is(
    reasonOf(() => admission.acquire(1, 'interactive')),
    'QUEUE_FULL',
  );
  large[Symbol.dispose]();
  t.is(admission.bytes, 0);
  admission.acquire(7, 'interactive');
  t.is(
    reasonOf(() => admission.acquire(4, 'interactive')),
    'QUEUE_FULL',
  );
  t.notThrows(() => admission.acquire(3, 'interactive'), 'exactly full');
});

test('bulk requests hold at most half, and leave the rest to interactive ones', (t) => {
  const admission = new Admission({ maxRequests: 5, maxBytes: 1000 });
  admission.acquire(1, 'bulk');
  const bulk = admission.acquire(1, 'bulk');
  t.is(
    reasonOf(() => admission.acquire(1, 'bulk')),
    'QUEUE_FULL',
  );
  for (let count = 0; count < 3; count += 1) admission.acquire(1, 'interactive');
  t.is(
    reasonOf(() => admission.acquire(1, 'interactive')),
    'QUEUE_FULL',
  );
  bulk[Symbol.dispose]();
  t.notThrows(() => admission.acquire(1, 'interactive'));
  t.is(
    reasonOf(() => admission.acquire(1, 'bulk')),
    'QUEUE_FULL',
    'half is no reservation',
  );
});

test('bulk requests hold at most half of the payload; what interactive ones hold is not theirs', (t) => {
  const admission = new Admission({ maxRequests: 100, maxBytes: 100 });
  admission.acquire(45, 'interactive');
  admission.acquire(30, 'bulk');
  t.is(
    reasonOf(() => admission.acquire(21, 'bulk')),
    'QUEUE_FULL',
  );
  admission.acquire(20, 'bulk');
  t.is(admission.bytes, 95);
});

test('where only one request is admitted, a bulk one is', (t) => {
  const admission = new Admission({ maxRequests: 1, maxBytes: 100 });
  t.notThrows(() => admission.acquire(1, 'bulk'));
});

test('a limit that admits nothing is refused by name', (t) => {
  for (const [field, value] of [
    ['maxRequests', 0],
    ['maxBytes', 0.5],
  ] as const) {
    const limits = { maxRequests: 1, maxBytes: 1, [field]: value };
    const error = t.throws(() => new Admission(limits), { instanceOf: DomainError });
    t.like(error, { code: 'INVALID_ARGUMENT', reason: 'QUEUE_LIMIT_INVALID', field });
  }
});

test('a closed service refuses new requests and waits for the admitted ones', async (t) => {
  const rejected: string[] = [];
  const observer = { onReject: (reason: string) => rejected.push(reason) };
  const admission = new Admission({ maxRequests: 5, maxBytes: 100, observer });
  const permits = [1, 2].map((bytes) => admission.acquire(bytes, 'interactive'));
  let closed = false;
  const closing = admission.close().then(() => (closed = true));
  const error = t.throws(() => admission.acquire(1, 'interactive'), { instanceOf: DomainError });
  t.like(error, { code: 'UNAVAILABLE', reason: 'QUEUE_CLOSED' });
  t.deepEqual(rejected, ['closed']);
  permits[0]![Symbol.dispose]();
  await Promise.resolve();
  t.false(closed);
  permits[1]![Symbol.dispose]();
  await closing;
  await t.notThrowsAsync(new Admission({ maxRequests: 1, maxBytes: 1 }).close(), 'an idle one');
});

/** Stands for the clock. */
const clock = { now: 0 };
test.before(() => mock.method(performance, 'now', () => clock.now));

test('the retry delay is what the admitted requests take, at the rate of those that ended', (t) => {
  const admission = new Admission({ maxRequests: 4, maxBytes: 100 });
  const fill = (): Disposable[] => [1, 2, 3, 4].map(() => admission.acquire(1, 'interactive'));
  for (const permit of fill()) {
    clock.now += 100;
    permit[Symbol.dispose]();
  }
  fill();
  const error = t.throws(() => admission.acquire(1, 'bulk'), { instanceOf: DomainError });
  t.is(error.metadata['retryAfterMs'], '400', 'four requests, 100 ms each');
});

test('the retry delay is a moving average within bounds', (t) => {
  const admission = new Admission({ maxRequests: 1, maxBytes: 100 });
  const told: (string | undefined)[] = [];
  for (const ms of [1000, 2000, 100_000, 0]) {
    using _permit = admission.acquire(1, 'interactive');
    const full = t.throws(() => admission.acquire(1, 'interactive'), { instanceOf: DomainError });
    told.push(full.metadata['retryAfterMs']);
    clock.now += ms;
  }
  t.deepEqual(told, ['50', '1000', '1200', '10000']);
});
