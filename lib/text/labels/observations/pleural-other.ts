import type { ObservationRules } from '../rules.ts';

export const pleuralOther: ObservationRules = {
  mentions: [
    /\bpleural (?:thickening|plaques?)\b/,
    /\bfibrosis\b/,
    /\bfibrothorax\b/,
    /\b(?:pleural|pleuro-?) ?(?:parenchymal|pericardial)? ?scar/,
  ],
};
