import { ClientError, ServerError, Status } from 'nice-grpc-common';
import {
  BadRequest,
  ErrorInfo,
  RetryInfo,
  RichClientError,
  RichServerError,
} from 'nice-grpc-error-details';
import { DomainError, type ErrorCode } from '../errors.ts';

/** The domain of every ErrorInfo. */
const errorDomain = 'radscribe';

/** Tells a caller when to come back; queues and quotas put it into their errors' metadata. */
const retryKey = 'retryAfterMs';

/**
 * What a caller is told of an error: a status with a google.rpc.ErrorInfo, a BadRequest where a field
 * was wrong, a RetryInfo where coming back helps. Of what is not a DomainError nothing is told.
 */
export function statusOf(error: unknown): RichServerError | ServerError {
  if (error instanceof ServerError) return error;
  if (error instanceof Error && error.name === 'AbortError') {
    return new RichServerError(Status.CANCELLED, 'the call was cancelled');
  }
  if (!(error instanceof DomainError)) {
    const info = ErrorInfo.fromPartial({ reason: 'INTERNAL', domain: errorDomain });
    return new RichServerError(Status.INTERNAL, 'internal error', [info]);
  }
  const { code, reason, message, field, metadata } = error;
  const withField = field === undefined ? metadata : { ...metadata, field };
  const details: RichServerError['extra'] = [
    ErrorInfo.fromPartial({ reason, domain: errorDomain, metadata: withField }),
  ];
  if (field !== undefined && code === 'INVALID_ARGUMENT') {
    details.push(BadRequest.fromPartial({ fieldViolations: [{ field, description: message }] }));
  }
  const retryAfterMs = Number(metadata[retryKey]);
  if (retryAfterMs > 0) {
    const seconds = Math.floor(retryAfterMs / 1000);
    const nanos = Math.round((retryAfterMs % 1000) * 1e6);
    details.push(RetryInfo.fromPartial({ retryDelay: { seconds, nanos } }));
  }
  return new RichServerError(Status[code], message, details);
}

/** Statuses that are not a DomainError's: what a broken or foreign server may answer. */
const foreign: Readonly<Record<string, ErrorCode>> = {
  UNKNOWN: 'INTERNAL',
  ABORTED: 'FAILED_PRECONDITION',
  OUT_OF_RANGE: 'INVALID_ARGUMENT',
};

/**
 * The DomainError that another service answered with, reason, field and metadata included; what is
 * not an answer stays what it is.
 */
export function domainErrorOf(error: unknown): unknown {
  if (!(error instanceof ClientError)) return error;
  const extra = error instanceof RichClientError ? error.extra : [];
  const info = extra.find((detail): detail is ErrorInfo => detail.$type === ErrorInfo.$type);
  const name = Status[error.code] ?? 'UNKNOWN';
  const code = foreign[name] ?? (name as ErrorCode);
  const { field, ...metadata } = info?.metadata ?? {};
  const details = { metadata, cause: error, ...(field === undefined ? {} : { field }) };
  return new DomainError(code, info?.reason || `RPC_${name}`, error.details, details);
}

/** The name of the status code that an error is answered with, for metrics and logs. */
export const statusName = (error: unknown): string => Status[statusOf(error).code] ?? 'UNKNOWN';
