import { choice, type Config, integer, list, optional, share, text } from '../../lib/config.ts';
import { logLevels } from '../../lib/telemetry/logger.ts';

/** Every setting of the gateway. */
export const settings = {
  host: text('HOST', '127.0.0.1', 'address to listen on'),
  port: integer('PORT', 50051, 'gRPC port; 0 takes a free one', { max: 65535 }),
  metricsPort: integer('METRICS_PORT', 9464, 'port of /metrics, /healthz and /readyz', {
    max: 65535,
  }),
  logLevel: choice('LOG_LEVEL', 'info', logLevels, 'least severe line that is logged'),
  store: text('STORE', 'releases', 'release store: file:///folder or s3://bucket/prefix'),
  storePollMs: integer('STORE_POLL_MS', 2000, 'how often the channels are looked at, ms', {
    min: 10,
  }),
  channels: list('CHANNELS', 'stable', 'channels that are served; the first is the default'),
  visionAddress: text('VISION_ADDRESS', '127.0.0.1:50052', 'where the vision service is'),
  labelerAddress: text('LABELER_ADDRESS', '127.0.0.1:50053', 'where the labeler service is'),
  generatorAddress: text('GENERATOR_ADDRESS', '127.0.0.1:50054', 'where the generator service is'),
  timeoutMs: integer('TIMEOUT_MS', 60_000, 'for calls that bring no deadline, ms', { min: 1 }),
  queueLimit: integer('QUEUE_LIMIT', 256, 'requests under way at a time', { min: 1 }),
  queueBytes: integer(
    'QUEUE_BYTES',
    256 * 1024 * 1024,
    'pictures under way, bytes; they cost up to six times as much memory',
    { min: 1 },
  ),
  maxMessageBytes: integer('MAX_MESSAGE_BYTES', 128 * 1024 * 1024, 'largest request, bytes', {
    min: 1024,
  }),
  authTokensFile: optional('AUTH_TOKENS_FILE', 'static tokens, a line each: CLIENT TOKEN'),
  authJwks: optional('AUTH_JWKS', 'keys of the token issuer: a URL or a file (JSON Web Key Set)'),
  authIssuer: optional('AUTH_ISSUER', 'what the claim iss of a token must be'),
  authAudience: optional('AUTH_AUDIENCE', 'what the claim aud of a token must be'),
  quotaPerMinute: integer('QUOTA_PER_MINUTE', 0, 'pictures a minute and client; 0 is no quota'),
  quotaBurst: integer('QUOTA_BURST', 20, 'pictures that a client may send at once', { min: 1 }),
  shadowChannel: optional('SHADOW_CHANNEL', 'channel that gets copies of requests'),
  shadowShare: share('SHADOW_SHARE', 0, 'share of requests that are copied, 0 to 1'),
  shadowLimit: integer('SHADOW_LIMIT', 4, 'copies at a time; more are shed', { min: 1 }),
  drainDelayMs: integer('DRAIN_DELAY_MS', 0, 'from NOT_SERVING to the refusal of calls, ms'),
  graceMs: integer('GRACE_MS', 30_000, 'what calls under way get to end in, ms'),
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

export type GatewayConfig = Config<typeof settings>;
