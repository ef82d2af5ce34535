import { join } from 'node:path';
import { DomainError, invalidArgument } from '../../errors.ts';
import type { Tensor } from '../../graph/types.ts';
import type { Backend, Session } from '../backend.ts';
import { cancelled } from '../failures.ts';
import { type Member, type RunningBatch, loadBatch } from './batch.ts';
import { type Memory, int64 } from './cache.ts';
import { type DecodingOptions, rowsOf } from '../../releases/decoding.ts';
import { type Followed, createSearch, followSearch } from './create-search.ts';
import type { Found, GeneratedToken, Search, SearchContext } from './search.ts';

/** What of a preset the generator must know (lib/models/preset.ts). */
interface GeneratorPreset {
  readonly maxTextTokens: number;
  readonly maxReportTokens: number;
  readonly fusion: { readonly sep: number; readonly vocabulary: number };
  readonly t5: { readonly vocabulary: number };
}

export interface GeneratorOptions {
  readonly backend: Backend;
  readonly preset: GeneratorPreset;
  /** A release's folder, in which encoder.onnx and decoder.onnx lie. */
  readonly folder: string;
  /** Rows of the running batch; a request takes one, with beam search one a beam. Default 8. */
  readonly maxRows?: number;
  /** Requests that may wait for rows; one more is refused. Default 64. */
  readonly queueLimit?: number;
  /** Keeps the weights memory-mapped instead of prepacked: half the memory, slower steps. */
  readonly disablePrepacking?: boolean;
  /** Ids of the decoder's special tokens. Default 0 and 1; a negative eos never comes. */
  readonly start?: number;
  readonly eos?: number;
  /** Is told of every encoder run and every step of the batch. */
  readonly onRun?: (run: GeneratorRun) => void;
}

export interface GeneratorRun {
  readonly kind: 'prefill' | 'step';
  /** Rows of the step; of an encoder run, 1. */
  readonly rows: number;
  readonly durationMs: number;
}

export interface GenerateRequest {
  /** Vision tokens float32 [N, C]. */
  readonly tokens: Tensor;
  /** Label or indication text in the encoder's vocabulary, without special tokens; may be empty. */
  readonly textIds: readonly number[];
}

interface GenerateHooks {
  /** Cancels: the request leaves the batch before the next step. */
  readonly signal?: AbortSignal;
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

export interface Generator {
  /**
   * Generates one report; concurrent calls share the running batch. The result does not depend on who
   * else is in it (up to the last bits of float32 sums). Throws INVALID_ARGUMENT naming the field,
   * RESOURCE_EXHAUSTED when the waiting line is full, CANCELLED or DEADLINE_EXCEEDED when the signal
   * fires, UNAVAILABLE after `dispose` or when the worker dies.
   */
  generate(
    request: GenerateRequest,
    options: DecodingOptions,
    hooks?: GenerateHooks,
  ): Promise<Generated>;
  /**
   * Reads a report instead of writing one: for each of `ids` and the end token after them, what the
   * model would have chosen after the tokens before, and how likely what stands there is to it.
   */
  follow(
    request: GenerateRequest,
    ids: readonly number[],
    hooks?: Pick<GenerateHooks, 'signal'>,
  ): Promise<Followed>;
  /** [N, C] of the vision tokens that the encoder takes. */
  readonly tokensShape: readonly [number, number];
  /** Requests that wait, rows in use, steps and encoder runs so far. */
  readonly load: GeneratorLoad;
  /** Refuses new requests, ends those that came before, then frees the sessions. */
  dispose(): Promise<void>;
}

interface GeneratorLoad {
  readonly waiting: number;
  readonly rows: number;
  readonly steps: number;
  readonly prefills: number;
}

/** Loads a release's encoder and decoder into a backend. */
export async function createGenerator(options: GeneratorOptions): Promise<Generator> {
  const { backend, folder, disablePrepacking = false } = options;
  const batch = await loadBatch(backend, join(folder, 'decoder.onnx'), disablePrepacking);
  try {
    const keep = batch.crossNames;
    const path = join(folder, 'encoder.onnx');
    const encoder = await backend.load(path, { keep, disablePrepacking });
    return new Scheduler(encoder, batch, options);
  } catch (error) {
    await batch.dispose();
    throw error;
  }
}

/** One call of `generate` on its way. */
class Job {
  readonly request: GenerateRequest;
  readonly hooks: GenerateHooks;
  readonly rows: number;
  readonly search: Search;
  readonly result = Promise.withResolvers<Generated>();
  readonly #startedAt = performance.now();
  #prefillAt = 0;
  #decodeAt = 0;
  member: Member | undefined;
  steps = 0;
  /** Its caller has an answer: it only has to leave. */
  ended = false;

