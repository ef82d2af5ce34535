import type { ObservationRules } from '../rules.ts';

export const pneumothorax: ObservationRules = {
  mentions: [/\b(?:hydro|hemo)?pneumothora(?:x|ces)\b/],
};
