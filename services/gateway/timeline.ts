/** A part of the work on one request. */
export interface Timing {
  /** A service, or a part of its work, e.g. `vision` and `vision.inference`. */
  readonly stage: string;
  /** Since the request came. */
  readonly startMs: number;
  readonly durationMs: number;
}

/** Where the time of one request went. */
export class Timeline {
  readonly #startMs = performance.now();
  readonly #timings: Timing[] = [];

  /** Milliseconds since the request came. */
  now(): number {
    return performance.now() - this.#startMs;
  }

  /**
   * A call of a service that ends now, and what the service says of it. Its clock starts when it gets
   * the request: what the call took longer is the hop, of which half is taken to lie before.
   */
  add(service: string, startMs: number, parts: readonly Timing[]): void {
    const durationMs = this.now() - startMs;
    const busyMs = Math.max(0, ...parts.map((part) => part.startMs + part.durationMs));
    const offsetMs = startMs + Math.max(0, durationMs - busyMs) / 2;
    this.#timings.push({ stage: service, startMs, durationMs });
    for (const part of parts) {
      const stage = `${service}.${part.stage}`;
      this.#timings.push({
        stage,
        startMs: offsetMs + part.startMs,
        durationMs: part.durationMs,
      });
    }
  }

  /** The whole of the request, as of now. */
  end(): void {
    this.#timings.push({ stage: 'gateway', startMs: 0, durationMs: this.now() });
  }

  /** By start. */
  timings(): readonly Timing[] {
    return this.#timings.toSorted((a, b) => a.startMs - b.startMs);
  }
}

/** What of a whole request was spent on no call of a service, in milliseconds; timings by start. */
export function ownMs(timings: readonly Timing[]): number {
  const whole = timings.find(({ stage }) => stage === 'gateway')?.durationMs ?? 0;
  let calledMs = 0;
  let untilMs = 0;
  // Pictures of one study are embedded side by side.
  for (const { stage, startMs, durationMs } of timings) {
    if (stage === 'gateway' || stage.includes('.')) continue;
    const endMs = startMs + durationMs;
    calledMs += Math.max(0, endMs - Math.max(startMs, untilMs));
    untilMs = Math.max(untilMs, endMs);
  }
  return whole - calledMs;
}