  constructor(
    request: GenerateRequest,
    rows: number,
    hooks: GenerateHooks,
    searching: (onToken: SearchContext['onToken']) => Search,
  ) {
    this.request = request;
    this.rows = rows;
    this.hooks = hooks;
    this.search = searching((token) => this.tell(({ onToken }) => onToken?.(token)));
  }

  beginPrefill(): void {
    this.#prefillAt = performance.now();
  }

  beginDecode(member: Member): void {
    this.#decodeAt = performance.now();
    this.member = member;
  }

  fail(error: unknown): void {
    this.ended = true;
    this.result.reject(error);
  }

  finish(found: Found): void {
    this.ended = true;
    const timings = {
      queueMs: this.#prefillAt - this.#startedAt,
      prefillMs: this.#decodeAt - this.#prefillAt,
      decodeMs: performance.now() - this.#decodeAt,
    };
    this.result.resolve({ ...found, steps: this.steps, timings });
  }

  /** A hook that throws ends its own request and nothing else. */
  tell(hook: (hooks: GenerateHooks) => void): void {
    if (this.ended) return;
    try {
      hook(this.hooks);
    } catch (error) {
      this.fail(error);
    }
  }
}

/** Text is padded to a multiple of this, so that requests seldom differ in length. */
const textBucket = 16;

class Scheduler implements Generator {
  readonly #encoder: Session;
  readonly #batch: RunningBatch;
  readonly #options: Required<Omit<GeneratorOptions, 'backend' | 'folder' | 'disablePrepacking'>>;
  #waiting: Job[] = [];
  #active: Job[] = [];
  #loop: Promise<void> | undefined;
  #disposed = false;
  #steps = 0;
  #prefills = 0;

  constructor(encoder: Session, batch: RunningBatch, options: GeneratorOptions) {
    this.#encoder = encoder;
    this.#batch = batch;
    const defaults = { maxRows: 8, queueLimit: 64, start: 0, eos: 1, onRun: () => {} };
    this.#options = { ...defaults, ...options };
  }

  get tokensShape(): readonly [number, number] {
    const [, tokens, channels] = this.#encoder.inputs.find(({ name }) => name === 'tokens')!.shape;
    return [Number(tokens), Number(channels)];
  }

