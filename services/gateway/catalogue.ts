import { DomainError } from '../../lib/errors.ts';
import type { Route } from './route.ts';

/** The part of a release store that a gateway reads. */
export interface Shelf {
  /** Undefined for a channel that points to nothing. */
  channel(
    name: string,
  ): Promise<{ readonly release: string; readonly weight?: number | undefined } | undefined>;
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
        const route = await this.#route(channel);
        const known = this.#places.get(channel);
        if (route === undefined) {
          changed = this.#places.delete(channel) || changed;
        } else if (known?.now.release !== route.release || known.now.weight !== route.weight) {
          const moved = known !== undefined && known.now.release !== route.release;
          this.#places.set(channel, { now: route, before: moved ? known.now : known?.before });
          changed = true;
        }
      } catch (error) {
        this.#options.onError(error);
      }
    }
    if (changed) this.#options.onChange(this.targets());
  }

  async #route(channel: string): Promise<Route | undefined> {
    const state = await this.#shelf.channel(channel);
    if (state === undefined) return undefined;
    const { release, weight } = state;
    const known = this.#places.get(channel)?.now;
    const { variant } = known?.release === release ? known : await this.#shelf.manifest(release);
    return { channel, release, variant, weight };
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
