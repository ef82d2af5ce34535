import type { Tensor } from '../../graph/types.ts';
import { abortError } from '../abort.ts';
import type { QueueOptions } from '../request-queue.ts';
import type { Member } from './batch.ts';
import type { Found, GeneratedToken, Search, SearchContext } from './search.ts';

export interface GenerateRequest {
  /** Vision tokens float32 [N, C]. */
  readonly tokens: Tensor;
  /** Label or indication text in the encoder's vocabulary, without special tokens; may be empty. */
  readonly textIds: readonly number[];
}

/** How the request waits for rows, and who follows it. When `signal` fires it leaves before the next step. */
export interface GenerateHooks extends Pick<QueueOptions, 'priority' | 'signal' | 'deadline'> {
  /** Every token as it is chosen; with beam search all of them at the end. */
  readonly onToken?: (token: GeneratedToken) => void;
  /** Before the first step (0) and after every step of this request. */
  readonly onStep?: (step: number) => void;
}

export interface Generated extends Found {
  /** Steps of the batch that this request took part in. */
  readonly steps: number;
  /** Waiting, encoder run, and steps up to the last. */
  readonly timings: {
    readonly queueMs: number;
    readonly prefillMs: number;
    readonly decodeMs: number;
  };
}

/** One call of `generate`: waits in the queue, runs its encoder, takes its steps, and gets one answer. */
export class Job {
  readonly request: GenerateRequest;
  readonly hooks: GenerateHooks;
  /** The most rows that it takes in the running batch. */
  readonly rows: number;
  readonly search: Search;
  /** Its place in the running batch. */
  member: Member | undefined;
  steps = 0;
  readonly #answer = Promise.withResolvers<Generated>();
  /** Gives the answer; set once the job has ended, called once it holds no rows. */
  #settle: (() => void) | undefined;
  readonly #startedAt = performance.now();
  #prefillAt = 0;
  #decodeAt = 0;

  constructor(
    request: GenerateRequest,
    rows: number,
    hooks: GenerateHooks,
    searching: (onToken: SearchContext['onToken']) => Search,
  ) {
    this.request = request;
    this.rows = rows;
    this.hooks = hooks;
    this.search = searching((token) => this.notify(({ onToken }) => onToken?.(token)));
  }

  get answer(): Promise<Generated> {
    return this.#answer.promise;
  }

  /** Its outcome is certain: all that is left is to leave the batch and answer. */
  get ended(): boolean {
    return this.#settle !== undefined;
  }

  beginPrefill(): void {
    this.#prefillAt = performance.now();
    this.hooks.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  beginDecode(member: Member): void {
    this.#decodeAt = performance.now();
    this.member = member;
  }

  fail(error: unknown): void {
    this.#settle ??= () => this.#answer.reject(error);
  }

  finish(found: Found): void {
    const timings = {
      queueMs: this.#prefillAt - this.#startedAt,
      prefillMs: this.#decodeAt - this.#prefillAt,
      decodeMs: performance.now() - this.#decodeAt,
    };
    this.#settle ??= () => this.#answer.resolve({ ...found, steps: this.steps, timings });
  }

  /** Answers the caller, once the job has ended and holds nothing. */
  settle(): void {
    this.hooks.signal?.removeEventListener('abort', this.#onAbort);
    this.#settle?.();
  }

  /** A hook that throws ends its own request and nothing else. */
  notify(hook: (hooks: GenerateHooks) => void): void {
    if (this.ended) return;
    try {
      hook(this.hooks);
    } catch (error) {
      this.fail(error);
    }
  }

  readonly #onAbort = (): void => this.fail(abortError(this.hooks.signal!));
}
