import { Worker } from 'node:worker_threads';
import { DomainError } from '../errors.ts';
import type { Reply, Requests, Verb } from './protocol.ts';

/** Workers that hold nothing, by provider: to start one takes 60 ms of a core, which others then wait for. */
const resting = new Map<string, Worker>();

/** What ONNX Runtime said; the caller knows what it was asked to do. */
export class WorkerFailure extends Error {}

/**
 * A worker thread that answers one request at a time. A dead worker fails the request it was at with
 * UNAVAILABLE and is replaced by the next request.
 */
export class WorkerPort {
  readonly #provider: string;
  #worker: Worker | undefined;
  #waiting: PromiseWithResolvers<unknown> | undefined;
  /** Counts the workers so far: what an earlier one held is gone. */
  generation = 1;

  constructor(provider: string) {
    this.#provider = provider;
  }

  async call<V extends Verb>(
    verb: V,
    request: Requests[V]['request'],
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<Requests[V]['reply']> {
    const worker = (this.#worker ??= this.#start());
    const waiting = (this.#waiting = Promise.withResolvers<unknown>());
    // A worker at rest does not keep the process alive, a worker at work does.
    worker.ref();
    try {
      worker.postMessage({ verb, request }, transfer);
      return (await waiting.promise) as Requests[V]['reply'];
    } finally {
      this.#waiting = undefined;
      worker.unref();
    }
  }

  /** Frees all that the worker held. One of each provider rests until it is needed again, others end. */
  async close(): Promise<void> {
    const worker = this.#worker;
    if (worker === undefined) return;
    const cleared = await this.call('clear', {}).then(
      () => true,
      () => false,
    );
    this.#worker = undefined;
    if (cleared && !resting.has(this.#provider)) rest(this.#provider, worker);
    else await worker.terminate();
  }

  #start(): Worker {
    const worker = resting.get(this.#provider) ?? startWorker(this.#provider);
    resting.delete(this.#provider);
    worker.removeAllListeners();
    let cause: unknown;
    worker.on('message', (reply: Reply) => {
      if ('value' in reply) this.#waiting?.resolve(reply.value);
      else this.#waiting?.reject(new WorkerFailure(reply.error));
    });
    worker.on('error', (error) => (cause = error));
    worker.on('exit', (code) => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      this.generation++;
      const why = cause instanceof Error ? cause.message : `exit code ${code}`;
      const message = `the worker of radscribe-${this.#provider} died (${why}); the next request gets a new one`;
      this.#waiting?.reject(new DomainError('UNAVAILABLE', 'WORKER_DIED', message, { cause }));
    });
    return worker;
  }
}

const startWorker = (provider: string): Worker =>
  new Worker(new URL('worker.ts', import.meta.url), {
    name: `radscribe-${provider}`,
    // Flags such as --eval or --import are for the main thread.
    execArgv: [],
    // Its tensors lie outside of its heap, of which it fills little, but would take 100 MB in time.
    resourceLimits: { maxYoungGenerationSizeMb: 8 },
  });

/** Has a worker at rest ready for who needs one next. */
export function prepareWorker(provider: string): void {
  if (!resting.has(provider)) rest(provider, startWorker(provider));
}

function rest(provider: string, worker: Worker): void {
  worker.removeAllListeners();
  worker.on('error', () => {});
  worker.on('exit', () => {
    if (resting.get(provider) === worker) resting.delete(provider);
  });
  worker.unref();
  resting.set(provider, worker);
}
