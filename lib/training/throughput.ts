import { availableParallelism } from 'node:os';

interface Mark {
  readonly at: number;
  readonly step: number;
  readonly studies: number;
  readonly tokens: number;
  /** Processor time of this process, seconds. */
  readonly cpu: number;
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

interface Speed {
  readonly studiesPerSecond: number;
  readonly tokensPerSecond: number;
  readonly etaSeconds: number | null;
  readonly cpuUtilization?: number;
}

/** Training speed over the last half minute, and the remaining time at that speed. */
export class Throughput {
  readonly #totalSteps: number;
  #marks: Mark[] = [];
  #studies = 0;
  #tokens = 0;

  constructor(totalSteps: number) {
    this.#totalSteps = totalSteps;
  }

  after(step: number, studies: number, tokens: number): Speed {
    const [at, cpu] = [performance.now(), cpuSeconds()];
    if (this.#marks.length === 0) {
      // The first run of the engine includes its warm-up: measuring begins after it.
      this.#marks.push({ at, step, studies: 0, tokens: 0, cpu });
      return { studiesPerSecond: 0, tokensPerSecond: 0, etaSeconds: null };
    }
    this.#studies += studies;
    this.#tokens += tokens;
    this.#marks.push({ at, step, studies: this.#studies, tokens: this.#tokens, cpu });
    while (this.#marks.length > 2 && at - (this.#marks[0]?.at ?? at) > 30_000) this.#marks.shift();
    const from = this.#marks[0] as Mark;
    const seconds = (at - from.at) / 1000;
    const stepsPerSecond = (step - from.step) / seconds;
    return {
      studiesPerSecond: (this.#studies - from.studies) / seconds,
      tokensPerSecond: (this.#tokens - from.tokens) / seconds,
      cpuUtilization: Math.min(1, (cpu - from.cpu) / seconds / availableParallelism()),
      etaSeconds: stepsPerSecond > 0 ? (this.#totalSteps - step) / stepsPerSecond : null,
    };
  }
}
