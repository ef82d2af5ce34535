/**
 * The sections of a radiology report in the style of MIMIC-CXR. Headers, and which of the three sections
 * each opens, follow the section parser published with the dataset (MIT-LCP/mimic-cxr,
 * txt/section_parser.py), except that repeated sections are joined, instead of taking the last one, and
 * that headers may be lower case, misspelt or inside a line.
 */
export interface ReportSections {
  readonly findings: string;
  readonly impression: string;
  readonly indication: string;
}

type Kind =
  | 'findings'
  | 'impression'
  | 'indication'
  /** A preliminary reading, not used if there is a final one. */
  | 'wet read'
  /** A later correction: read with the impression. */
  | 'addendum'
  /** Text above the first header, or under a banner such as FINAL REPORT. */
  | 'title'
  | 'other';

interface Section {
  readonly kind: Kind;
  readonly lines: string[];
}

/**
 * Which section a header opens, by the first row that its name matches. A header that names the views
 * ("CHEST, TWO VIEWS:") opens the findings.
 */
const headers: readonly (readonly [kind: Kind, name: RegExp])[] = [
  ['title', /^final report$/],
  ['addendum', /addend/],
  ['wet read', /^(wet ?read|preliminary)/],
  ['other', /^(history of|reference|prior|previous)/],
  ['indication', /^reason for|indications?$|history|^clinical|^symptoms?$/],
  ['impression', /impression|^(conclusions?|opinion|interpretation|summary|diagnosis)$/],
  [
    'other',
    /compari|techni|exam|procedure|recommend|notif|communicat|^(note|date|dose|type|views?)$/,
  ],
  ['findings', /findings?|^report$/],
  [
    'findings',
    /chest|portable|\b(one|two|three|frontal|lateral|pa|ap)\b.*\bviews?|\bribs\b|\b(pa|ap|lateral) and\b/,
  ],
];

/** Subheadings of structured findings, which are part of their text ("HEART: Normal."). */
const organs =
  /^(the )?(lungs?|pleurae?|pleural|heart|cardiac|cardio|mediastin|hil[aiu]|airways?|trachea|bones?|osseous|skelet|musculo|soft tissues?|diaphragm|abdomen|vascul|pulmonary|lines|tubes|devices|support|catheters)/;

const maxNameLength = 60;
const headerLine = new RegExp(`^([A-Za-z][A-Za-z ()/,&-]{1,${maxNameLength}}):`);
const bannerLine =
  /^(FINAL REPORT|(?:FINAL )?ADDENDUM|WET ?READ|PRELIMINARY REPORT|(?:FINDINGS|IMPRESSION|INDICATION|CONCLUSION|TECHNIQUE|COMPARISON|EXAMINATION)S?)$/i;
/** A header inside a line: in capitals anywhere, otherwise only after a full stop. */
const inlineHeader =
  /(?=(?:FINDINGS?(?: ?(?:AND|&|\/) ?IMPRESSION)?|IMPRESSION|INDICATION|(?:CLINICAL )?HISTORY|TECHNIQUE|COMPARISONS?|EXAMINATION|CONCLUSION|RECOMMENDATIONS?|NOTIFICATION|ADDENDUM) ?:)(?<=\S[ \t]+)|(?=(?:Findings|Impression|Indication|Technique|Comparison) ?:)(?<=[.!?][ \t]+)/;

/**
 * Splits a report into findings, impression and indication; a section that the report lacks is ''. White
 * space is collapsed and all de-identification marks become `___`.
 *
 * - "FINDINGS AND IMPRESSION" is the impression, as in the dataset's own parser.
 * - Sections of the same name, and an addendum's text after the impression, are joined.
 * - A wet read is used only if there is no other reading.
 * - If no header opens findings or impression, the findings are the text after the first blank line of
 *   the last section that has one, or the whole text if it has no header.
 */
export function parseReport(text: string): ReportSections {
  const sections = splitSections(text);
  const read = (...kinds: Kind[]) => {
    const parts = kinds.flatMap((kind) =>
      sections
        .filter((section) => section.kind === kind)
        .map(({ lines }) => tidyText(lines.join('\n'))),
    );
    return [...new Set(parts)].filter((part) => part !== '').join(' ');
  };
  const findings = read('findings');
  const impression = read('impression', 'addendum');
  if (findings !== '' || impression !== '') {
    return { findings, impression, indication: read('indication') };
  }
  const found = lastParagraphs(sections) || read('wet read');
  return { findings: found, impression: '', indication: read('indication') };
}

