import type { Config } from '../../lib/service/settings.ts';
import { batchSettings, modelSettings } from '../../lib/service/model-settings.ts';

/** Every setting of the labeler service. */
export const settings = { ...modelSettings(50053, 9466), ...batchSettings };

export type LabelerConfig = Config<typeof settings>;
