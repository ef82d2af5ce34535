import { choice, integer, optional, share, text } from './settings.ts';
import { logLevels } from '../telemetry/logger.ts';

const port = (name: string, standard: number, doc: string) =>
  integer(name, standard, doc, { max: 65535 });

/** Where a server listens, what it logs, and where its releases are. */
export const listenSettings = (grpcPort: number, metricsPort: number) => ({
  host: text('HOST', '127.0.0.1', 'address to listen on'),
  port: port('PORT', grpcPort, 'gRPC port; 0 takes a free one'),
  metricsPort: port('METRICS_PORT', metricsPort, 'port of /metrics, /healthz and /readyz'),
  logLevel: choice('LOG_LEVEL', 'info', logLevels, 'least severe line that is logged'),
  store: text('STORE', 'releases', 'release store: file:///folder or s3://bucket/prefix'),
});

/** How its calls and connections end, and who may read along. */
export const lifecycleSettings = {
  drainDelayMs: integer('DRAIN_DELAY_MS', 0, 'from NOT_SERVING to the refusal of calls, ms'),
  graceMs: integer('GRACE_MS', 30_000, 'what calls under way get to end in, ms'),
  maxConnectionAgeMs: integer(
    'MAX_CONNECTION_AGE_MS',
    300_000,
    'then a connection is asked to go, ms',
    { min: 1000 },
  ),
  tlsCert: optional('TLS_CERT', 'own certificate, PEM'),
  tlsKey: optional('TLS_KEY', 'its key, PEM'),
  tlsCa: optional('TLS_CA', 'who signs the other side, PEM'),
  tracesEndpoint: optional('OTEL_EXPORTER_OTLP_ENDPOINT', 'OTLP over HTTP; unset, no trace leaves'),
  tracesRatio: share('OTEL_TRACES_SAMPLER_ARG', 1, 'share of traces that begin here and are sent'),
};

/** How often a store is looked at. */
export const storePollMs = integer(
  'STORE_POLL_MS',
  2000,
  'how often the channels are looked at, ms',
  { min: 10 },
);
