import type { ObservationRules } from '../rules.ts';

export const lungLesion: ObservationRules = {
  mentions: [
    /\bmass(?:es|-like)?\b/,
    /\bnodul(?:ar (?:density|densities|opacity|opacities|opacification)|es?)\b/,
    /\b(?:micro)?nodules?\b/,
    /\blump/,
    /\bcavitary lesions?\b/,
    /\w*carcinoma/,
    /\bneoplasms?\b/,
    /\btumors?\b/,
  ],
  unmentions: [/\bcalcified nodul\w*/, /\bmassive/],
};
