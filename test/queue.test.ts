import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import { type QueueOptions, RequestQueue } from '../lib/runtime/request-queue.ts';

/** A queue of names, and the errors of those that left. */
function makeQueue() {
  const rejected: string[] = [];
  const queue = new RequestQueue<string>({ onReject: (reason) => rejected.push(reason) });
  const left: string[] = [];
  const add = (names: string, options: QueueOptions = {}): void => {
    for (const name of names) {
      queue.add(name, options, ({ code }) => left.push(`${name} ${code}`));
    }
  };
  const take = (budget: number, options?: Parameters<typeof queue.take>[1]): string =>
    queue
      .take(budget, options)
      .map(({ item }) => item)
      .join('');
  /** One at a time, until nothing is taken. */
  const drain = (budget: number): string => {
    let all = '';
    for (let name = take(budget, { limit: 1 }); name; name = take(budget, { limit: 1 }))
      all += name;
    return all;
  };
  return { queue, add, take, drain, left, rejected };
}

test('a budget is taken in the order of arrival', (t) => {
  const { queue, add, take } = makeQueue();
  add('abcde');
  t.is(take(2), 'ab');
  t.is(queue.depth, 3);
  t.is(take(0), '');
  t.is(take(9), 'cde');
  t.is(take(9), '');
  t.is(queue.depth, 0);
});

test('a look at what comes next takes nothing', (t) => {
  const { queue, add, take } = makeQueue();
  add('abc');
  t.is(queue.peek(2).length, 2);
  t.is(queue.depth, 3);
  t.is(take(2), 'ab');
});

test('costs add up to the budget', (t) => {
  const { add, take } = makeQueue();
  add('abc', { cost: 3 });
  t.is(take(8), 'ab');
  t.is(take(2), '');
  t.is(take(3), 'c');
});

test('interactive requests go before bulk ones, which fill what is left', (t) => {
  const { add, take } = makeQueue();
  add('BC', { priority: 'bulk' });
  add('ij');
  t.is(take(3), 'ijB');
});

test('bulk gets one turn in eight, counted from when it waits', (t) => {
  const { add, drain } = makeQueue();
  add('BCD', { priority: 'bulk' });
  add('iiiiiiiiiiiiiiiii');
  t.is(drain(1), 'iiiiiiiBiiiiiiiCiiiD');
});

test('a turn of bulk is a whole batch of it', (t) => {
  const { add, take } = makeQueue();
  add('BCD', { priority: 'bulk' });
  add('iiiiiiiiiiiiiii');
  for (let count = 0; count < 7; count += 1) t.is(take(2), 'ii');
  t.is(take(2), 'BC');
  t.is(take(2), 'iD');
});

test('bulk that goes with interactive requests has not waited', (t) => {
  const { add, take, drain } = makeQueue();
  add('BCD', { priority: 'bulk' });
  add('iiiiiiiiiiiiiiiii');
  for (let count = 0; count < 6; count += 1) t.is(take(1), 'i');
  t.is(take(13), 'iiiiiiiiiiiBC');
  add('jjjjjjjjj');
  // The turn that left D waiting counts.
  t.is(drain(1), 'jjjjjjDjjj');
});

test('a key restricts what is taken to its own, in their order', (t) => {
  const { queue, add, take } = makeQueue();
  const [one, two] = [{}, {}];
  add('a', { key: one });
  add('B', { key: two, priority: 'bulk' });
  add('cd', { key: two });
  t.is(take(9, { key: two }), 'cdB');
  t.is(take(9, { key: two }), '');
  t.is(queue.depth, 1);
  t.is(take(9, { key: one }), 'a');
});

test('without a key the first request decides which', (t) => {
  const { add, take } = makeQueue();
  add('a', { key: 'one' });
  add('b', { key: 'two' });
  add('c', { key: 'one' });
  t.is(take(9), 'ac');
  t.is(take(9), 'b');
});

test('the turns of bulk are counted by key', (t) => {
  const { add, take } = makeQueue();
  add('B', { key: 'one', priority: 'bulk' });
  add('iiiiiiii', { key: 'one' });
  add('jjjjjjjj', { key: 'two' });
  for (let count = 0; count < 7; count += 1) t.is(take(1, { key: 'two' }), 'j');
  for (let count = 0; count < 7; count += 1) t.is(take(1, { key: 'one' }), 'i');
  t.is(take(1, { key: 'one' }), 'B');
});

