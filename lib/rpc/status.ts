import { ClientError, ServerError, Status } from 'nice-grpc-common';
import {
  BadRequest,
  ErrorInfo,
  RetryInfo,
  RichClientError,
  RichServerError,
} from 'nice-grpc-error-details';
import { DomainError, type ErrorCode } from '../errors.ts';
import { fieldPath } from './field-path.ts';

/** The domain of every ErrorInfo. */
const errorDomain = 'radscribe';

/** The retry delay that queues and quotas put into the metadata of their errors. */
const retryKey = 'retryAfterMs';

/**
 * The status that a caller receives for an error, with a google.rpc.ErrorInfo, a BadRequest if a field
 * is invalid, and a RetryInfo if a retry may succeed. An error that is not a DomainError is INTERNAL,
 * and its message stays here.
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
  const { code, reason, metadata } = error;
  const { field, message } = code === 'INVALID_ARGUMENT' ? inProtoTerms(error) : error;
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

/** The field by its path in the proto file, also where the message begins with it. */
function inProtoTerms({ field, message }: DomainError): Pick<DomainError, 'field' | 'message'> {
  if (field === undefined) return { field, message };
  const named = message.startsWith(`${field}: `);
  const path = fieldPath(field);
  return { field: path, message: named ? path + message.slice(field.length) : message };
}

/** Statuses that are no DomainError's, which a broken or foreign server may answer. */
const foreign: Readonly<Record<string, ErrorCode>> = {
  UNKNOWN: 'INTERNAL',
  ABORTED: 'FAILED_PRECONDITION',
  OUT_OF_RANGE: 'INVALID_ARGUMENT',
};

/** The DomainError that a service answered, with reason, field and metadata; other errors as they are. */
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

/** The name of the status code that a caller receives for an error, for metrics and logs. */
export const statusName = (error: unknown): string => Status[statusOf(error).code] ?? 'UNKNOWN';
