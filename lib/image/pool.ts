import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { DecodedImage } from './decoded.ts';
import { ImageRefused } from './limits.ts';
import type { ImageLimits } from './limits.ts';

export interface Job {
  readonly bytes: Uint8Array;
  readonly limits: ImageLimits;
}

/** `refused` undefined: the decoder threw another error. */
export type Reply =
  | { readonly image: DecodedImage }
  | { readonly refused: { readonly reason: string; readonly message: string } | undefined };

interface Waiting extends Job {
  readonly settle: (result: Promise<DecodedImage>) => void;
}

interface Thread {
  readonly worker: Worker;
  /** Ends the thread's current job; undefined while it is idle. */
  finish?: ((result: Promise<DecodedImage>) => void) | undefined;
}

const maxThreads = Math.min(4, availableParallelism());
const threads = new Set<Thread>();
const queue: Waiting[] = [];

/**
 * Decodes DICOM on one of a few threads, started on demand, in the order of arrival. A job over its time
 * limit terminates its thread, as does one that crashes it; the next job starts a new one. Idle threads
 * do not keep the process alive.
 */
export function decodeOnWorker(bytes: Uint8Array, limits: ImageLimits): Promise<DecodedImage> {
  return new Promise((resolve) => {
    queue.push({ bytes, limits, settle: resolve });
    next();
  });
}

function next(): void {
  if (queue.length === 0) return;
  const idle = [...threads].find(({ finish }) => finish === undefined);
  if (idle === undefined && threads.size === maxThreads) return;
  const thread = idle ?? start();
  const { bytes, limits, settle } = queue.shift()!;
  const timer = setTimeout(() => {
    end(thread, 'IMAGE_TIME_LIMIT', `decoding took over ${limits.maxTimeMs} ms`);
  }, limits.maxTimeMs);
  thread.finish = (result) => {
    clearTimeout(timer);
    thread.finish = undefined;
    thread.worker.unref();
    settle(result);
    next();
  };
  thread.worker.ref();
  // A copy of these bytes only: they may be a view of a whole message, which would be transferred too.
  const copy = new Uint8Array(bytes);
  thread.worker.postMessage({ bytes: copy, limits } satisfies Job, [copy.buffer]);
}

function start(): Thread {
  const worker = new Worker(new URL('worker.ts', import.meta.url));
  const thread: Thread = { worker };
  threads.add(thread);
  worker.on('message', (reply: Reply) => {
    thread.finish?.(
      'image' in reply
        ? Promise.resolve(reply.image)
        : refuse(reply.refused?.reason, reply.refused?.message),
    );
  });
  worker.on('error', () => end(thread));
  worker.on('exit', () => end(thread));
  return thread;
}

function end(thread: Thread, reason?: string, message?: string): void {
  threads.delete(thread);
  void thread.worker.terminate();
  thread.finish?.(refuse(reason, message));
}

function refuse(
  reason = 'IMAGE_CORRUPT',
  message = 'the image data is damaged and cannot be decoded',
): Promise<never> {
  return Promise.reject(new ImageRefused(reason, message));
}
