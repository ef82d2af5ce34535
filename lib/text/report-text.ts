/** A report as the decoder writes it: one line, each section after its name. */
export interface ReportText {
  /** '' where the report has none. */
  readonly findings: string;
  readonly impression: string;
}

const header = /\b(FINDINGS|IMPRESSION) ?:/g;

/** `FINDINGS: … IMPRESSION: …`, without the sections that are empty. */
export function joinReport({ findings, impression }: ReportText): string {
  const sections = [
    ['FINDINGS', findings],
    ['IMPRESSION', impression],
  ] as const;
  return sections
    .map(([name, text]) => [name, text.replace(/\s+/g, ' ').trim()] as const)
    .filter(([, text]) => text !== '')
    .map(([name, text]) => `${name}: ${text}`)
    .join(' ');
}

/**
 * The sections of what `joinReport` made, or of what a decoder made of it: text before any header is
 * findings, sections that come again are joined, and one that was cut off is as long as it is.
 */
export function splitReport(text: string): ReportText {
  const parts: Record<keyof ReportText, string[]> = { findings: [], impression: [] };
  const [opening = '', ...rest] = text.split(header);
  parts.findings.push(opening);
  for (let at = 0; at < rest.length; at += 2) {
    const section = rest[at] === 'IMPRESSION' ? 'impression' : 'findings';
    parts[section].push(rest[at + 1] ?? '');
  }
  const joined = (section: keyof ReportText) =>
    parts[section].join(' ').replace(/\s+/g, ' ').trim();
  return { findings: joined('findings'), impression: joined('impression') };
}
