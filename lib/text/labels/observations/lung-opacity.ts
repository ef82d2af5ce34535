import type { ObservationRules } from '../rules.ts';

export const lungOpacity: ObservationRules = {
  mentions: [
    /\b\w*opaci\w+/,
    /\bdecreased translucency\b/,
    /\bincreased density\b/,
    /\bair ?-?space disease\b/,
    /\binfiltrat(?:es?|ions?)\b/,
    /\binterstitial (?:markings?|patterns?|lung)\b/,
    /\breticular (?:markings?|patterns?)\b/,
    /\breticulation/,
    /\bparenchymal scar/,
    /\bperibronchial thickening\b/,
    /\bwall thickening\b/,
    /\bscar(?:s|red|ring)?\b/,
  ],
  unmentions: [/\bpleural scar\w*/],
};
