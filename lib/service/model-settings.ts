import { choice, integer, list, optional } from './settings.ts';
import type { Provider } from '../runtime/backend.ts';
import { lifecycleSettings, listenSettings, storePollMs } from './server-settings.ts';

const providers: readonly Provider[] = ['cpu', 'webgpu', 'cuda'];
const atLeastOne = { min: 1 };

/** What every model service is set by; each has ports of its own. */
export const modelSettings = (grpcPort: number, metricsPort: number) => ({
  ...listenSettings(grpcPort, metricsPort),
  cacheDir: optional(
    'CACHE_DIR',
    'where files of a remote store are kept; else a temporary folder',
  ),
  channels: list('CHANNELS', 'stable', 'channels whose releases are served, with commas between'),
  storePollMs,
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
  ...lifecycleSettings,
  tlsCa: optional('TLS_CA', 'who signs clients, PEM; they must then show a certificate'),
});

/** Of the services that put several requests into one run. */
export const batchSettings = {
  maxBatch: integer('MAX_BATCH', 8, 'requests of one run of the model', atLeastOne),
  batchDelayMs: integer('BATCH_DELAY_MS', 5, 'longest wait for company under load, ms'),
};
