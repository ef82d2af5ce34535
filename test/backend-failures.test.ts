import { setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import { abortError } from '../lib/runtime/abort.ts';
import { createBackend } from '../lib/runtime/backend.ts';
import { loadError, runError } from '../lib/runtime/failures.ts';
import { WorkerFailure } from '../lib/runtime/port.ts';
import { loadWarmed } from '../lib/runtime/warm.ts';

const info = {
  inputs: [],
  outputs: [
    { name: 'y', dtype: 'float32', shape: [1] },
    { name: 'z', dtype: 'float32', shape: [1] },
  ],
} as const;
const feeds = { x: { dtype: 'float32', shape: [2, 3] } } as const;

test('a run that fails for want of memory can be retried elsewhere; another is internal', (t) => {
  for (const [said, code, reason] of [
    ['Failed to allocate memory for requested buffer', 'RESOURCE_EXHAUSTED', 'OUT_OF_MEMORY'],
    ['std::bad_alloc', 'RESOURCE_EXHAUSTED', 'OUT_OF_MEMORY'],
    ['CUDA error: out of memory', 'RESOURCE_EXHAUSTED', 'OUT_OF_MEMORY'],
    ['indices element out of data bounds ', 'INTERNAL', 'RUN_FAILED'],
  ] as const) {
    const failure = new WorkerFailure(said);
    const error = runError(info, feeds, failure);
    t.like(error, { code, reason, cause: failure });
    t.is((error as Error).message, `running x: float32[2,3] to y, z failed: ${said.trim()}`);
  }
});

test('a model that is not there is not found; another that does not load is invalid', (t) => {
  for (const [said, code] of [
    ["Load model from m.onnx failed: File doesn't exist", 'NOT_FOUND'],
    ['open file "m.bin" fail, errcode = 2 - No such file or directory', 'NOT_FOUND'],
    ['Protobuf parsing failed.', 'INVALID_ARGUMENT'],
  ] as const) {
    const error = loadError('m.onnx', new WorkerFailure(said));
    t.like(error, { code, field: 'model', message: `m.onnx: ${said}` });
  }
  const bytes = loadError(new Uint8Array(7), new WorkerFailure('bad'));
  t.like(bytes, { message: 'model of 7 bytes: bad' });
});

test('an error that ONNX Runtime did not throw is passed on', (t) => {
  const died = new DomainError('UNAVAILABLE', 'WORKER_DIED', 'the worker died');
  t.is(runError(info, feeds, died), died);
  t.is(loadError('m.onnx', died), died);
});

test('only a time-out is an expired request', (t) => {
  t.like(abortError(AbortSignal.abort(new DOMException('late', 'TimeoutError'))), {
    code: 'DEADLINE_EXCEEDED',
    reason: 'REQUEST_EXPIRED',
  });
  t.like(abortError(AbortSignal.abort()), { code: 'CANCELLED', reason: 'REQUEST_CANCELLED' });
});

/** Counts the worker threads that are started from now on. */
function countWorkers(t: { teardown: (end: () => void) => void }): () => Promise<number> {
  let count = 0;
  const onWorker = (): void => {
    count += 1;
  };
  process.on('worker', onWorker);
  t.teardown(() => process.off('worker', onWorker));
  // The event comes in a later turn than the start.
  return async () => {
    await turn();
    return count;
  };
}

test.serial(
  'a model that has loaded leaves an idle worker for the next, unless throttled',
  async (t) => {
    const started = countWorkers(t);
    const load = async (throttled: boolean) =>
      loadWarmed({ intraOpThreads: 1, throttled }, async (backend) => backend);
    const first = await load(false);
    t.is(await started(), 2, 'its own and the idle one');
    const second = await load(true);
    t.is(await started(), 2, 'the idle one was taken, and not replaced');
    const third = await load(false);
    t.is(await started(), 4);
    for (const backend of [first, second, third]) await backend.dispose();
    const fourth = await createBackend({ intraOpThreads: 1 });
    t.is(await started(), 4, 'one idle worker is kept');
    await fourth.dispose();
  },
);

test.serial('a model that does not load gives its backend back', async (t) => {
  let disposed = false;
  const failing = loadWarmed({ intraOpThreads: 1 }, async (backend) => {
    const dispose = backend.dispose.bind(backend);
    backend.dispose = () => {
      disposed = true;
      return dispose();
    };
    throw new Error('the weights are damaged');
  });
  await t.throwsAsync(failing, { message: 'the weights are damaged' });
  t.true(disposed);
});

test.serial('a throttled backend is unthrottled once its model has loaded', async (t) => {
  let unthrottled = 0;
  const backend = await loadWarmed({ intraOpThreads: 1, throttled: true }, async (backend) => {
    const unthrottle = backend.unthrottle.bind(backend);
    backend.unthrottle = () => {
      unthrottled += 1;
      unthrottle();
    };
    return backend;
  });
  t.is(unthrottled, 1);
  await backend.dispose();
});