test('seven narrow requests may overtake a wide one; then nothing goes until it fits', (t) => {
  const { add, take } = makeQueue();
  add('W', { cost: 4 });
  add('abcdefghij');
  for (const name of 'abcdefg') t.is(take(3, { limit: 1 }), name);
  t.is(take(3, { limit: 1 }), '', 'its rows are kept for it');
  t.is(take(4, { limit: 1 }), 'W');
  t.is(take(3), 'hij');
});

test('bulk never overtakes an interactive request that does not fit', (t) => {
  const { add, take } = makeQueue();
  add('W', { cost: 4 });
  add('B', { priority: 'bulk' });
  t.is(take(3), '');
  add('i');
  t.is(take(3), 'i');
  t.is(take(4), 'W');
  t.is(take(1), 'B');
});

test('a wide bulk request is overtaken by either, and goes after seven turns and a drain', (t) => {
  const { add, take } = makeQueue();
  add('W', { cost: 4, priority: 'bulk' });
  add('B', { priority: 'bulk' });
  t.is(take(3, { limit: 1 }), 'B');
  add('iiiiiiii');
  for (let count = 0; count < 6; count += 1) t.is(take(3, { limit: 1 }), 'i');
  t.is(take(3, { limit: 1 }), '', 'it leads now');
  t.is(take(4, { limit: 1 }), 'W');
  t.is(take(3), 'ii');
});

test('of a wide request that others overtook only those behind it count', (t) => {
  const { add, take } = makeQueue();
  add('abcdefgh');
  add('W', { cost: 4 });
  for (const name of 'abcdefgh') t.is(take(1), name);
  add('i');
  t.is(take(3), 'i', 'it has been passed by none so far');
  t.is(take(4), 'W');
});

test('who leaves is told why, is counted, and is not taken', (t) => {
  const { queue, add, take, left, rejected } = makeQueue();
  const controller = new AbortController();
  add('a', { signal: controller.signal });
  add('b', { signal: AbortSignal.timeout(100_000) });
  add('c');
  controller.abort();
  t.deepEqual(left, ['a CANCELLED']);
  t.deepEqual(rejected, ['cancelled']);
  t.is(queue.depth, 2);
  t.is(take(9), 'bc');
});

test('a request that was taken does not leave any more', (t) => {
  const { add, take, left } = makeQueue();
  const controller = new AbortController();
  add('a', { signal: controller.signal });
  t.is(take(1), 'a');
  controller.abort();
  t.deepEqual(left, []);
});

test('the reason of a signal is the error: an own one, a time-out, a cancellation', (t) => {
  const { add, rejected } = makeQueue();
  const own = new DomainError('UNAVAILABLE', 'RUN_ENDED', 'own');
  const late = new DOMException('late', 'TimeoutError');
  for (const [reason, code] of [
    [own, 'UNAVAILABLE'],
    [late, 'DEADLINE_EXCEEDED'],
    [new Error('gone'), 'CANCELLED'],
    ['gone', 'CANCELLED'],
  ] as const) {
    const signal = AbortSignal.abort(reason);
    const error = t.throws(() => add('a', { signal }), { instanceOf: DomainError });
    t.is(error.code, code);
  }
  t.deepEqual(rejected, ['cancelled', 'expired', 'cancelled', 'cancelled']);
});

test('a request whose deadline passes before its turn leaves', (t) => {
  const { queue, add, take, left, rejected } = makeQueue();
  const late = t.throws(() => add('a', { deadline: Date.now() }), { instanceOf: DomainError });
  t.like(late, { code: 'DEADLINE_EXCEEDED', reason: 'REQUEST_EXPIRED' });
  const deadline = Date.now() + 2;
  add('b', { deadline, priority: 'bulk' });
  add('c', { deadline: deadline + 100_000 });
  while (Date.now() < deadline) {
    // The deadline is in milliseconds.
  }
  t.is(take(0), '');
  t.deepEqual(left, ['b DEADLINE_EXCEEDED']);
  t.deepEqual(rejected, ['expired', 'expired']);
  t.is(queue.depth, 1);
});
