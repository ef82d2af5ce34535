import { choice, type Config, integer, list, optional, share, text } from '../../lib/config.ts';
import { logLevels } from '../../lib/telemetry/logger.ts';
import { standardGate } from './promote.ts';

/** Every setting of the trainer service. What a run trains is its own config, see config.ts. */
export const settings = {
  host: text('HOST', '127.0.0.1', 'address to listen on'),
  port: integer('PORT', 50055, 'gRPC port; 0 takes a free one', { max: 65535 }),
  metricsPort: integer('METRICS_PORT', 9468, 'port of /metrics, /healthz and /readyz', {
    max: 65535,
  }),
  logLevel: choice('LOG_LEVEL', 'info', logLevels, 'least severe line that is logged'),
  store: text('STORE', 'releases', 'release store: file:///folder or s3://bucket/prefix'),
  runs: text('RUNS', 'runs', 'folder of the runs and their database'),
  cacheDir: text('CACHE_DIR', 'cache', 'folder of prepared datasets'),
  maxRuns: integer('MAX_RUNS', 1, 'runs at a time; the others wait in order', { min: 1 }),
  threads: integer('THREADS', 0, 'threads of the engine for evaluations; 0 takes all cores'),
  gateMetrics: list(
    'GATE_METRICS',
    standardGate.join(','),
    'a release that is worse than the channel on one is not promoted, unless forced',
  ),
  executor: choice('EXECUTOR', 'process', ['process', 'kubernetes'], 'where runs execute'),
  jobImage: optional('JOB_IMAGE', 'image of the Jobs; kubernetes needs it'),
  jobNamespace: text('JOB_NAMESPACE', 'radscribe', 'namespace of the Jobs'),
  jobServiceAccount: text('JOB_SERVICE_ACCOUNT', 'training-run', 'service account of the Jobs'),
  jobQueue: text('JOB_QUEUE', '', 'Kueue queue of the Jobs; empty for none'),
  jobGpus: integer('JOB_GPUS', 1, 'GPUs of a Job'),
  jobClaims: list(
    'JOB_CLAIMS',
    'runs:/var/lib/radscribe/runs,store:/var/lib/radscribe/store',
    'volume claims of a Job, each CLAIM:FOLDER',
  ),
  drainDelayMs: integer('DRAIN_DELAY_MS', 0, 'from NOT_SERVING to the refusal of calls, ms'),
  graceMs: integer('GRACE_MS', 30_000, 'what calls and runs under way get to end in, ms'),
  maxConnectionAgeMs: integer(
    'MAX_CONNECTION_AGE_MS',
    300_000,
    'then a connection is asked to go',
    { min: 1000 },
  ),
  tlsCert: optional('TLS_CERT', 'own certificate, PEM'),
  tlsKey: optional('TLS_KEY', 'its key, PEM'),
  tlsCa: optional('TLS_CA', 'who signs the other side, PEM'),
  tracesEndpoint: optional('OTEL_EXPORTER_OTLP_ENDPOINT', 'OTLP over HTTP; unset, no trace leaves'),
  tracesRatio: share('OTEL_TRACES_SAMPLER_ARG', 1, 'share of traces that begin here and are sent'),
} as const;

export type TrainerSettings = Config<typeof settings>;
