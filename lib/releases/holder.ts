import { DomainError } from '../errors.ts';
import type { Manifest } from './manifest.ts';
import type { ChannelState } from './store/channels.ts';
import type { Hold } from './store/holds.ts';
import type { OpenedRelease, ReleasePart, ReleaseStore } from './store/store.ts';

/** A part of a release, loaded: ready to answer. */
export interface Model {
  /** Finishes the requests under way, then frees everything. */
  dispose(): Promise<void>;
}

export interface HolderOptions<M extends Model> {
  readonly store: ReleaseStore;
  /** Channels whose releases are held. */
  readonly channels: readonly string[];
  /** The part of a release that is read. */
  readonly part: ReleasePart;
  /** Loads and warms up by a real inference; in the `background` once other releases serve. */
  readonly load: (release: OpenedRelease, background: boolean) => Promise<M>;
  /** Unique to this process: the store keeps what it holds. */
  readonly instance: string;
  /** How often the channels are polled. */
  readonly pollMs: number;
  /**
   * How long a release stays loaded after its channel left it and after its last request: where another
   * service cannot load the new one, the gateway keeps sending requests for the old one.
   */
  readonly lingerMs: number;
  readonly observer: HolderObserver;
}

interface HolderObserver {
  /** The releases held now, and the channels that point to each. */
  readonly onChange: (held: readonly HeldRelease[]) => void;
  readonly onLoaded?: (release: string, durationMs: number) => void;
  readonly onDropped?: (release: string) => void;
  /** A release could not be loaded; the others go on serving, and the load is retried. */
  readonly onLoadFailed: (release: string, error: unknown) => void;
  /** The store could not be read or written; the held releases go on serving. */
  readonly onStoreError: (error: unknown) => void;
}

interface HeldRelease {
  readonly release: string;
  readonly variant: string;
  readonly channels: readonly string[];
}

/** A loaded release that is not dropped before this is disposed of. */
export interface Lease<M> extends Disposable {
  readonly model: M;
  readonly manifest: Manifest;
}

interface Entry<M> {
  readonly model: M;
  readonly manifest: Manifest;
  users: number;
  /** When it was last acquired, by `performance.now`. */
  usedMs: number;
  /** Set when it is dropped; resolves when its last request has ended. */
  dropped: PromiseWithResolvers<void> | undefined;
}

interface Failure {
  readonly times: number;
  readonly untilMs: number;
}

const firstRetryMs = 1000;
const maxRetryMs = 60_000;

/**
 * Keeps the releases loaded that channels point to. A new one is loaded beside those that serve, and
 * serves once it has answered a first inference; an old one is dropped when no channel points to it, no
 * replacement for it is still to be loaded, and no request uses it.
 */
export class ReleaseHolder<M extends Model> {
  readonly #options: HolderOptions<M>;
  readonly #held = new Map<string, Entry<M>>();
  readonly #failures = new Map<string, Failure>();
  readonly #ending = new AbortController();
  #channels: ReadonlyMap<string, ChannelState> = new Map();
  #hold: Hold | undefined;
  #watching: Promise<void> | undefined;
  #settling: Promise<void> | undefined;
  #again = false;
  /** Has been ready: from then on, requests arrive while another release loads. */
  #serves = false;
  #timer: NodeJS.Timeout | undefined;
  readonly #lingering = new Map<string, number>();
  readonly #leaving = new Set<Promise<void>>();

  constructor(options: HolderOptions<M>) {
    this.#options = options;
  }

  /** Starts watching the channels. */
  start(): void {
    this.#watching ??= this.#watch();
  }

  /** Whether at least one release is loaded, and every other one was tried at least once. */
  get ready(): boolean {
    const tried = this.#wanted().every((id) => this.#held.has(id) || this.#failures.has(id));
    return this.#held.size > 0 && tried;
  }