/**
 * One mark for text that was removed from a report (`___` of MIMIC-CXR, `XXXX` of Open-i, `[** **]` of
 * MIMIC-III), and one space for any white space.
 */
export function tidyText(text: string): string {
  return text
    .replace(/\[\*\*[^\]]{0,200}\*\*\]|_{2,}|\bX{3,}\b/g, '___')
    .replace(/\s+/g, ' ')
    .trim();
}

function splitSections(text: string): readonly Section[] {
  let current: Section = { kind: 'title', lines: [] };
  const sections = [current];
  // A line of underscores is a rule between two readings, not a removed name.
  const lines = text.replace(/^[ \t]*_{10,}[ \t]*\r?$/gm, '').split(/\r\n|\r|\n/);
  for (const part of lines.flatMap((line) => line.trim().split(inlineHeader))) {
    const header = readHeader(part, current.kind);
    if (header) {
      current = { kind: header.kind, lines: [header.rest] };
      sections.push(current);
    } else {
      current.lines.push(part);
    }
  }
  return sections;
}

function readHeader(line: string, current: Kind): { kind: Kind; rest: string } | undefined {
  const banner = bannerLine.exec(line);
  if (banner) return { kind: kindOf(line.toLowerCase()) ?? 'other', rest: '' };
  const name = headerLine.exec(line)?.[1]?.trim();
  if (name === undefined) return undefined;
  const rest = line.slice(line.indexOf(':') + 1);
  const capitals = name === name.toUpperCase();
  if (organs.test(name.toLowerCase())) {
    const inReading = current === 'findings' || current === 'impression';
    return capitals && !inReading ? { kind: 'findings', rest: line } : undefined;
  }
  const kind = kindOf(name.toLowerCase());
  // Many phrases in lower case end in a colon; only a known name is a header.
  if (capitals) return { kind: kind ?? 'other', rest };
  return kind && name.split(' ').length <= 3 ? { kind, rest } : undefined;
}

function kindOf(name: string): Kind | undefined {
  const known = headers.find(([, pattern]) => pattern.test(name));
  if (known) return known[0];
  return (['impression', 'findings', 'indication'] as const).find((kind) => isMisspelt(name, kind));
}

/** Whether one or two letters are missing, added, changed or swapped. */
function isMisspelt(name: string, word: string): boolean {
  if (Math.abs(name.length - word.length) > 2) return false;
  let before: number[] = [];
  let last = Array.from({ length: word.length + 1 }, (_, at) => at);
  for (let i = 1; i <= name.length; i++) {
    const row = [i];
    for (let j = 1; j <= word.length; j++) {
      const changed = (last[j - 1] ?? 0) + (name[i - 1] === word[j - 1] ? 0 : 1);
      const swapped =
        i > 1 && j > 1 && name[i - 1] === word[j - 2] && name[i - 2] === word[j - 1]
          ? (before[j - 2] ?? 0) + 1
          : Infinity;
      row.push(Math.min(changed, swapped, (last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    [before, last] = [last, row];
  }
  return (last[word.length] ?? Infinity) <= 2;
}

/** Removes the paragraphs from their section, so that the indication does not repeat them. */
function lastParagraphs(sections: readonly Section[]): string {
  for (const { kind, lines } of sections.toReversed()) {
    if (kind === 'wet read') continue;
    const first = lines.findIndex((line) => line !== '');
    const gap = lines.findIndex((line, at) => first >= 0 && at > first && line === '');
    const firstParagraph = tidyText(lines.slice(0, gap === -1 ? undefined : gap).join('\n'));
    // Above all headers, a paragraph of sentences is not a title.
    const start = kind === 'title' && firstParagraph.endsWith('.') ? 0 : gap;
    const found = start === -1 ? '' : tidyText(lines.slice(start).join('\n'));
    if (found !== '') {
      lines.splice(start);
      return found;
    }
  }
  const titles = sections.filter(({ kind }) => kind === 'title');
  return tidyText(
    sections.length === titles.length ? titles.flatMap(({ lines }) => lines).join('\n') : '',
  );
}
