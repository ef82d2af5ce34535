import { type Logger, type LogLevel, createLogger } from './logger.ts';
import { type Metrics, createMetrics } from './metrics.ts';
import { type Tracing, type TracingOptions, createTracing } from './tracing.ts';

/** The metrics, logs and traces of a service. */
export interface Telemetry extends Tracing {
  /** e.g. `vision`. */
  readonly service: string;
  readonly metrics: Metrics;
  readonly logger: Logger;
}

export interface TelemetryOptions extends TracingOptions {
  readonly logLevel?: LogLevel;
  /** Also memory, CPU and event loop of the process. */
  readonly processMetrics?: boolean;
}

export function createTelemetry(options: TelemetryOptions): Telemetry {
  const { service, logLevel, processMetrics = false } = options;
  return {
    ...createTracing(options),
    service,
    metrics: createMetrics({ processMetrics }),
    logger: createLogger(service, logLevel),
  };
}
