import { DomainError } from '../errors.ts';

/** The error of a request that its deadline ended. */
export const expired = (): DomainError =>
  new DomainError('DEADLINE_EXCEEDED', 'REQUEST_EXPIRED', 'the request was not done in time');

/** What an aborted signal means: its own domain error, an expired deadline, or a cancellation. */
export function abortError({ reason }: AbortSignal): DomainError {
  if (reason instanceof DomainError) return reason;
  if (reason instanceof Error && reason.name === 'TimeoutError') return expired();
  return new DomainError('CANCELLED', 'REQUEST_CANCELLED', 'the caller cancelled the request');
}
