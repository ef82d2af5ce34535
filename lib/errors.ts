/**
 * The domain errors of RadScribe: one class, a closed set of codes. lib/rpc turns them into gRPC statuses
 * and the command line into exit codes; no other module knows gRPC.
 *
 * A message names the field, the value received and what was expected. It never holds an image, a report
 * or anything that identifies a patient.
 */
export type ErrorCode =
  | 'INVALID_ARGUMENT'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'FAILED_PRECONDITION'
  | 'RESOURCE_EXHAUSTED'
  | 'DEADLINE_EXCEEDED'
  | 'CANCELLED'
  | 'UNAVAILABLE'
  | 'UNAUTHENTICATED'
  | 'DATA_LOSS'
  | 'UNIMPLEMENTED'
  | 'INTERNAL';

export interface ErrorDetails {
  /** The field, tensor, file or option that was wrong, e.g. `images[0].data`. */
  readonly field?: string;
  /** Small, safe facts for programs: sizes, limits, names. */
  readonly metadata?: Readonly<Record<string, string>>;
  readonly cause?: unknown;
}

export class DomainError extends Error {
  override readonly name = 'DomainError';
  readonly code: ErrorCode;
  /** UPPER_SNAKE_CASE, stable for programs, e.g. `IMAGE_TRUNCATED`. */
  readonly reason: string;
  readonly field: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;

  constructor(code: ErrorCode, reason: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.reason = reason;
    this.field = details.field;
    this.metadata = details.metadata ?? {};
  }
}

/** Bad input: `field` is named, `message` says what was received and what was expected. */
export function invalidArgument(
  reason: string,
  field: string,
  message: string,
  details: Omit<ErrorDetails, 'field'> = {},
): DomainError {
  return new DomainError('INVALID_ARGUMENT', reason, `${field}: ${message}`, { ...details, field });
}
