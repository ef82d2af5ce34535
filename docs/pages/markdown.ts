/** A Markdown table; a bar inside a cell is escaped, and a line break becomes a space. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells
      .map((cell) =>
        cell
          .trim()
          .replaceAll('|', String.raw`\|`)
          .replaceAll(/\s*\n\s*/g, ' '),
      )
      .join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

export const code = (text: string): string => `\`${text}\``;

/** The first line of a page that nobody edits. */
export const written = (from: string): string =>
  `<!-- Written by \`npm run docs\` from ${from}: change that. -->`;
