import type { ObservationRules } from '../rules.ts';

export const consolidation: ObservationRules = { mentions: [/\bconsolidat\w+/] };
