import { CsvError, parse } from 'csv-parse';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { type DomainError, invalidArgument } from '../errors.ts';
import { fileError } from './files.ts';

export interface CsvRow<Column extends string> {
  readonly row: Readonly<Record<Column, string>>;
  /** The line in which the row ends, from 1. */
  readonly line: number;
}

/**
 * Streams the named columns of a CSV file with a header; a name that ends in `.gz` is decompressed.
 * Other columns are dropped. Throws CSV_MALFORMED, which names file and line, never their content.
 */
export async function* readCsv<Column extends string>(
  root: string,
  name: string,
  columns: readonly Column[],
): AsyncGenerator<CsvRow<Column>, void, undefined> {
  let lacking: readonly string[] = columns;
  const parser = parse({
    bom: true,
    info: true,
    columns: (header: readonly string[]) => {
      lacking = columns.filter((column) => !header.includes(column));
      return header.map((column) => columns.some((wanted) => wanted === column) && column);
    },
  });
  const file = createReadStream(join(root, name));
  // An error in any of them ends the parser with that error, and so the loop below.
  if (name.endsWith('.gz')) pipeline(file, createGunzip(), parser, () => {});
  else pipeline(file, parser, () => {});
  try {
    for await (const { record, info } of parser) {
      if (lacking.length > 0) break;
      yield { row: record, line: info.lines };
    }
  } catch (error) {
    throw csvError(error, name, parser.info.lines);
  }
  if (lacking.length > 0) {
    throw malformed(name, 1, `the header lacks ${lacking.join(', ')}`);
  }
}

/** The cause is dropped: a CsvError holds the record, which may be a report. */
function csvError(error: unknown, name: string, lines: number): unknown {
  if (error instanceof CsvError) return malformed(name, Number(error.lines), error.message);
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (code.startsWith('Z_')) return malformed(name, lines, `the gzip stream is damaged (${code})`);
  return fileError(error, name);
}

export function malformed(name: string, line: number, what: string): DomainError {
  return invalidArgument('CSV_MALFORMED', `${name}:${line}`, what);
}
