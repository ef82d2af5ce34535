import type { Tracer } from '@opentelemetry/api';
import { type Logger, type LogLevel, createLogger } from './logger.ts';
import { type Metrics, createMetrics } from './metrics.ts';
import { type TracingOptions, createTracing } from './tracing.ts';

/** How a service is watched: what it counts, says and traces. */
export interface Telemetry {
  /** e.g. `vision`. */
  readonly service: string;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly tracer: Tracer;
  /** Sends the spans that are left. */
  close(): Promise<void>;
}

export interface TelemetryOptions extends TracingOptions {
  readonly logLevel?: LogLevel;
  /** Also memory, CPU and event loop of the process. */
  readonly processMetrics?: boolean;
}

export function createTelemetry(options: TelemetryOptions): Telemetry {
  const { service, logLevel, processMetrics = false } = options;
  const tracing = createTracing(options);
  return {
    service,
    metrics: createMetrics({ processMetrics }),
    logger: createLogger(service, logLevel),
    tracer: tracing.tracer,
    close: () => tracing.close(),
  };
}
