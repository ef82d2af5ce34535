import { type Config, integer } from '../../lib/service/settings.ts';
import { modelSettings } from '../../lib/service/model-settings.ts';

/** Every setting of the generator service. */
export const settings = {
  ...modelSettings(50054, 9467),
  maxBatch: integer(
    'MAX_BATCH',
    8,
    'rows of the running batch: a request takes one, with beam search one per beam',
    {
      min: 1,
      max: 64,
    },
  ),
};

export type GeneratorConfig = Config<typeof settings>;
