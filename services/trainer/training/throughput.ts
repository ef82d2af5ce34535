interface Mark {
  readonly at: number;
  readonly step: number;
  readonly studies: number;
  readonly tokens: number;
}

/** Speed over the last half minute, and how long the rest takes at it. */
export class Throughput {
  readonly #totalSteps: number;
  #marks: Mark[] = [];
  #studies = 0;
  #tokens = 0;

  constructor(totalSteps: number) {
    this.#totalSteps = totalSteps;
  }

  after(
    step: number,
    studies: number,
    tokens: number,
  ): { studiesPerSecond: number; tokensPerSecond: number; etaSeconds: number | null } {
    const at = performance.now();
    if (this.#marks.length === 0) {
      // The first run of the engine warms up: it is where measuring begins.
      this.#marks.push({ at, step, studies: 0, tokens: 0 });
      return { studiesPerSecond: 0, tokensPerSecond: 0, etaSeconds: null };
    }
    this.#studies += studies;
    this.#tokens += tokens;
    this.#marks.push({ at, step, studies: this.#studies, tokens: this.#tokens });
    while (this.#marks.length > 2 && at - (this.#marks[0]?.at ?? at) > 30_000) this.#marks.shift();
    const from = this.#marks[0] as Mark;
    const seconds = (at - from.at) / 1000;
    const stepsPerSecond = (step - from.step) / seconds;
    return {
      studiesPerSecond: (this.#studies - from.studies) / seconds,
      tokensPerSecond: (this.#tokens - from.tokens) / seconds,
      etaSeconds: stepsPerSecond > 0 ? (this.#totalSteps - step) / stepsPerSecond : null,
    };
  }
}
