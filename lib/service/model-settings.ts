import { choice, integer, list, optional } from './settings.ts';
import type { Provider } from '../runtime/backend.ts';
import { lifecycleSettings, listenSettings, storePollMs } from './server-settings.ts';

const providers: readonly Provider[] = ['cpu', 'webgpu', 'cuda'];
const atLeastOne = { min: 1 };

/** The settings of every model service; each has ports of its own. */
export const modelSettings = (grpcPort: number, metricsPort: number) => ({
  ...listenSettings(grpcPort, metricsPort),
  cacheDir: optional('CACHE_DIR', 'folder for files of a remote store; default: a temporary one'),
  channels: list('CHANNELS', 'stable', 'channels whose releases are served, comma-separated'),
  storePollMs,
  lingerMs: integer('RELEASE_LINGER_MS', 30_000, 'how long a replaced release still answers, ms'),
  provider: choice('PROVIDER', 'cpu', providers, 'ONNX Runtime execution provider'),
  threads: integer('THREADS', 0, 'threads inside one run of the model; 0: all cores'),
  queueLimit: integer(
    'QUEUE_LIMIT',
    64,
    'requests admitted at a time; more are refused',
    atLeastOne,
  ),
  queueBytes: integer(
    'QUEUE_BYTES',
    256 * 1024 * 1024,
    'payload of the admitted requests, bytes',
    atLeastOne,
  ),
  ...lifecycleSettings,
  tlsCa: optional(
    'TLS_CA',
    'CA bundle that verifies clients, PEM; if set, they need a certificate',
  ),
});

/** The settings of services that run several requests at once. */
export const batchSettings = {
  maxBatch: integer('MAX_BATCH', 8, 'largest batch of one run of the model', atLeastOne),
  batchDelayMs: integer('BATCH_DELAY_MS', 5, 'maximum batching delay under load, ms'),
};
