import type { ExecutionContext } from 'ava';
import { DomainError, type ErrorCode } from '../../lib/errors.ts';

/** The errors of lib/runtime and their codes. */
const codes = {
  BACKEND_DISPOSED: 'FAILED_PRECONDITION',
  BATCH_INCOMPLETE: 'INTERNAL',
  CACHE_LOST: 'UNAVAILABLE',
  DECODER_UNKNOWN: 'FAILED_PRECONDITION',
  FEED_INVALID: 'INVALID_ARGUMENT',
  GENERATOR_DISPOSED: 'UNAVAILABLE',
  KEPT_LOST: 'FAILED_PRECONDITION',
  KEPT_RELEASED: 'FAILED_PRECONDITION',
  MODEL_INVALID: 'INVALID_ARGUMENT',
  MODEL_NOT_FOUND: 'NOT_FOUND',
  OUTPUT_KEPT: 'INVALID_ARGUMENT',
  OUTPUT_UNKNOWN: 'INVALID_ARGUMENT',
  PROVIDER_ABSENT: 'FAILED_PRECONDITION',
  REQUEST_CANCELLED: 'CANCELLED',
  REQUEST_EXPIRED: 'DEADLINE_EXCEEDED',
  RUN_FAILED: 'INTERNAL',
  SCORES_NOT_FINITE: 'INTERNAL',
  SESSION_DISPOSED: 'FAILED_PRECONDITION',
  TEXT_TOO_LONG: 'INVALID_ARGUMENT',
  THREADS_INVALID: 'INVALID_ARGUMENT',
  TOKENS_INVALID: 'INVALID_ARGUMENT',
  TOKEN_UNKNOWN: 'INVALID_ARGUMENT',
  TOO_MANY_BEAMS: 'INVALID_ARGUMENT',
  WORKER_DIED: 'UNAVAILABLE',
} as const satisfies Readonly<Record<string, ErrorCode>>;

/** Fails unless `promise` is rejected for this reason, with its code and this message. */
export async function refused(
  t: ExecutionContext,
  promise: Promise<unknown>,
  reason: keyof typeof codes,
  message?: RegExp,
): Promise<DomainError> {
  const error = await t.throwsAsync(promise, {
    instanceOf: DomainError,
    ...(message && { message }),
  });
  t.is(error.reason, reason, error.message);
  t.is(error.code, codes[reason], error.message);
  return error;
}
