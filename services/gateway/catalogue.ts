import { DomainError } from '../../lib/errors.ts';
import type { Route } from './route.ts';

interface ChannelState {
  readonly release: string;
  readonly weight?: number | undefined;
  /** What the channel pointed to before. */
  readonly previous?: string | null | undefined;
}

/** The part of a release store that a gateway reads. */
export interface Shelf {
  /** Undefined for a channel that points to nothing. */
  channel(name: string): Promise<ChannelState | undefined>;
  /** Throws NOT_FOUND. */
  manifest(release: string): Promise<{ readonly variant: string }>;
}

interface CatalogueOptions {
  /** Channels to serve; the first is for requests that name nothing. */
  readonly channels: readonly string[];
  readonly onChange: (routes: readonly Route[]) => void;
  /** The store could not be read; what was read before goes on. */
  readonly onError: (error: unknown) => void;
}

interface Place {
  readonly now: Route;
  /** What the channel pointed to before. */
  readonly before: Route | undefined;
}

/** A release that a stage did not hold is not tried again for so long, where there is another. */
const restMs = 500;

/**
 * The channels of the store as routes. A model service loads a release in its own time, and lets go of
 * an old one in its own time too: where one says that it does not hold a release, requests go to what
 * the channel pointed to before, or points to by now.
 */
export class Catalogue {
  readonly #shelf: Shelf;
  readonly #options: CatalogueOptions;
  readonly #places = new Map<string, Place>();
  readonly #refusedMs = new Map<string, number>();
  #reading: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(shelf: Shelf, options: CatalogueOptions) {
    this.#shelf = shelf;
    this.#options = options;
  }

  /** Reads the channels now and then every `everyMs`. */
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

  /** Where requests go now, in the order of the channels. */
  routes(): readonly Route[] {
    return this.#all(({ now, before }) =>
      before !== undefined && this.isRefused(now.release) && !this.isRefused(before.release)
        ? before
        : now,
    );
  }

  /** What may be asked for by its id: what channels point to, and did before. */
  known(): readonly Route[] {
    return this.targets().concat(
      [...this.#places.values()].flatMap(({ before }) => (before === undefined ? [] : [before])),
    );
  }

  /** Where they would go if every stage held what its channel points to. */
  targets(): readonly Route[] {
    return this.#all(({ now }) => now);
  }

  /** A stage does not hold this release: it may be new there, or gone. Looks at the channels again. */
  async refuse(release: string): Promise<void> {
    this.#refusedMs.set(release, performance.now());
    await this.refresh();
  }

  /** Reads the channels; readers at the same time share one reading. */
  refresh(): Promise<void> {
    this.#reading ??= this.#read().finally(() => (this.#reading = undefined));
    return this.#reading;
  }

  #all(choose: (place: Place) => Route): readonly Route[] {
    return this.#options.channels.flatMap((channel) => {
      const place = this.#places.get(channel);
      return place === undefined ? [] : [choose(place)];
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
    const state = await this.#shelf.channel(channel);
    const known = this.#places.get(channel);
    if (state === undefined) return this.#places.delete(channel);
    const { release, weight, previous } = state;
    if (known?.now.release === release && known.now.weight === weight) return false;
    const now = { channel, release, weight, variant: await this.#variant(release) };
    const before =
      known === undefined
        ? await this.#previous(channel, previous)
        : known.now.release === release
          ? known.before
          : known.now;
    this.#places.set(channel, { now, before });
    return true;
  }

  async #variant(release: string): Promise<string> {
    const known = this.known().find((route) => route.release === release);
    return known?.variant ?? (await this.#shelf.manifest(release)).variant;
  }

  /** For a gateway that starts while its channel moves; what was before may be gone from the store. */
  async #previous(channel: string, release: ChannelState['previous']): Promise<Route | undefined> {
    if (release === undefined || release === null) return undefined;
    try {
      return { channel, release, variant: await this.#variant(release), weight: undefined };
    } catch {
      return undefined;
    }
  }

  /** Whether a stage said a moment ago that it does not hold the release. */
  isRefused(release: string): boolean {
    const atMs = this.#refusedMs.get(release);
    if (atMs === undefined) return false;
    if (performance.now() - atMs < restMs) return true;
    this.#refusedMs.delete(release);
    return false;
  }
}

export const isNotHeld = (error: unknown): boolean =>
  error instanceof DomainError && error.reason === 'RELEASE_NOT_HELD';
