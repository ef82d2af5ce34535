import type { ObservationRules } from '../rules.ts';

export const pleuralEffusion: ObservationRules = {
  mentions: [/\bpleural fluid\b/, /\beffusions?\b/],
  unmentions: [/\bpericardial effusions?\b/],
};
