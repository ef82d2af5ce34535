/** One cell; numbers are aligned to the right. */
type Cell = string | number;

export interface TableOptions {
  /** Columns that are aligned to the right, from 0; also those whose numbers are written as text. */
  readonly right?: readonly number[];
  /** Spaces before each line. */
  readonly indent?: number;
}

/** Rows as lines, each column as wide as its widest cell. A head is a row like the others. */
export function printTable(
  rows: readonly (readonly Cell[])[],
  { right = [], indent = 0 }: TableOptions = {},
): string {
  const columns = Math.max(0, ...rows.map(({ length }) => length));
  const widths = Array.from({ length: columns }, (_, at) =>
    Math.max(...rows.map((row) => `${row[at] ?? ''}`.length)),
  );
  const line = (row: readonly Cell[]): string =>
    row
      .map((cell, at) => {
        const width = widths[at] ?? 0;
        const isRight = typeof cell === 'number' || right.includes(at);
        const text = String(cell);
        return isRight ? text.padStart(width) : text.padEnd(width);
      })
      .join('  ')
      .trimEnd();
  return rows.map((row) => `${' '.repeat(indent)}${line(row)}\n`).join('');
}
