/**
 * How the data files of observations/ are written. Text is matched in lower case, without white space
 * at its ends and with single spaces within. The patterns need no flags, and no anchors: a mention
 * may stand anywhere in a sentence.
 */
export interface ObservationRules {
  /** Words that name the abnormality itself: positive unless negated or hedged. */
  readonly mentions?: readonly RegExp[];
  /**
   * Words that name a structure that may be abnormal ("heart size"): negative if called normal,
   * uncertain if only compared ("stable"), positive otherwise.
   */
  readonly structures?: readonly RegExp[];
  /** Words that only suggest the abnormality: uncertain at most. */
  readonly signs?: readonly RegExp[];
  /** Text that looks like a mention but is not one; mentions that overlap it are not counted. */
  readonly unmentions?: readonly RegExp[];
}

/** One pattern that matches wherever any of `patterns` does; without patterns it never matches. */
export function anyOf(patterns: readonly RegExp[]): RegExp {
  return new RegExp(patterns.map(({ source }) => `(?:${source})`).join('|') || '(?!)');
}
