import { choice, integer, optional, share, text } from './settings.ts';
import { logLevels } from '../telemetry/logger.ts';

const port = (name: string, standard: number, doc: string) =>
  integer(name, standard, doc, { max: 65535 });

/** Where a server listens, what it logs, and where its releases are. */
export const listenSettings = (grpcPort: number, metricsPort: number) => ({
  host: text('HOST', '127.0.0.1', 'address to listen on'),
  port: port('PORT', grpcPort, 'gRPC port; 0: a free one'),
  metricsPort: port('METRICS_PORT', metricsPort, 'port of /metrics, /healthz and /readyz'),
  logLevel: choice('LOG_LEVEL', 'info', logLevels, 'minimum log level'),
  store: text('STORE', 'releases', 'release store: file:///folder or s3://bucket/prefix'),
});

/** How a server drains, its TLS, and where its traces go. */
export const lifecycleSettings = {
  drainDelayMs: integer('DRAIN_DELAY_MS', 0, 'delay from NOT_SERVING to refusing new calls, ms'),
  graceMs: integer('GRACE_MS', 30_000, 'time for open calls to finish when draining, ms'),
  maxConnectionAgeMs: integer('MAX_CONNECTION_AGE_MS', 300_000, 'maximum connection age, ms', {
    min: 1000,
  }),
  tlsCert: optional('TLS_CERT', 'certificate of this service, PEM'),
  tlsKey: optional('TLS_KEY', 'private key of the certificate, PEM'),
  tlsCa: optional('TLS_CA', 'CA bundle that verifies the peer, PEM'),
  tracesEndpoint: optional(
    'OTEL_EXPORTER_OTLP_ENDPOINT',
    'OTLP/HTTP collector; default: traces are not exported',
  ),
  tracesRatio: share(
    'OTEL_TRACES_SAMPLER_ARG',
    1,
    'sampling ratio of traces that start here, 0 to 1',
  ),
};

/** How often a service reads the channels. */
export const storePollMs = integer('STORE_POLL_MS', 2000, 'polling interval of the channels, ms', {
  min: 10,
});
