import { DomainError, invalidArgument } from '../../errors.ts';
import { type DecodingOptions, rowsOf } from '../../releases/decoding.ts';
import type { Session } from '../backend.ts';
import { RequestQueue } from '../request-queue.ts';
import type { RunningBatch } from './batch.ts';
import { type Memory, int64 } from './cache.ts';
import { type Followed, createSearch, followSearch } from './create-search.ts';
import { type GenerateHooks, type GenerateRequest, type Generated, Job } from './job.ts';
import type { Search, SearchContext } from './search.ts';

/** Text is padded to a multiple of this, so that requests seldom differ in length. */
const textBucket = 16;

export interface SchedulerOptions {
  readonly preset: GeneratorPreset;
  /** Rows of the running batch; a request takes one, with beam search one per beam. Default 8. */
  readonly maxRows?: number;
  /** Where requests wait for rows, without a limit: a service admits before. Default: one of its own. */
  readonly queue?: GeneratorQueue;
  /** Ids of the decoder's special tokens. Default 0 and 1; a negative eos never comes. */
  readonly start?: number;
  readonly eos?: number;
  /** Called after every encoder run and every step of the batch. */
  readonly onRun?: (run: GeneratorRun) => void;
}

/** The sizes of a preset that the generator needs (lib/models/preset.ts). */
interface GeneratorPreset {
  readonly maxTextTokens: number;
  readonly maxReportTokens: number;
  readonly fusion: { readonly sep: number; readonly vocabulary: number };
  readonly t5: { readonly vocabulary: number };
}

/** Requests that wait for rows, of one generator or of several. */
export type GeneratorQueue = RequestQueue<Job>;

export interface GeneratorRun {
  readonly kind: 'prefill' | 'step';
  /** Rows of the step; of an encoder run, 1. */
  readonly rows: number;
  readonly durationMs: number;
}

interface GeneratorLoad {
  /** Rows in use. */
  readonly rows: number;
  /** Steps and encoder runs so far. */
  readonly steps: number;
  readonly prefills: number;
}

/** Continuous batching: takes jobs from its queue whenever rows of the running batch are free. */
export class Scheduler {
  readonly #encoder: Session;
  readonly #batch: RunningBatch;
  readonly #options: Required<SchedulerOptions>;
  #active: Job[] = [];
  #loop: Promise<void> | undefined;
  #disposed = false;
  #steps = 0;
  #prefills = 0;

  constructor(encoder: Session, batch: RunningBatch, options: SchedulerOptions) {
    this.#encoder = encoder;
    this.#batch = batch;
    const queue: GeneratorQueue = new RequestQueue();
    this.#options = { maxRows: 8, queue, start: 0, eos: 1, onRun: () => {}, ...options };
  }

  /** [N, C] of the vision tokens that the encoder takes. */
  get tokensShape(): readonly [number, number] {
    const [, tokens, channels] = this.#encoder.inputs.find(({ name }) => name === 'tokens')!.shape;
    return [Number(tokens), Number(channels)];
  }

