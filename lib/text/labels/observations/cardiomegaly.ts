import type { ObservationRules } from '../rules.ts';

export const cardiomegaly: ObservationRules = {
  mentions: [/\bcardiomegaly\b/, /\bcardiac enlargement\b/, /\benlarged heart\b/],
  structures: [
    /\bthe heart\b/,
    /\bheart size\b/,
    /\bcardiac (?:size|shadow|contours?|silhouettes?)\b/,
  ],
  // A place, not the finding.
  unmentions: [
    /\b(?:over|overly|in) the (?:superior |left |right )?(?:heart|cardiac (?:size|shadow|contour|silhouette))\b/,
  ],
};
