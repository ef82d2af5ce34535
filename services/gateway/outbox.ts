import type { ChainEvent } from './chain.ts';
import type { Route } from './route.ts';

export interface RoutedEvent<Info> {
  readonly event: ChainEvent<Info>;
  readonly route: Route;
}

/**
 * The events of one stream that its reader has not taken yet. A reader who does not read delays nobody:
 * text that waits is joined, so that what waits stays as small as the report.
 */
export class Outbox<Info> {
  readonly #waiting: RoutedEvent<Info>[] = [];
  #isClosed = false;
  #wake: (() => void) | undefined;

  readonly push = (event: ChainEvent<Info>, route: Route): void => {
    const last = this.#waiting.at(-1)?.event;
    if (event.kind === 'text' && last?.kind === 'text') {
      const joined = { ...event, text: last.text + event.text };
      this.#waiting[this.#waiting.length - 1] = { event: joined, route };
    } else {
      this.#waiting.push({ event, route });
    }
    this.#wake?.();
  };

  readonly close = (): void => {
    this.#isClosed = true;
    this.#wake?.();
  };

  /** The next event; waits for it. Undefined once the outbox is closed and empty. */
  async take(): Promise<RoutedEvent<Info> | undefined> {
    while (this.#waiting.length === 0 && !this.#isClosed) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    return this.#waiting.shift();
  }
}
