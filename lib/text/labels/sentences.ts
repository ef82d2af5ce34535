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
    .map((sentence) => sentence.replace(/\s+/g, ' ').trim())
    .filter((sentence) => sentence !== '');
}

/**
 * A full stop but not that of "3.2 cm", "dr. smith" or "a.m."; an empty line; a line that begins with a
 * bullet or a number.
 */
const boundary =
  /(?<!\b(?:dr|mr|mrs|ms|vs|e\.g|i\.e|no))\.(?!\d)|[!?]|\n[ \t]*\n|\n(?=[ \t]*(?:[-*•]|\d{1,2}[.)])[ \t])/;
