import { DomainError } from '../../lib/errors.ts';
import type { Route } from './route.ts';

interface ChannelState {
  readonly release: string;
  readonly weight?: number | undefined;
  /** What the channel pointed to before. */
  readonly previous?: string | null | undefined;
}

/** The part of a release store that the gateway reads. */
export interface ReleaseReader {
  /** Undefined for a channel that does not exist. */
  channel(name: string): Promise<ChannelState | undefined>;
  /** Throws NOT_FOUND. */
  manifest(release: string): Promise<{ readonly variant: string }>;
}

interface CatalogueOptions {
  /** The channels to read; the first answers requests without a selector. */
  readonly channels: readonly string[];
  readonly onChange: (routes: readonly Route[]) => void;
  /** The store could not be read; the previous routes stay. */
  readonly onError: (error: unknown) => void;
}

interface ChannelRoutes {
  readonly now: Route;
  /** What the channel pointed to before. */
  readonly before: Route | undefined;
}

/** After a model service refused a release, its predecessor answers for this long. */
const refusedMs = 500;

/**
 * The channels of the store as routes. Each model service loads a new release and drops an old one at its
 * own pace: when one does not hold a release, requests go to the release that the channel pointed to
 * before, or to the one that it points to by now.
 */
export class Catalogue {
  readonly #reader: ReleaseReader;
  readonly #options: CatalogueOptions;
  readonly #channels = new Map<string, ChannelRoutes>();
  readonly #refusedMs = new Map<string, number>();
  #reading: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(reader: ReleaseReader, options: CatalogueOptions) {
    this.#reader = reader;
    this.#options = options;
  }

  /** Reads the channels now, and again every `everyMs`. */
  async watch(everyMs: number): Promise<void> {
    await this.refresh();
    const next = (): void => {
      if (this.#stopped) return;
      this.#timer = setTimeout(() => void this.refresh().finally(next), everyMs).unref();
    };
    next();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** The releases that answer requests now, in the order of the channels. */
  routes(): readonly Route[] {
    return this.#all(({ now, before }) =>
      before !== undefined && this.isRefused(now.release) && !this.isRefused(before.release)
        ? before
        : now,
    );
  }

  /** The releases that a request may name by id: those that channels point to, and did before. */
  known(): readonly Route[] {
    return this.targets().concat(
      [...this.#channels.values()].flatMap(({ before }) => (before === undefined ? [] : [before])),
    );
  }

  /** The releases that the channels point to, whether or not every model service holds them. */
  targets(): readonly Route[] {
    return this.#all(({ now }) => now);
  }

  /** A model service does not hold this release, not yet or no longer. Reads the channels again. */
  async refuse(release: string): Promise<void> {
    this.#refusedMs.set(release, performance.now());
    await this.refresh();
  }

  /** Reads the channels; concurrent callers share one read. */
  refresh(): Promise<void> {
    this.#reading ??= this.#read().finally(() => (this.#reading = undefined));
    return this.#reading;
  }

  #all(choose: (of: ChannelRoutes) => Route): readonly Route[] {
    return this.#options.channels.flatMap((channel) => {
      const found = this.#channels.get(channel);
      return found === undefined ? [] : [choose(found)];
    });
  }

  async #read(): Promise<void> {
    let changed = false;
    for (const channel of this.#options.channels) {
      try {
        changed = (await this.#readOne(channel)) || changed;
      } catch (error) {
        this.#options.onError(error);
      }
    }
    if (changed) this.#options.onChange(this.targets());
  }

  /** Whether the channel has changed. */
  async #readOne(channel: string): Promise<boolean> {
    const state = await this.#reader.channel(channel);
    const known = this.#channels.get(channel);
    if (state === undefined) return this.#channels.delete(channel);
    const { release, weight, previous } = state;
    if (known?.now.release === release && known.now.weight === weight) return false;
    const now = { channel, release, weight, variant: await this.#variant(release) };
    const before =
      known === undefined
        ? await this.#previous(channel, previous)
        : known.now.release === release
          ? known.before
          : known.now;
    this.#channels.set(channel, { now, before });
    return true;
  }

  async #variant(release: string): Promise<string> {
    const known = this.known().find((route) => route.release === release);
    return known?.variant ?? (await this.#reader.manifest(release)).variant;
  }

  /** For a gateway that starts while a channel moves; the previous release may be gone from the store. */
  async #previous(channel: string, release: ChannelState['previous']): Promise<Route | undefined> {
    if (release === undefined || release === null) return undefined;
    try {
      return { channel, release, variant: await this.#variant(release), weight: undefined };
    } catch {
      return undefined;
    }
  }

  /** Whether a model service refused the release a moment ago. */
  isRefused(release: string): boolean {
    const atMs = this.#refusedMs.get(release) ?? Number.NEGATIVE_INFINITY;
    if (performance.now() - atMs < refusedMs) return true;
    this.#refusedMs.delete(release);
    return false;
  }
}

export const isNotHeld = (error: unknown): boolean =>
  error instanceof DomainError && error.reason === 'RELEASE_NOT_HELD';
