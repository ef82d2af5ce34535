import type { Settings } from '../../lib/service/settings.ts';
import { settings as gateway } from '../../services/gateway/config.ts';
import { settings as generator } from '../../services/generator/config.ts';
import { settings as labeler } from '../../services/labeler/config.ts';
import { settings as trainer } from '../../services/trainer/config.ts';
import { settings as vision } from '../../services/vision/config.ts';

const services: Readonly<Record<string, Settings>> = {
  gateway,
  vision,
  labeler,
  generator,
  trainer,
};

/** The variables that each service reads, by the table that its `--help` prints. */
export const serviceSettings = new Map(
  Object.entries(services).map(([name, table]) => [
    name,
    new Set(Object.values(table).map(({ env }) => env)),
  ]),
);
