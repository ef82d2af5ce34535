import type { ObservationRules } from '../rules.ts';

export const lungLesion: ObservationRules = {
  mentions: [
    /\bmass(?:es|-?like)?\b/,
    /\bnodular (?:densit(?:y|ies)|opacit(?:y|ies)|opacification)\b/,
    /\b(?:micro)?nodules?\b/,
    /\blump/,
    /\bcavitary lesions?\b/,
    /carcinoma/,
    /\bneoplasms?\b/,
    /\btumors?\b/,
  ],
  unmentions: [/\bcalcified nodul\w*/, /\bmassive/],
};
