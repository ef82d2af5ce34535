import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { InferenceSession } from 'onnxruntime-node';
import { DomainError, invalidArgument } from '../errors.ts';
import { o } from '../graph/build.ts';
import type { Dtype, Tensor } from '../graph/types.ts';
import { input } from '../graph/value.ts';
import { emitModel } from '../onnx/emit.ts';
import { tensorOver } from '../tensor.ts';
import { checkFeeds, checkOutputs, ownBytes } from './feeds.ts';
import { abortError } from './abort.ts';
import { gone, loadError, runError } from './failures.ts';
import { WorkerPort } from './port.ts';
import type { KeptReference, RunResult, SessionInfo, ValueInfo, WireTensor } from './protocol.ts';

export type Provider = 'cpu' | 'webgpu' | 'cuda';

export interface BackendOptions {
  /** ONNX Runtime execution provider; default `cpu`. */
  readonly provider?: Provider;
  /** Threads inside an operator; default: all cores. */
  readonly intraOpThreads?: number;
  /**
   * Idle threads spin while they wait for work. Default false: two processes that spin against each
   * other lose 60 % of their throughput.
   */
  readonly allowSpinning?: boolean;
  /**
   * Starts throttled: pauses after each task for four times as long as the task took, so that a release
   * that loads takes a fifth of the time of its cores from those that serve. Ends with `unthrottle`.
   */
  readonly throttled?: boolean;
}

interface LoadOptions {
  /**
   * Outputs that stay with the backend: every run keeps them, none can fetch them. On webgpu they
   * never leave the GPU.
   */
  readonly keep?: readonly string[];
  /** No second, prepacked copy of the weights: they stay memory-mapped from the external file. */
  readonly disablePrepacking?: boolean;
  /** Default `all`. */
  readonly optimization?: 'disabled' | 'basic' | 'extended' | 'all';
}

interface RunOptions {
  /** Outputs to return; default: all that are not kept. */
  readonly fetch?: readonly string[];
  /** Outputs to keep; default: those that the session was loaded to keep. */
  readonly keep?: readonly string[];
  /** The feeds may be consumed: their buffers move instead of being copied, and are empty after. */
  readonly transfer?: boolean;
  /** Cancels a run that waits; the outputs of one that has begun are dropped. */
  readonly signal?: AbortSignal;
}

/**
 * An output that stayed with its backend: feed it to any session of that backend, any number of times,
 * and release it when done. It is lost with the worker that holds it.
 */
export interface Kept {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Runs that were requested before can still read it. */
  release(): Promise<void>;
}

export interface Session {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  /**
   * Throws INVALID_ARGUMENT for feeds that the model does not take, naming the input, its actual
   * and its expected type; CANCELLED or DEADLINE_EXCEEDED when its signal fires; UNAVAILABLE when the
   * worker dies; FAILED_PRECONDITION for a kept value that is gone, or a disposed session.
   */
  run(feeds: Readonly<Record<string, Tensor | Kept>>, options?: RunOptions): Promise<RunOutput>;
  dispose(): Promise<void>;
}

interface RunOutput {
  readonly fetched: Record<string, Tensor>;
  readonly kept: Record<string, Kept>;
}

/** Sessions of ONNX Runtime in one worker thread, which runs them one at a time, first come first served. */
export interface Backend {
  readonly provider: Provider;
  /**
   * Loads an ONNX model. External data is resolved against the folder of a model given by path; for
   * bytes, against the working directory. Throws NOT_FOUND, or INVALID_ARGUMENT for a bad model.
   */
  load(model: string | Uint8Array, options?: LoadOptions): Promise<Session>;
  /** Ends the pauses of a backend that started throttled. */
  unthrottle(): void;
  /** Finishes what was requested before, then frees everything it holds. */
  dispose(): Promise<void>;
}

/** Starts a backend. Throws FAILED_PRECONDITION where this machine does not have the provider. */
export async function createBackend(options: BackendOptions = {}): Promise<Backend> {
  const { intraOpThreads = availableParallelism() } = options;
  if (!Number.isSafeInteger(intraOpThreads) || intraOpThreads < 1) {
    const message = `got ${intraOpThreads}, expected a whole number above 0`;
    throw invalidArgument('THREADS_INVALID', 'intraOpThreads', message);
  }
  const engine = new Engine(options);
  const x = input('x', 'float32', [1]);
  const probe = { inputs: [x], outputs: [{ name: 'y', value: o.Add(x, x) }] };
  try {
    const session = await engine.load(emitModel(probe, { name: 'probe' }));
    await session.dispose();
    return engine;
  } catch (cause) {
    await engine.dispose();
    if (!(cause instanceof DomainError) || cause.code !== 'INVALID_ARGUMENT') throw cause;
    const why = cause.cause instanceof Error ? cause.cause.message : cause.message;
    // ONNX Runtime puts its source line and the failed condition before its reason.
    const reason = why.replace(/^\/.* was false\. /s, '').trim();
    const message = `provider: ${engine.provider} is not available on this machine (${reason})`;
    const details = { field: 'provider', metadata: { provider: engine.provider }, cause };
    throw new DomainError('FAILED_PRECONDITION', 'PROVIDER_ABSENT', message, details);
  }
}

