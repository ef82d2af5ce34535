/** The two sections of a report that the decoder generates. */
export interface ReportText {
  /** '' if the report has none. */
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
 * The sections of a text that `joinReport` made or a decoder generated: text before the first header is
 * findings, repeated sections are joined, and the last section may be cut off.
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
