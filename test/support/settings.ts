import type { Settings } from './manifest-checks.ts';

const shared = [
  'HOST',
  'PORT',
  'METRICS_PORT',
  'LOG_LEVEL',
  'STORE',
  'DRAIN_DELAY_MS',
  'GRACE_MS',
  'MAX_CONNECTION_AGE_MS',
  'TLS_CERT',
  'TLS_KEY',
  'TLS_CA',
];
const served = ['CHANNELS', 'STORE_POLL_MS'];
const model = [
  'CACHE_DIR',
  'PROVIDER',
  'THREADS',
  'QUEUE_LIMIT',
  'QUEUE_BYTES',
  'MAX_BATCH',
  'BATCH_DELAY_MS',
];
const named = (names: readonly string[]) => new Set(names.map((name) => `RADSCRIBE_${name}`));
const models = named([...shared, ...served, ...model]);

/** The names that each service reads; its config takes this table's place as soon as it is there. */
export function serviceSettings(): Settings {
  return {
    gateway: named([
      ...shared,
      ...served,
      'VISION_ADDRESS',
      'LABELER_ADDRESS',
      'GENERATOR_ADDRESS',
    ]),
    vision: models,
    labeler: models,
    generator: models,
    trainer: named(shared),
  };
}
