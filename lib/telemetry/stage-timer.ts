import { type Attributes, type Context, type Span, context, trace } from '@opentelemetry/api';
import type { Stage } from './metrics.ts';
import type { Telemetry } from './telemetry.ts';
import { failSpan } from './tracing.ts';

/** One stage of a request, as the caller receives it; times from the start of the request. */
export interface Timing {
  readonly stage: string;
  readonly startMs: number;
  readonly durationMs: number;
}

/** Times the stages of one request: each is a span of its trace, a duration in the metrics, a timing. */
export class StageTimer {
  readonly #telemetry: Telemetry;
  readonly #variant: string;
  readonly #context: Context = context.active();
  /** When the request began, as `performance.now` gives it. */
  readonly startMs = performance.now();
  readonly #startEpochMs = Date.now();
  readonly timings: Timing[] = [];

  /** Starts now, within the current trace. */
  constructor(telemetry: Telemetry, variant: string) {
    this.#telemetry = telemetry;
    this.#variant = variant;
  }

  /** The request's span. */
  get span(): Span | undefined {
    return trace.getSpan(this.#context);
  }

  async measure<T>(stage: Stage, work: () => Promise<T>): Promise<T> {
    const startMs = performance.now();
    const span = this.#begin(stage, startMs);
    const active = trace.setSpan(this.#context, span);
    try {
      return await context.with(active, work);
    } catch (error) {
      failSpan(span, error);
      throw error;
    } finally {
      span.end();
      this.#record(stage, startMs, performance.now(), active);
    }
  }

  /** A stage that was measured elsewhere; times as `performance.now` gives them. */
  add(stage: Stage, startMs: number, endMs: number, attributes: Attributes = {}): void {
    const span = this.#begin(stage, startMs, attributes);
    span.end(this.#epoch(endMs));
    this.#record(stage, startMs, endMs, trace.setSpan(this.#context, span));
  }

  /** A time that the caller receives and that is no stage. */
  mark(name: string, startMs: number, endMs: number): void {
    this.timings.push({
      stage: name,
      startMs: Math.max(0, startMs - this.startMs),
      durationMs: Math.max(0, endMs - startMs),
    });
  }

  /** Does `work` within the request's trace, so that exemplars point to it. */
  within<T>(work: () => T): T {
    return context.with(this.#context, work);
  }

  #begin(stage: Stage, startMs: number, attributes: Attributes = {}): Span {
    const options = { startTime: this.#epoch(startMs), attributes };
    return this.#telemetry.tracer.startSpan(stage, options, this.#context);
  }

  #record(stage: Stage, startMs: number, endMs: number, active: Context): void {
    this.mark(stage, startMs, endMs);
    const labels = { stage, variant: this.#variant };
    context.with(active, () =>
      this.#telemetry.metrics.stages.observe(labels, Math.max(0, endMs - startMs) / 1000),
    );
  }

  #epoch(ms: number): number {
    return this.#startEpochMs + (ms - this.startMs);
  }
}
