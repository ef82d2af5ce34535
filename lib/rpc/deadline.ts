import { type Metadata, ServerInterceptingCall, type ServerInterceptor } from '@grpc/grpc-js';
import type { Metadata as CallMetadata } from 'nice-grpc-common';
import { DomainError } from '../errors.ts';

/** grpc-js removes the deadline from the metadata; this key carries it to our middleware. */
const key = 'radscribe-deadline';

/** What a handler learns of a call beyond nice-grpc's own context. */
export interface DeadlineContext {
  /** When the caller no longer wants the answer, in milliseconds since the epoch. */
  readonly deadline: number | undefined;
}

export const deadlineInterceptor: ServerInterceptor = (_method, call) =>
  new ServerInterceptingCall(call, {
    start: (next) =>
      next({
        onReceiveMetadata(metadata: Metadata, next) {
          const deadline = Number(call.getDeadline());
          // A caller must not set it.
          metadata.remove(key);
          if (Number.isFinite(deadline)) metadata.set(key, String(deadline));
          next(metadata);
        },
      }),
  });

/** The deadline that the interceptor found, in milliseconds since the epoch. */
export function deadlineOf(metadata: CallMetadata): number | undefined {
  const value = metadata.get(key);
  return value === undefined ? undefined : Number(value);
}

interface Limit extends Disposable {
  readonly signal: AbortSignal;
}

/**
 * A signal that aborts at a deadline, with DEADLINE_EXCEEDED as its reason, or when one of `others`
 * does. AbortSignal.any leaves its listeners to the garbage collector, and takes a tenth of a whole call.
 */
export function limitTo(
  deadline: number | undefined,
  ...others: readonly (AbortSignal | undefined)[]
): Limit {
  const controller = new AbortController();
  const follow = ({ target }: { readonly target: unknown }): void =>
    controller.abort((target as AbortSignal).reason);
  for (const other of others) {
    if (other?.aborted === true) controller.abort(other.reason);
    other?.addEventListener('abort', follow);
  }
  const expire = (): void => {
    const message = 'the deadline has passed';
    controller.abort(new DomainError('DEADLINE_EXCEEDED', 'RPC_DEADLINE', message));
  };
  const timer = deadline === undefined ? undefined : setTimeout(expire, timerMs(deadline));
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      clearTimeout(timer);
      for (const other of others) other?.removeEventListener('abort', follow);
    },
  };
}

/** The delay of a timer that fires at a deadline; timers are limited to 24 days. */
const timerMs = (deadline: number): number =>
  Math.min(2 ** 31 - 1, Math.max(0, deadline - Date.now()));

/** The value of the `grpc-timeout` header: the time left until a deadline, at least a millisecond. */
export function timeoutHeader(deadline: number): string {
  const leftMs = Math.max(1, Math.ceil(deadline - Date.now()));
  // The header holds 8 digits at most.
  return leftMs < 1e8 ? `${leftMs}m` : `${Math.ceil(leftMs / 1000)}S`;
}