  get load(): GeneratorLoad {
    return { rows: rowsTaken(this.#active), steps: this.#steps, prefills: this.#prefills };
  }

  /**
   * Generates one report; concurrent calls share the running batch. The result does not depend on the
   * other requests in it (up to the last bits of float32 sums). Throws INVALID_ARGUMENT naming the
   * field, CANCELLED or DEADLINE_EXCEEDED when the signal fires or the deadline passes, UNAVAILABLE
   * after `dispose` or when the worker dies.
   */
  generate(
    request: GenerateRequest,
    given: DecodingOptions,
    hooks: GenerateHooks = {},
  ): Promise<Generated> {
    const options = this.#capped(given);
    const { start, eos } = this.#options;
    const searching = (onToken: SearchContext['onToken']): Search =>
      createSearch({ options, start, eos, onToken });
    return this.#enqueue(new Job(request, rowsOf(options), hooks, searching));
  }

  /**
   * Scores a given report instead of generating one: for each of `ids` and the end token after them, the
   * token that greedy decoding would have chosen after the tokens before, and the log-probability of the
   * given one.
   */
  async follow(
    request: GenerateRequest,
    ids: readonly number[],
    hooks: Pick<GenerateHooks, 'signal'> = {},
  ): Promise<Followed> {
    checkIds('ids', ids, this.#options.preset.t5.vocabulary);
    const search = followSearch(ids, this.#options.eos);
    await this.#enqueue(new Job(request, 1, hooks, () => search));
    return search.followed();
  }

  /** Refuses new requests, finishes those that came before, then frees the sessions. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    await this.#loop;
    await this.#batch.dispose();
    await this.#encoder.dispose();
  }

  async #enqueue(job: Job): Promise<Generated> {
    this.#check(job);
    const { priority, signal, deadline } = job.hooks;
    const place = { key: this, cost: job.rows, priority, signal, deadline };
    this.#options.queue.add(job, place, (error) => {
      job.fail(error);
      job.settle();
    });
    this.#loop ??= this.#work();
    return job.answer;
  }

  /** No report is longer than the release allows. */
  #capped(options: DecodingOptions): DecodingOptions {
    const { maxReportTokens } = this.#options.preset;
    const maxTokens = Math.min(options.maxTokens, maxReportTokens);
    return { ...options, maxTokens, minTokens: Math.min(options.minTokens, maxTokens) };
  }

  #check({ request: { textIds, tokens }, rows }: Job): void {
    const { maxRows, preset } = this.#options;
    if (this.#disposed) {
      throw new DomainError('UNAVAILABLE', 'GENERATOR_DISPOSED', 'the generator was disposed');
    }
    if (rows > maxRows) {
      const message = `got ${rows}, expected at most ${maxRows}, the rows of the running batch`;
      throw invalidArgument('TOO_MANY_BEAMS', 'decoding.beams', message);
    }
    if (textIds.length > preset.maxTextTokens) {
      const message = `got ${textIds.length} tokens, expected at most ${preset.maxTextTokens}`;
      throw invalidArgument('TEXT_TOO_LONG', 'textIds', message);
    }
    checkIds('textIds', textIds, preset.fusion.vocabulary);
    if (tokens.shape.length !== 2) {
      const message = `got shape [${tokens.shape.join(',')}], expected [tokens,channels]`;
      throw invalidArgument('TOKENS_INVALID', 'tokens', message);
    }
  }

  async #work(): Promise<void> {
    // Calls of the same turn of the event loop enter the queue before the first is taken.
    await Promise.resolve();
    for (;;) {
      this.#sweep();
      const joined = await this.#admit();
      this.#sweep();
      if (this.#active.length > 0) await this.#step();
      else if (!joined) break;
    }
    this.#loop = undefined;
  }

  /** Jobs that have ended leave the batch and answer. */
  #sweep(): void {
    for (const job of this.#active) {
      if (!job.ended) continue;
      if (job.member) this.#batch.leave(job.member);
      job.settle();
    }
    this.#active = this.#active.filter(({ ended }) => !ended);
  }

  /** At most one joins between two steps, so that an encoder run delays the others once. */
  async #admit(): Promise<boolean> {
    const { maxRows, queue, start } = this.#options;
    const [entry] = queue.take(maxRows - rowsTaken(this.#active), { key: this, limit: 1 });
    if (!entry) return false;
    const job = entry.item;
    try {
      job.beginPrefill();
      const memory = await this.#prefill(job);
      if (job.ended) {
        job.settle();
        await Promise.all(Object.values(memory.caches).map((kept) => kept.release()));
        return true;
      }
      job.beginDecode(await this.#batch.join(memory, job.search, start));
      this.#active.push(job);
      job.notify((hooks) => hooks.onStep?.(0));
    } catch (error) {
      job.fail(error);
      job.settle();
      if (isLost(error)) this.#failAll(unavailable(error));
    }
    return true;
  }

  /** For when the content of the caches is no longer known. */
  #failAll(error: unknown): void {
    this.#batch.clear();
    for (const job of this.#active) {
      job.fail(error);
      job.settle();
    }
    this.#active = [];
  }

  async #prefill({ request, hooks: { signal } }: Job): Promise<Memory> {
    const { onRun, preset } = this.#options;
    const { tokens, textIds } = request;
    const text = [...textIds, preset.fusion.sep];
    const length = Math.min(
      Math.ceil(text.length / textBucket) * textBucket,
      preset.maxTextTokens + 1,
    );
    const padding = Array.from({ length: length - text.length }, () => 0);
    const feeds = {
      tokens: { ...tokens, shape: [1, ...tokens.shape] },
      textIds: int64([1, length], [...text, ...padding]),
      textMask: int64([1, length], [...text.map(() => 1), ...padding]),
    };
    const startedAt = performance.now();
    const { fetched, kept } = await this.#encoder.run(feeds, signal ? { signal } : {});
    this.#prefills++;
    onRun({ kind: 'prefill', rows: 1, durationMs: performance.now() - startedAt });
    return { caches: kept, bias: fetched['memoryBias']?.data as Float32Array };
  }

  async #step(): Promise<void> {
    const rows = rowsTaken(this.#active);
    const startedAt = performance.now();
    try {
      await this.#batch.step();
    } catch (error) {
      this.#failAll(unavailable(error));
      return;
    }
    this.#steps++;
    this.#options.onRun({ kind: 'step', rows, durationMs: performance.now() - startedAt });
    for (const job of this.#active) {
      job.steps++;
      job.notify((hooks) => hooks.onStep?.(job.steps));
      if (job.member?.rows.length === 0) job.finish(job.search.found());
    }
  }
}

/** An id outside of the vocabulary would fail the run, and with it the other requests of the batch. */
function checkIds(field: string, ids: readonly number[], vocabulary: number): void {
  const wrong = ids.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= vocabulary);
  if (wrong < 0) return;
  const message = `got ${ids[wrong]}, expected an id below ${vocabulary}`;
  throw invalidArgument('TOKEN_UNKNOWN', `${field}[${wrong}]`, message);
}

/** Whether the worker died, and the caches with it: during this request, or while it was idle. */
const isLost = (error: unknown): boolean =>
  error instanceof DomainError && (error.code === 'UNAVAILABLE' || error.reason === 'KEPT_LOST');

/** The error of requests whose caches are lost: UNAVAILABLE, which callers may retry. */
const unavailable = (error: unknown): unknown =>
  isLost(error) && (error as DomainError).code !== 'UNAVAILABLE'
    ? new DomainError('UNAVAILABLE', 'CACHE_LOST', 'the caches were lost when their worker died', {
        cause: error,
      })
    : error;

const rowsTaken = (jobs: readonly Job[]): number => jobs.reduce((sum, { rows }) => sum + rows, 0);
