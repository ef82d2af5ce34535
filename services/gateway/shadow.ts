import { fraction } from './route.ts';

/** What two releases said of one study. */
export interface Outcome {
  readonly positive: readonly string[];
  readonly text: string;
}

type Comparison = 'same' | 'text_differs' | 'labels_differ' | 'failed' | 'shed';

export interface ShadowOptions {
  /** Share of requests that are copied, 0 to 1. */
  readonly share: number;
  /** Copies at a time; more are shed. */
  readonly maxInFlight: number;
  readonly onComparison: (result: Comparison) => void;
}

/**
 * Sends copies of requests to another release and counts how its answers compare. A copy never holds
 * an answer up, and is the first thing shed under load.
 */
export class Shadow {
  readonly #options: ShadowOptions;
  readonly #running = new Set<Promise<void>>();

  constructor(options: ShadowOptions) {
    this.#options = options;
  }

  /**
   * After an answer: maybe sends a copy. `key` decides, as it does in the split of traffic; `busy`
   * sheds it.
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

  /** Resolves when the copies under way have ended. */
  async settle(): Promise<void> {
    await Promise.all(this.#running);
  }
}

function compare(one: Outcome, other: Outcome): Comparison {
  if (one.positive.join() !== other.positive.join()) return 'labels_differ';
  return one.text === other.text ? 'same' : 'text_differs';
}
