import type { Observation } from './observations.ts';

/**
 * Sentences of nothing abnormal that the CheXpert labeler nevertheless takes for a finding, because its
 * parser stumbles or because it looks for parts of words. Labels are compared with labels that it made,
 * so these are counted as it counts them; a plain reading leaves them out.
 */
export const misreadings: readonly (readonly [Observation, RegExp])[] = [
  // "The heart" is a mention of its own, which only "is" and "are" connect to what is normal:
  // "the heart size and pulmonary vascularity appear within normal limits".
  [
    'Cardiomegaly',
    /\bthe heart (?:size|silhouette)\b[^,;:]* (?:appears?|remains?|have|has|are stable and) (?:a |with)?[^,;:]*\bnormal\b/,
  ],
  [
    'Cardiomegaly',
    /\bthe heart (?:size|silhouette)\b[^,;:]* (?:is|are) (?:top normal|not enlarged)\b/,
  ],
  // "Of normal size", without a verb, is not seen to belong to what stands before it.
  ['Enlarged Cardiomediastinum', /\b(?:mediastinum|contours?|silhouettes?) of normal\b/],
  // In a phrase without a verb, "unremarkable" is not seen to be an adjective.
  ['Enlarged Cardiomediastinum', /^unremarkable [^,;:]*\b(?:mediastin\w+|contours?)\b/],
  // "Stable" hedges one of two joined nouns: "the heart and mediastinal contours are unchanged".
  [
    'Enlarged Cardiomediastinum',
    /\bheart(?: size)? and (?:cardio)?mediastinal \w+ (?:are|appear) (?:stable|unchanged)\b/,
  ],
  ['Enlarged Cardiomediastinum', /\bstable (?:cardiomegaly|heart size)(?: and|,) mediastinal\b/],
  // A plural without a verb is taken for the verb: "no displaced rib | fractures".
  ['Fracture', /^no (?:\S+ ){1,6}fractures(?! (?:is|are|or|seen|noted)\b)/],
  ['Consolidation', /^no (?:\S+ ){1,3}consolidations$/],
  ['Lung Opacity', /^no (?:\S+ ){1,3}space opacities$/],
  ['Pneumothorax', /^no \w+ effusions or pneumothorax$/],
  // Parts of words.
  ['Support Devices', /endplate|platelike|plate-like|coiled|supporting/],
];
