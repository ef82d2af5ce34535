import { choice, integer, list, optional, share, text } from '../config.ts';
import type { Provider } from '../runtime/backend.ts';
import { logLevels } from '../telemetry/logger.ts';

const providers: readonly Provider[] = ['cpu', 'webgpu', 'cuda'];
const port = (name: string, standard: number, doc: string) =>
  integer(name, standard, doc, { max: 65535 });
const atLeastOne = { min: 1 };

/** What every model service is set by; each has ports of its own. */
export const modelSettings = (grpcPort: number, metricsPort: number) => ({
  host: text('HOST', '127.0.0.1', 'address to listen on'),
  port: port('PORT', grpcPort, 'gRPC port; 0 takes a free one'),
  metricsPort: port('METRICS_PORT', metricsPort, 'port of /metrics, /healthz and /readyz'),
  logLevel: choice('LOG_LEVEL', 'info', logLevels, 'least severe line that is logged'),
  store: text('STORE', 'releases', 'release store: file:///folder or s3://bucket/prefix'),
  cacheDir: optional(
    'CACHE_DIR',
    'where files of a remote store are kept; else a temporary folder',
  ),
  channels: list('CHANNELS', 'stable', 'channels whose releases are served, with commas between'),
  storePollMs: integer('STORE_POLL_MS', 2000, 'how often the channels are looked at, ms', {
    min: 10,
  }),
  lingerMs: integer(
    'RELEASE_LINGER_MS',
    30_000,
    'how long a release answers that was replaced, ms',
  ),
  provider: choice('PROVIDER', 'cpu', providers, 'what computes'),
  threads: integer('THREADS', 0, 'threads of one run of the model; 0 takes all cores'),
  queueLimit: integer(
    'QUEUE_LIMIT',
    64,
    'requests admitted at a time; more are refused',
    atLeastOne,
  ),
  queueBytes: integer('QUEUE_BYTES', 256 * 1024 * 1024, 'their payload, bytes', atLeastOne),
  drainDelayMs: integer('DRAIN_DELAY_MS', 0, 'from NOT_SERVING to the refusal of calls, ms'),
  graceMs: integer('GRACE_MS', 30_000, 'what calls under way get to end in, ms'),
  maxConnectionAgeMs: integer(
    'MAX_CONNECTION_AGE_MS',
    300_000,
    'then a connection is asked to go, ms',
    {
      min: 1000,
    },
  ),
  tlsCert: optional('TLS_CERT', 'own certificate, PEM'),
  tlsKey: optional('TLS_KEY', 'its key, PEM'),
  tlsCa: optional('TLS_CA', 'who signs clients, PEM; they must then show a certificate'),
  tracesEndpoint: optional('OTEL_EXPORTER_OTLP_ENDPOINT', 'OTLP over HTTP; unset, no trace leaves'),
  tracesRatio: share('OTEL_TRACES_SAMPLER_ARG', 1, 'share of traces that begin here and are sent'),
});

/** Of the services that put several requests into one run. */
export const batchSettings = {
  maxBatch: integer('MAX_BATCH', 8, 'requests of one run of the model', atLeastOne),
  batchDelayMs: integer('BATCH_DELAY_MS', 5, 'longest wait for company under load, ms'),
};
