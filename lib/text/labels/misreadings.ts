import type { Observation } from './observations.ts';

/**
 * Sentences without an abnormality that the CheXpert labeler nevertheless reads as a finding, because its
 * parser fails or because it matches parts of words. Published labels contain these findings, so they are
 * counted here as well; a plain reading leaves them out. `No Finding` is an abnormality without a label
 * of its own.
 */
export const misreadings: readonly (readonly [Observation, RegExp])[] = [
  // "The heart" is a mention of its own, which only "is" and "are" connect to what is normal:
  // "the heart size and pulmonary vascularity appear within normal limits".
  [
    'Cardiomegaly',
    /\bthe heart (?:size|silhouette)\b[^,;:]* (?:appears?|remains?|have|has|are stable and) [^,;:]*\bnormal\b/,
  ],
  [
    'Cardiomegaly',
    /\bthe heart (?:size|silhouette)\b[^,;:]* (?:is|are) (?:top normal|not enlarged|stable$)/,
  ],
  ['Enlarged Cardiomediastinum', /\bmediastinum and [^,;:]* appear (?:normal|unremarkable)\b/],
  // Without a verb, the parser does not attach what follows to the noun before it.
  [
    'Enlarged Cardiomediastinum',
    /\b(?:contours?|silhouettes?) of normal\b|\bmediastinum (?:of normal|within normal|unremarkable$)/,
  ],
  ['Cardiomegaly', /\bheart size and [^,;:]* within normal limits, [^,;:]* appear\b/],
  // In a phrase without a verb, the parser does not recognize "unremarkable" as an adjective.
  ['Enlarged Cardiomediastinum', /^unremarkable [^,;:]*\b(?:mediastin\w+|contours?)\b/],
  // "Stable" hedges one of two joined nouns: "the heart and mediastinal contours are unchanged".
  [
    'Enlarged Cardiomediastinum',
    /\bheart and (?:cardio)?mediastinal \w+ (?:are|appear) (?:stable|unchanged)\b/,
  ],
  ['Enlarged Cardiomediastinum', /\bcontours appear similar to\b/],
  // A plural, or "space", is taken for the verb: "no displaced rib | fractures".
  ['Fracture', /^no (?:\S+ ){1,6}(?:fractures|fractures? identified|fractures on\b.*)$/],
  ['Consolidation', /^no (?:\S+ ){2,3}consolidations$|^no [^.]+, or \S+ air space consolidation$/],
  ['Lung Opacity', /^no (?:\S+ ){1,3}space opacities$/],
  ['Lung Lesion', /^no \S+ appearing \S+ nodules$/],
  ['Pneumothorax', /^no \w+ effusions or pneumothorax$/],
  // Parts of words.
  ['Support Devices', /endplate|platelike|plate-like|coiled|supporting/],
  ['No Finding', /noncalcified/],
];
