/**
 * The sentences of a report, lower case, single spaces. "a/b" becomes "a or b", as the CheXpert labeler
 * reads it.
 */
export function splitSentences(report: string): readonly string[] {
  return report
    .toLowerCase()
    .replace(/\band\/or\b/g, 'or')
    .replace(/(?<=[a-z])\/(?=[a-z])/g, ' or ')
    .split(boundary)
    .flatMap((sentence) => sentence.replace(/\s+/g, ' ').trim().match(atMost) ?? []);
}

/** Text longer than any sentence is cut at a space, so that no cue reaches far. */
const atMost = /\S.{0,999}(?!\S)|\S{1,1000}/g;

/** A full stop but not that of "3.2 cm" or "dr. smith"; an empty line; a line that begins an item. */
const boundary =
  /(?<!\b(?:dr|mr|mrs|ms|vs|e\.g|i\.e))\.(?!\d)|[!?]|\n[ \t]*\n|\n(?=[ \t]*(?:[-*•]|\d{1,2}[.)])[ \t])/;