class Engine implements Backend {
  readonly provider: Provider;
  readonly port: WorkerPort;
  disposed = false;
  readonly #session: InferenceSession.SessionOptions;
  /** Aborted: not throttled. */
  readonly #throttle = new AbortController();
  #lastId = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: BackendOptions) {
    const { provider = 'cpu', intraOpThreads, allowSpinning = false, throttled = false } = options;
    if (!throttled) this.#throttle.abort();
    this.provider = provider;
    this.port = new WorkerPort(provider);
    this.#session = {
      executionProviders: [provider],
      intraOpNumThreads: intraOpThreads ?? availableParallelism(),
      // Errors are thrown as well; the log would repeat them.
      logSeverityLevel: 4,
      extra: { session: { intra_op: { allow_spinning: allowSpinning ? '1' : '0' } } },
    };
  }

  async load(model: string | Uint8Array, options: LoadOptions = {}): Promise<Session> {
    const { keep = [], disablePrepacking = false, optimization = 'all' } = options;
    const extra = this.#session.extra?.['session'] as object;
    const session = new LoadedSession(this, this.nextId(), keep, {
      // A copy: the worker may die after the caller has changed its own.
      model: typeof model === 'string' ? model : model.slice(),
      options: {
        ...this.#session,
        graphOptimizationLevel: optimization,
        extra: { session: { ...extra, disable_prepacking: disablePrepacking ? '1' : '0' } },
      },
      onDevice: this.provider === 'webgpu' ? keep : [],
    });
    try {
      await this.inTurn(() => session.ensureLoaded());
      return session;
    } catch (error) {
      await session.dispose();
      throw error;
    }
  }

  unthrottle(): void {
    this.#throttle.abort();
  }

  async dispose(): Promise<void> {
    this.disposed = true;
    this.unthrottle();
    await this.#last;
    await this.port.close();
  }

  nextId(): number {
    return ++this.#lastId;
  }

  async #pause(workedMs: number): Promise<void> {
    const { signal } = this.#throttle;
    if (!signal.aborted) await sleep(pauseRatio * workedMs, undefined, { signal }).catch(() => {});
  }

  /** Does `work` after everything that was requested before, unless the signal has fired by then. */
  async inTurn<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.disposed) throw gone('BACKEND_DISPOSED', 'the backend was disposed');
    if (signal?.aborted) throw abortError(signal);
    let startMs = 0;
    const turn = this.#last.then(() => {
      if (signal?.aborted) throw abortError(signal);
      startMs = performance.now();
      return work();
    });
    this.#last = turn.catch(() => {}).then(() => this.#pause(performance.now() - startMs));
    if (!signal) return turn;
    const abort = Promise.withResolvers<never>();
    const onAbort = (): void => abort.reject(abortError(signal));
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await Promise.race([turn, abort.promise]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }
}

/** The pause after a task while throttled, in multiples of the task's duration. */
const pauseRatio = 4;

class KeptValue implements Kept {
  readonly engine: Engine;
  readonly id: number;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly #generation: number;
  #released = false;

  constructor(engine: Engine, id: number, { dtype, shape }: RunResult['kept'][string]) {
    this.engine = engine;
    this.id = id;
    this.dtype = dtype;
    this.shape = shape;
    this.#generation = engine.port.generation;
  }

