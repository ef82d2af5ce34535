import { ClientError, Status as StatusCode } from 'nice-grpc-common';
import {
  BadRequest,
  type ErrorDetails,
  ErrorInfo,
  RetryInfo,
  RichClientError,
  RichServerError,
} from 'nice-grpc-error-details';
import type { Sent, Status } from './messages.ts';
import { domainErrorOf, statusOf } from './status.ts';

/** The types of the details that `statusOf` adds. */
const detailTypes = [ErrorInfo, BadRequest, RetryInfo];
const typePrefix = 'type.googleapis.com/';

/** `statusOf` as a google.rpc.Status message, for one item of a batch. */
export function statusMessage(error: unknown): Sent<Status> {
  const status = statusOf(error);
  const extra = status instanceof RichServerError ? status.extra : [];
  const details = extra.flatMap((detail) => {
    const type = detailTypes.find(({ $type }) => $type === detail.$type);
    if (type === undefined) return [];
    const value = type.encode(detail as never).finish();
    return [{ type_url: typePrefix + type.$type, value }];
  });
  return { code: status.code, message: status.details, details };
}

/** The DomainError from which `statusMessage` made a message. */
export function errorOfStatus({ code: number, message, details }: Status): unknown {
  const code = StatusCode[StatusCode[number] as keyof typeof StatusCode] ?? StatusCode.UNKNOWN;
  const extra = details.flatMap(({ type_url: url, value }): ErrorDetails[] => {
    const type = detailTypes.find(({ $type }) => typePrefix + $type === url);
    return type === undefined ? [] : [type.decode(value)];
  });
  return domainErrorOf(
    extra.length > 0
      ? new RichClientError('', code, message, extra)
      : new ClientError('', code, message),
  );
}
