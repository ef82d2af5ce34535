import type { ObservationRules } from '../rules.ts';

export const edema: ObservationRules = {
  mentions: [/\bedema(?:tous)?\b/, /\bheart failure\b/, /\bchf\b/],
  signs: [/\b(?:vascular|pulmonary) congestion\b/, /\bindistinctness\b/, /\bvascular prominence\b/],
};
