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
    /\bthe heart (?:size|silhouette)\b[^,;:]* (?:is|are) (?:top normal|not enlarged|stable$)/,
  ],
  // "Of normal size" and "within normal limits", without a verb, are not seen to belong to what stands before it.
  [
    'Enlarged Cardiomediastinum',
    /\b(?:mediastinum|contours?|silhouettes?) of normal\b|\bmediastinum within normal\b/,
  ],
  // In a phrase without a verb, "unremarkable" is not seen to be an adjective.
  ['Enlarged Cardiomediastinum', /^unremarkable [^,;:]*\b(?:mediastin\w+|contours?)\b/],
  // "Stable" hedges one of two joined nouns: "the heart and mediastinal contours are unchanged".
  [
    'Enlarged Cardiomediastinum',
    /\bheart and (?:cardio)?mediastinal \w+ (?:are|appear) (?:stable|unchanged)\b/,
  ],
  // A plural without a verb is taken for the verb: "no displaced rib | fractures".
  ['Fracture', /^no (?:\S+ ){1,6}(?:fractures|fractures? identified|fractures on\b.*)$/],
  ['Consolidation', /^no (?:\S+ ){2,3}consolidations$|^no [^.]+, or \S+ air space consolidation$/],
  ['Lung Opacity', /^no (?:\S+ ){1,3}space opacities$/],
  ['Pneumothorax', /^no \w+ effusions or pneumothorax$/],
  // Parts of words.
  ['Support Devices', /endplate|platelike|plate-like|coiled|supporting/],
];