  /** What the worker knows it by. Throws FAILED_PRECONDITION when it is lost. */
  reference(name: string): KeptReference {
    if (this.#generation === this.engine.port.generation) return { kept: this.id };
    throw gone('KEPT_LOST', `feeds.${name}: the kept value was lost when its worker died`);
  }

  check(name: string, engine: Engine): void {
    if (this.engine !== engine) {
      throw invalidArgument('FEED_INVALID', `feeds.${name}`, 'is kept by another backend');
    }
    if (this.#released) {
      throw gone('KEPT_RELEASED', `feeds.${name}: the kept value was released`);
    }
  }

  release(): Promise<void> {
    return KeptValue.releaseOf(this.engine, [this]);
  }

  static async releaseOf(engine: Engine, values: readonly KeptValue[]): Promise<void> {
    const held = values.filter((value) => !value.#released);
    if (held.length === 0 || engine.disposed) return;
    for (const value of held) value.#released = true;
    await engine.inTurn(async () => {
      const { generation } = engine.port;
      const kept = held.filter((value) => value.#generation === generation).map(({ id }) => id);
      if (kept.length > 0) await engine.port.call('release', { kept });
    });
  }
}

/** Releases many kept values in one message. Runs that were requested before can still read them. */
export async function releaseAll(values: readonly Kept[]): Promise<void> {
  const byEngine = Map.groupBy(
    values.filter((value) => value instanceof KeptValue),
    ({ engine }) => engine,
  );
  await Promise.all(byEngine.entries().map(([engine, own]) => KeptValue.releaseOf(engine, own)));
}

interface Source {
  readonly model: string | Uint8Array;
  readonly options: InferenceSession.SessionOptions;
  readonly onDevice: readonly string[];
}

class LoadedSession implements Session {
  readonly #engine: Engine;
  readonly #id: number;
  readonly #keep: readonly string[];
  readonly #source: Source;
  #info: SessionInfo = { inputs: [], outputs: [] };
  #generation = 0;
  #disposed = false;

  constructor(engine: Engine, id: number, keep: readonly string[], source: Source) {
    this.#engine = engine;
    this.#id = id;
    this.#keep = keep;
    this.#source = source;
  }

  get inputs(): readonly ValueInfo[] {
    return this.#info.inputs;
  }

  get outputs(): readonly ValueInfo[] {
    return this.#info.outputs;
  }

  /** Loads the model into a worker that does not hold it: the first one, or the replacement of a dead one. */
  async ensureLoaded(): Promise<void> {
    const { port } = this.#engine;
    if (this.#generation !== 0 && this.#generation === port.generation) return;
    try {
      this.#info = await port.call('load', { session: this.#id, ...this.#source });
    } catch (error) {
      throw loadError(this.#source.model, error);
    }
    this.#generation = port.generation;
    checkOutputs(this.#info, 'keep', this.#keep);
  }

  async run(
    feeds: Readonly<Record<string, Tensor | Kept>>,
    options: RunOptions = {},
  ): Promise<RunOutput> {
    const { keep = this.#keep, transfer = false, signal } = options;
    if (this.#disposed) throw gone('SESSION_DISPOSED', 'the session was disposed');
    const fetch = options.fetch ?? this.#free(keep);
    checkOutputs(this.#info, 'fetch', fetch);
    checkOutputs(this.#info, 'keep', keep);
    const stuck = fetch.find((name) => this.#keep.includes(name));
    if (stuck !== undefined) {
      const message = `${stuck} cannot be fetched: the session was loaded to keep it`;
      throw invalidArgument('OUTPUT_KEPT', 'fetch', message);
    }
    checkFeeds(this.#info.inputs, feeds);
    const { given, kept } = this.#split(feeds);
    const owned = ownBytes(given, transfer);
    return this.#engine.inTurn(() => this.#run(owned, kept, fetch, keep, signal), signal);
  }

  async dispose(): Promise<void> {
    if (this.#disposed || this.#engine.disposed) return;
    this.#disposed = true;
    const { port } = this.#engine;
    await this.#engine.inTurn(async () => {
      if (this.#generation === port.generation) await port.call('unload', { session: this.#id });
    });
  }

  #free(keep: readonly string[]): readonly string[] {
    const names = this.#info.outputs.map(({ name }) => name);
    return names.filter((name) => !keep.includes(name) && !this.#keep.includes(name));
  }

  #split(feeds: Readonly<Record<string, Tensor | Kept>>): {
    readonly given: Record<string, Tensor>;
    readonly kept: ReadonlyMap<string, KeptValue>;
  } {
    const given: Record<string, Tensor> = {};
    const kept = new Map<string, KeptValue>();
    for (const [name, feed] of Object.entries(feeds)) {
      if (feed instanceof KeptValue) {
        feed.check(name, this.#engine);
        kept.set(name, feed);
      } else given[name] = feed as Tensor;
    }
    return { given, kept };
  }

  async #run(
    given: Record<string, WireTensor>,
    kept: ReadonlyMap<string, KeptValue>,
    fetch: readonly string[],
    keep: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<RunOutput> {
    const engine = this.#engine;
    await this.ensureLoaded();
    const feeds: Record<string, WireTensor | KeptReference> = { ...given };
    for (const [name, value] of kept) feeds[name] = value.reference(name);
    const ids = new Map(keep.map((name) => [name, engine.nextId()]));
    const buffers = Object.values(given).map(({ buffer }) => buffer);
    let result: RunResult;
    try {
      const request = { session: this.#id, feeds, fetch, keep: ids };
      result = await engine.port.call('run', request, buffers);
    } catch (error) {
      throw runError(this.#info, { ...given, ...Object.fromEntries(kept) }, error);
    }
    if (signal?.aborted) {
      // The caller has left and would not release the kept outputs.
      await engine.port.call('release', { kept: [...ids.values()] });
      throw abortError(signal);
    }
    return {
      fetched: mapValues(result.fetched, ({ dtype, shape, buffer }) =>
        tensorOver(dtype, shape, buffer),
      ),
      kept: mapValues(
        result.kept,
        (info, name) => new KeptValue(engine, ids.get(name) as number, info),
      ),
    };
  }
}

const mapValues = <T, R>(
  record: Readonly<Record<string, T>>,
  map: (value: T, name: string) => R,
): Record<string, R> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, map(value, name)]));
