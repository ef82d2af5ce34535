import { Worker } from 'node:worker_threads';
import { DomainError } from '../errors.ts';
import type { Reply, Requests, Verb } from './protocol.ts';

/** Idle workers that hold nothing, by provider: starting one takes 60 ms of a core from requests. */
const idle = new Map<string, Worker>();

/** The message of ONNX Runtime's error; the caller adds what failed. */
export class WorkerFailure extends Error {}

/**
 * A worker thread that answers one request at a time. When it dies, its current request fails with
 * UNAVAILABLE, and the next request starts another worker.
 */
export class WorkerPort {
  readonly #provider: string;
  #worker: Worker | undefined;
  #waiting: PromiseWithResolvers<unknown> | undefined;
  /** Counts the workers so far: what an earlier one held is lost. */
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
    // An idle worker does not keep the process alive, a busy one does.
    worker.ref();
    try {
      worker.postMessage({ verb, request }, transfer);
      return (await waiting.promise) as Requests[V]['reply'];
    } finally {
      this.#waiting = undefined;
      worker.unref();
    }
  }

  /** Frees everything that the worker held. One idle worker of each provider is kept, others end. */
  async close(): Promise<void> {
    const worker = this.#worker;
    if (worker === undefined) return;
    const cleared = await this.call('clear', {}).then(
      () => true,
      () => false,
    );
    this.#worker = undefined;
    if (cleared && !idle.has(this.#provider)) keepIdle(this.#provider, worker);
    else await worker.terminate();
  }

  #start(): Worker {
    const worker = idle.get(this.#provider) ?? startWorker(this.#provider);
    idle.delete(this.#provider);
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

/**
 * ONNX Runtime's official builds send their maker what they load and run, and write an id into the
 * user's cache folder; read once, when the first worker loads the library.
 */
process.env['ORT_DISABLE_TELEMETRY'] = '1';

const startWorker = (provider: string): Worker =>
  new Worker(new URL('worker.ts', import.meta.url), {
    name: `radscribe-${provider}`,
    // Flags such as --eval or --import apply to the main thread only.
    execArgv: [],
    // Tensors are outside of its heap. Without a limit the young generation grows to 100 MB.
    resourceLimits: { maxYoungGenerationSizeMb: 8 },
  });

/** Starts an idle worker, so that the next backend need not wait for one. */
export function prepareWorker(provider: string): void {
  if (!idle.has(provider)) keepIdle(provider, startWorker(provider));
}

function keepIdle(provider: string, worker: Worker): void {
  worker.removeAllListeners();
  worker.on('error', () => {});
  worker.on('exit', () => {
    if (idle.get(provider) === worker) idle.delete(provider);
  });
  worker.unref();
  idle.set(provider, worker);
}