  /**
   * Throws FAILED_PRECONDITION (RELEASE_NOT_HELD) for a release that is not loaded here, and
   * UNAVAILABLE while none is loaded yet: another replica may answer.
   */
  acquire(release: string): Lease<M> {
    const entry = this.#held.get(release);
    if (this.#held.size === 0) {
      const message = 'no release is loaded here yet';
      throw new DomainError('UNAVAILABLE', 'NOT_READY', message);
    }
    if (entry === undefined || entry.dropped !== undefined) {
      const held = [...this.#held.keys()].join(', ') || 'none';
      // The caller may have sent anything, of any length.
      const message = `release ${JSON.stringify(release.slice(0, 40))} is not held here; held: ${held}`;
      throw new DomainError('FAILED_PRECONDITION', 'RELEASE_NOT_HELD', message, {
        field: 'release',
      });
    }
    entry.users += 1;
    entry.usedMs = performance.now();
    let left = false;
    return {
      model: entry.model,
      manifest: entry.manifest,
      [Symbol.dispose]: () => {
        if (left) return;
        left = true;
        entry.users -= 1;
        if (entry.users === 0) entry.dropped?.resolve();
      },
    };
  }

  /** Drops every release after its last request, and waits for that. */
  async close(): Promise<void> {
    this.#ending.abort();
    clearTimeout(this.#timer);
    await this.#watching;
    await this.#settling;
    for (const id of this.#held.keys()) this.#drop(id);
    await Promise.all(this.#leaving);
    await this.#hold?.release().catch(this.#options.observer.onStoreError);
  }

  async #watch(): Promise<void> {
    const { store, channels, pollMs, observer } = this.#options;
    const { signal } = this.#ending;
    const onError = (error: unknown): void => observer.onStoreError(error);
    for await (const states of store.watch({ channels, pollMs, signal, onError })) {
      this.#channels = states;
      this.#settle();
    }
  }

  #wanted(): readonly string[] {
    return [...new Set([...this.#channels.values()].map(({ release }) => release))];
  }

  /** Loads and drops until what is held is what the channels want, one at a time to spare serving. */
  #settle(): void {
    if (this.#settling !== undefined) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#timer);
    this.#settling = this.#work()
      .catch(this.#options.observer.onStoreError)
      .finally(() => {
        this.#settling = undefined;
        if (this.#again && !this.#ending.signal.aborted) {
          this.#again = false;
          this.#settle();
        }
      });
  }

  async #work(): Promise<void> {
    const isEnding = (): boolean => this.#ending.signal.aborted;
    for (const id of this.#wanted()) {
      if (isEnding()) return;
      this.#lingering.delete(id);
      const retryMs = this.#failures.get(id)?.untilMs ?? 0;
      if (!this.#held.has(id) && performance.now() >= retryMs) await this.#load(id);
    }
    this.#changed();
    const wanted = this.#wanted();
    const complete = wanted.length > 0 && wanted.every((id) => this.#held.has(id));
    if (complete) {
      const now = performance.now();
      for (const id of this.#held.keys()) {
        if (wanted.includes(id)) continue;
        const { lingerMs } = this.#options;
        const usedMs = this.#held.get(id)?.usedMs ?? 0;
        const untilMs = Math.max(this.#lingering.get(id) ?? now + lingerMs, usedMs + lingerMs);
        this.#lingering.set(id, untilMs);
        if (now >= untilMs) this.#drop(id);
      }
      if (this.#lingering.size === 0) await this.#claim(wanted);
    } else {
      // An old release serves until its replacement is loaded.
      this.#lingering.clear();
    }
    this.#plan();
  }

  /** Settles again when a load may be retried, or a release has lingered long enough. */
  #plan(): void {
    const due = [
      ...[...this.#failures].flatMap(([id, { untilMs }]) =>
        this.#wanted().includes(id) ? [untilMs] : [],
      ),
      ...this.#lingering.values(),
    ];
    if (due.length === 0 || this.#ending.signal.aborted) return;
    const waitMs = Math.max(1, Math.min(...due) - performance.now());
    this.#timer = setTimeout(() => this.#settle(), waitMs).unref();
  }

  async #load(id: string): Promise<void> {
    const { store, part, load, observer } = this.#options;
    const startMs = performance.now();
    try {
      await this.#claim([...this.#held.keys(), id]);
      const opened = await store.open(id, { parts: [part], signal: this.#ending.signal });
      const model = await load(opened, this.#serves);
      this.#held.set(id, {
        model,
        manifest: opened.manifest,
        users: 0,
        usedMs: 0,
        dropped: undefined,
      });
      this.#failures.delete(id);
      observer.onLoaded?.(id, performance.now() - startMs);
    } catch (error) {
      if (this.#ending.signal.aborted) return;
      const times = (this.#failures.get(id)?.times ?? 0) + 1;
      const waitMs = Math.min(maxRetryMs, firstRetryMs * 2 ** (times - 1));
      this.#failures.set(id, { times, untilMs: performance.now() + waitMs });
      observer.onLoadFailed(id, error);
    }
  }

  /** Writes the hold that keeps releases in the store; where that fails, serving goes on. */
  async #claim(releases: readonly string[]): Promise<void> {
    const { store, instance, observer } = this.#options;
    try {
      if (this.#hold === undefined) {
        const onError = (error: unknown): void => observer.onStoreError(error);
        this.#hold = await store.hold(instance, releases, { onError });
      } else await this.#hold.update(releases);
    } catch (error) {
      if (error instanceof DomainError && error.reason === 'RELEASE_BEING_REMOVED') throw error;
      observer.onStoreError(error);
    }
  }

  #drop(id: string): void {
    const entry = this.#held.get(id);
    if (entry === undefined) return;
    this.#held.delete(id);
    this.#lingering.delete(id);
    entry.dropped = Promise.withResolvers<void>();
    if (entry.users === 0) entry.dropped.resolve();
    const leave = async (dropped: Promise<void>): Promise<void> => {
      await dropped;
      await entry.model.dispose().catch(this.#options.observer.onStoreError);
      this.#leaving.delete(leaving);
      this.#options.observer.onDropped?.(id);
    };
    const leaving = leave(entry.dropped.promise);
    this.#leaving.add(leaving);
    this.#changed();
  }

  #changed(): void {
    const states = [...this.#channels.values()];
    const held = [...this.#held].map(([release, { manifest }]) => ({
      release,
      variant: manifest.variant,
      channels: states.filter((state) => state.release === release).map(({ channel }) => channel),
    }));
    this.#serves ||= this.ready;
    this.#options.observer.onChange(held);
  }
}
