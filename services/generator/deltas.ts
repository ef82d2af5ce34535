/** Text that was generated and not yet sent. */
export interface Delta {
  readonly text: string;
  /** Tokens so far. */
  readonly tokens: number;
}

/**
 * Text on its way to a reader. What a slow reader has not yet read is joined to one delta, so that
 * generation never waits for the reader.
 */
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

  /** Waits for text; undefined once it has ended and all was read. For one reader. */
  async next(): Promise<Delta | undefined> {
    while (this.#text === '' && !this.#ended) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    if (this.#text === '') return undefined;
    const delta = { text: this.#text, tokens: this.#tokens };
    this.#text = '';
    return delta;
  }
}
