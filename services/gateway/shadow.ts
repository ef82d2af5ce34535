import { fraction } from './route.ts';

/** What is compared of two releases' reports of one study. */
export interface Outcome {
  readonly positive: readonly string[];
  readonly text: string;
}

type Comparison = 'same' | 'text_differs' | 'labels_differ' | 'failed' | 'shed';

export interface ShadowOptions {
  /** Share of requests that are copied, 0 to 1. */
  readonly share: number;
  /** Concurrent copies; more are shed. */
  readonly maxInFlight: number;
  readonly onComparison: (result: Comparison) => void;
}

/**
 * Sends copies of requests to another release and counts how its reports compare. A copy never delays a
 * response, and copies are the first work that is shed under load.
 */
export class Shadow {
  readonly #options: ShadowOptions;
  readonly #running = new Set<Promise<void>>();

  constructor(options: ShadowOptions) {
    this.#options = options;
  }

  /**
   * After a report: sends a copy if the hash of `key` falls into the share. While the gateway is `busy`,
   * the copy is shed.
   */
  copy(key: string, answered: Outcome, busy: boolean, run: () => Promise<Outcome>): void {
    const { share, maxInFlight, onComparison } = this.#options;
    if (share === 0 || fraction(`shadow ${key}`) >= share) return;
    if (busy || this.#running.size >= maxInFlight) {
      onComparison('shed');
      return;
    }
    const running = this.#compare(answered, run).finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async #compare(answered: Outcome, run: () => Promise<Outcome>): Promise<void> {
    const { onComparison } = this.#options;
    try {
      onComparison(compare(answered, await run()));
    } catch {
      onComparison('failed');
    }
  }

  /** Resolves when the copies in flight have ended. */
  async settle(): Promise<void> {
    await Promise.all(this.#running);
  }
}

function compare(one: Outcome, other: Outcome): Comparison {
  if (one.positive.join() !== other.positive.join()) return 'labels_differ';
  return one.text === other.text ? 'same' : 'text_differs';
}
