import type { ObservationRules } from '../rules.ts';

export const fracture: ObservationRules = { mentions: [/\bfractur(?:es?|ed)\b/] };
