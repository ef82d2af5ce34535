/** Text that was written and not yet sent. */
export interface Delta {
  readonly text: string;
  /** Tokens so far. */
  readonly tokens: number;
}

/** Text on its way to a reader; a slow reader gets more of it at a time, and nobody waits for him. */
export class Deltas {
  #text = '';
  #tokens = 0;
  #ended = false;
  #wake: (() => void) | undefined;

  push(text: string, tokens: number): void {
    this.#text += text;
    this.#tokens = tokens;
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Delta> {
    for (;;) {
      if (this.#text !== '') {
        const delta = { text: this.#text, tokens: this.#tokens };
        this.#text = '';
        yield delta;
      } else if (this.#ended) {
        return;
      } else {
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    }
  }
}