  get load(): GeneratorLoad {
    return {
      waiting: this.#waiting.length,
      rows: rowsTaken(this.#active),
      steps: this.#steps,
      prefills: this.#prefills,
    };
  }

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

  async #enqueue(job: Job): Promise<Generated> {
    const { signal } = job.hooks;
    this.#check(job);
    if (signal?.aborted) throw cancelled(signal);
    const onAbort = (): void => {
      this.#waiting = this.#waiting.filter((other) => other !== job);
      job.fail(cancelled(signal as AbortSignal));
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#waiting.push(job);
    this.#loop ??= this.#work();
    try {
      return await job.result.promise;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  async dispose(): Promise<void> {
    this.#disposed = true;
    await this.#loop;
    await this.#batch.dispose();
    await this.#encoder.dispose();
  }

  /** No report is longer than the release allows. */
  #capped(options: DecodingOptions): DecodingOptions {
    const { maxReportTokens } = this.#options.preset;
    const maxTokens = Math.min(options.maxTokens, maxReportTokens);
    return { ...options, maxTokens, minTokens: Math.min(options.minTokens, maxTokens) };
  }

  #check({ request: { textIds, tokens }, rows }: Job): void {
    const { maxRows, queueLimit, preset } = this.#options;
    if (this.#disposed) {
      throw new DomainError('UNAVAILABLE', 'GENERATOR_DISPOSED', 'the generator was disposed');
    }
    if (rows > maxRows) {
      const message = `got ${rows}, at most ${maxRows} fit into the running batch`;
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
    let taken = rowsTaken(this.#active);
    const held = this.#waiting.filter((job) => (taken += job.rows) > maxRows).length;
    if (taken + rows > maxRows && held >= queueLimit) {
      const message = `${held} requests wait for the running batch of ${maxRows} rows already`;
      throw new DomainError('RESOURCE_EXHAUSTED', 'QUEUE_FULL', message);
    }
  }

  async #work(): Promise<void> {
    // Calls made in the same turn are seen together.
    await Promise.resolve();
    while (this.#waiting.length + this.#active.length > 0) {
      this.#sweep();
      await this.#admit();
      this.#sweep();
      if (this.#active.length > 0) await this.#step();
    }
    this.#loop = undefined;
  }

  /** Lets those go that have their answer. */
  #sweep(): void {
    for (const { ended, member } of this.#active) if (ended && member) this.#batch.leave(member);
    this.#active = this.#active.filter(({ ended }) => !ended);
  }

  /** At most one joins between two steps, so that an encoder run delays the others once. */
  async #admit(): Promise<void> {
    const [job] = this.#waiting;
    if (!job || rowsTaken(this.#active) + job.rows > this.#options.maxRows) return;
    this.#waiting.shift();
    const { start } = this.#options;
    try {
      job.beginPrefill();
      const memory = await this.#prefill(job);
      if (job.ended) {
        await Promise.all(Object.values(memory.caches).map((kept) => kept.release()));
        return;
      }
      job.beginDecode(await this.#batch.join(memory, job.search, start));
      this.#active.push(job);
      job.tell((hooks) => hooks.onStep?.(0));
    } catch (error) {
      job.fail(error);
      if (isLost(error)) this.#failAll(unavailable(error));
    }
  }

  /** What the caches hold is not known any more. */
  #failAll(error: unknown): void {
    this.#batch.clear();
    for (const job of this.#active) job.fail(error);
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
      job.tell((hooks) => hooks.onStep?.(job.steps));
      if (!job.ended && job.member?.rows.length === 0) job.finish(job.search.found());
    }
    this.#sweep();
  }
}

/** An id outside of the vocabulary would fail the run, and with it the neighbours'. */
function checkIds(field: string, ids: readonly number[], vocabulary: number): void {
  const wrong = ids.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= vocabulary);
  if (wrong < 0) return;
  const message = `got ${ids[wrong]}, expected an id below ${vocabulary}`;
  throw invalidArgument('TOKEN_UNKNOWN', `${field}[${wrong}]`, message);
}

/** Whether the worker died, and the caches with it: at this request, or while none ran. */
const isLost = (error: unknown): boolean =>
  error instanceof DomainError && (error.code === 'UNAVAILABLE' || error.reason === 'KEPT_LOST');

/** What requests whose caches are lost are told: another try is worth it. */
const unavailable = (error: unknown): unknown =>
  isLost(error) && (error as DomainError).code !== 'UNAVAILABLE'
    ? new DomainError('UNAVAILABLE', 'CACHE_LOST', 'the caches were lost when their worker died', {
        cause: error,
      })
    : error;

const rowsTaken = (jobs: readonly Job[]): number => jobs.reduce((sum, { rows }) => sum + rows, 0);
