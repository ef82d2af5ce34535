import type { ObservationRules } from '../rules.ts';

export const enlargedCardiomediastinum: ObservationRules = {
  mentions: [/\bmediastinal (?:widening|enlargement)\b/],
  structures: [
    /\bmediastinum\b/,
    /\bcardiomediastinum\b/,
    // Of any organ, ribs and aorta included, as in CheXpert.
    /\bcontours?\b/,
    /\b(?:cardio)?mediastinal (?:configuration|silhouette)s?\b/,
    /\bpericardial silhouette\b/,
    /\bcardiac silhouette and vascularity\b/,
  ],
  // A place, not the finding.
  unmentions: [
    /\b(?:over|overly|in) the (?:superior |left |right )?(?:mediastinum|cardiomediastinum)\b/,
  ],
};
