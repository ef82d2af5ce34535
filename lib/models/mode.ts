import { dropout, deriveKey } from '../graph/functions.ts';
import type { Value } from '../graph/value.ts';

/** How a model is run while training. Serving, the default, has no dropout and uses running statistics. */
export interface Training {
  /** uint32 scalar that differs for every micro-batch; each dropout derives its own from it. */
  readonly key: Value;
  /** Dropout rate of every layer that has one. */
  readonly dropout: number;
  /**
   * Filled by batch normalization that uses the batch's statistics; absent, the running statistics
   * are used and kept, which suits micro-batches of two.
   */
  readonly buffers?: Map<Value, Value>;
}

/** Numbers the dropouts of one forward pass, so that no two share a mask. */
export class Dropouts {
  readonly #training: Training | undefined;
  #count = 0;

  constructor(training: Training | undefined) {
    this.#training = training;
  }

  apply(x: Value): Value {
    if (!this.#training || this.#training.dropout === 0) return x;
    return dropout(x, this.#training.dropout, deriveKey(this.#training.key, this.#count++));
  }
}
