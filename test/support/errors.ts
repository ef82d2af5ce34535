import type { ExecutionContext, TestFn } from 'ava';
import { DomainError, type ErrorCode } from '../../lib/errors.ts';

/** A row of the table of error reasons: what is wrong, and what the error says of it. */
export interface ErrorCase {
  /** Completes "... gives REASON". */
  readonly what: string;
  readonly reason: string;
  readonly code: ErrorCode;
  /** The whole field, or what it matches; undefined where the error names none. */
  readonly field: string | RegExp | undefined;
  readonly provoke: (t: ExecutionContext) => unknown;
}

/** A test for each row. */
export function testErrors(test: TestFn, cases: readonly ErrorCase[]): void {
  for (const { what, reason, code, field, provoke } of cases) {
    test(`${what} gives ${reason}`, async (t) => {
      const error = await t.throwsAsync(async () => void (await provoke(t)), {
        instanceOf: DomainError,
      });
      t.is(error.reason, reason, error.message);
      t.is(error.code, code);
      if (field instanceof RegExp) t.regex(error.field ?? '', field);
      else t.is(error.field, field);
    });
  }
}
