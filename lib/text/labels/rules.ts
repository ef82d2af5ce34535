/**
 * How the data files of observations/ are written. Text is matched in lower case, without white space
 * at its ends and with single spaces within. The patterns need no flags, and no anchors: a mention
 * may stand anywhere in a sentence.
 */
export interface ObservationRules {
  /** Words that name the abnormality itself: positive unless negated or hedged. */
  readonly mentions?: readonly RegExp[];
  /**
   * Words that name what may be abnormal ("heart size"): negative where called normal, uncertain where
   * only compared ("stable"), positive otherwise.
   */
  readonly structures?: readonly RegExp[];
  /** Words that only suggest the abnormality: uncertain at most. */
  readonly signs?: readonly RegExp[];
  /** What looks like a mention and is none; whatever overlaps it is not counted. */
  readonly unmentions?: readonly RegExp[];
}

/** One pattern that matches where any of `patterns` does; none matches nowhere. */
export function anyOf(patterns: readonly RegExp[]): RegExp {
  return new RegExp(patterns.map(({ source }) => `(?:${source})`).join('|') || '(?!)');
}
