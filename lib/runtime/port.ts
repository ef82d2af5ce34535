import { Worker } from 'node:worker_threads';
import { DomainError } from '../errors.ts';
import type { Reply, Requests, Verb } from './protocol.ts';

/** What ONNX Runtime said; the caller knows what it was asked to do. */
export class WorkerFailure extends Error {}

/**
 * A worker thread that answers one request at a time. A dead worker fails the request it was at with
 * UNAVAILABLE and is replaced by the next request.
 */
export class WorkerPort {
  readonly #name: string;
  #worker: Worker | undefined;
  #waiting: PromiseWithResolvers<unknown> | undefined;
  /** Counts the workers so far: what an earlier one held is gone. */
  generation = 1;

  constructor(name: string) {
    this.#name = name;
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

  /** Ends the worker, which frees all that it held. */
  async close(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(new URL('worker.ts', import.meta.url), {
      name: this.#name,
      // Flags such as --eval or --import are for the main thread.
      execArgv: [],
    });
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
      const message = `the worker of ${this.#name} died (${why}); the next request gets a new one`;
      this.#waiting?.reject(new DomainError('UNAVAILABLE', 'WORKER_DIED', message, { cause }));
    });
    return worker;
  }
}
