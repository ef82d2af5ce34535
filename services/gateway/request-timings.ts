/** The time of one stage of the work on a request. */
export interface Timing {
  /** A service, or a part of its work, e.g. `vision` and `vision.inference`. */
  readonly stage: string;
  /** Since the request arrived. */
  readonly startMs: number;
  readonly durationMs: number;
}

/** Where the time of one request goes: the gateway's view of all services. */
export class RequestTimings {
  readonly #clock: () => number;
  readonly #startMs: number;
  readonly #timings: Timing[] = [];

  /** Starts now. `clock` gives milliseconds. */
  constructor(clock: () => number = () => performance.now()) {
    this.#clock = clock;
    this.#startMs = clock();
  }

  /** Milliseconds since the request arrived. */
  now(): number {
    return this.#clock() - this.#startMs;
  }

  /**
   * Records a call of a service that ends now, and the stages that the service reports. Its clock
   * starts when it receives the request. The call takes longer than the service is busy; half of the
   * difference, the network, is assumed to lie before the work.
   */
  add(service: string, startMs: number, stages: readonly Timing[]): void {
    const durationMs = this.now() - startMs;
    const busyMs = Math.max(0, ...stages.map((stage) => stage.startMs + stage.durationMs));
    const offsetMs = startMs + Math.max(0, durationMs - busyMs) / 2;
    this.#timings.push({ stage: service, startMs, durationMs });
    for (const { stage, startMs, durationMs } of stages) {
      this.#timings.push({ stage: `${service}.${stage}`, startMs: offsetMs + startMs, durationMs });
    }
  }

  /** Records the whole request, which ends now. Returns all timings, by start. */
  end(): readonly Timing[] {
    this.#timings.push({ stage: 'gateway', startMs: 0, durationMs: this.now() });
    return this.#timings.toSorted((a, b) => a.startMs - b.startMs);
  }
}

/**
 * The time of a request in which no service was called, in milliseconds: what the gateway itself took.
 * `timings` are by start, as `RequestTimings` returns them.
 */
export function ownMs(timings: readonly Timing[]): number {
  const whole = timings.find(({ stage }) => stage === 'gateway')?.durationMs ?? 0;
  let calledMs = 0;
  let untilMs = 0;
  // The images of a study are embedded concurrently, so calls may overlap.
  for (const { stage, startMs, durationMs } of timings) {
    if (stage === 'gateway' || stage.includes('.')) continue;
    const endMs = startMs + durationMs;
    calledMs += Math.max(0, endMs - Math.max(startMs, untilMs));
    untilMs = Math.max(untilMs, endMs);
  }
  return whole - calledMs;
}
