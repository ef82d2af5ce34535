import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import type { z } from 'zod';
import { fileError } from '../lib/data/files.ts';
import { invalidArgument } from '../lib/errors.ts';

/** A line of a file of JSON lines. */
export interface Line {
  /** For errors: the file and the line's number, from 1. */
  readonly place: string;
  readonly value: unknown;
}

/** Reads a file line by line, or standard input for `-`; empty lines are passed over. */
export async function* readLines(file: string): AsyncGenerator<Line> {
  const name = file === '-' ? 'standard input' : file;
  let number = 0;
  for await (const line of splitLines(
    file === '-' ? process.stdin : createReadStream(file),
    name,
  )) {
    number += 1;
    const place = `${name}, line ${number}`;
    if (line.trim() !== '') yield { place, value: parseJson(line, place) };
  }
}

/** readline would end the process where the file cannot be read. */
async function* splitLines(input: Readable, name: string): AsyncGenerator<string> {
  let rest = '';
  try {
    for await (const chunk of input.setEncoding('utf8')) {
      const lines = `${rest}${chunk}`.split('\n');
      rest = lines.pop() ?? '';
      yield* lines;
    }
  } catch (error) {
    throw fileError(error, name);
  }
  yield rest;
}

function parseJson(line: string, place: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    // The parser's own message would quote the report.
    throw invalidArgument('LINE_MALFORMED', place, 'expected JSON');
  }
}

/** What the line holds, or LINE_MALFORMED, which names the line and never quotes it. */
export function checkLine<T>({ place, value }: Line, schema: z.ZodType<T>): T {
  const checked = schema.safeParse(value);
  if (checked.success) return checked.data;
  const problems = checked.error.issues.map(({ path, message }) =>
    path.length > 0 ? `${path.join('.')}: ${message}` : message,
  );
  throw invalidArgument('LINE_MALFORMED', place, problems.join('; '));
}
