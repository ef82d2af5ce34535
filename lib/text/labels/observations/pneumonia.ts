import type { ObservationRules } from '../rules.ts';

export const pneumonia: ObservationRules = { mentions: [/\b\w*pneumonia/, /\binfecti(?:on|ous)/] };
