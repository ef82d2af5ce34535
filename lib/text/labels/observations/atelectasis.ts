import type { ObservationRules } from '../rules.ts';

export const atelectasis: ObservationRules = { mentions: [/\batelecta\w+/, /\bcollapsed?\b/] };
