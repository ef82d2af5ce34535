import { type Config, integer } from '../../lib/service/settings.ts';
import { batchSettings, modelSettings } from '../../lib/service/model-settings.ts';

/** Every setting of the vision service. */
export const settings = {
  ...modelSettings(50052, 9465),
  ...batchSettings,
  decodeConcurrency: integer('DECODE_CONCURRENCY', 2, 'images decoded at a time', { min: 1 }),
};

export type VisionConfig = Config<typeof settings>;
