import { type Metadata, ServerInterceptingCall, type ServerInterceptor } from '@grpc/grpc-js';
import type { CallContext, ServerMiddleware } from 'nice-grpc-common';
import { DomainError } from '../errors.ts';

/** grpc-js takes the deadline out of the metadata; it is put back under this name, for ourselves. */
const key = 'radscribe-deadline';

/** What a handler is told of a call beyond nice-grpc's own. */
export interface DeadlineContext {
  /** When nobody wants the answer any more, in milliseconds since the epoch. */
  readonly deadline: number | undefined;
}

export const deadlineInterceptor: ServerInterceptor = (_method, call) =>
  new ServerInterceptingCall(call, {
    start: (next) =>
      next({
        onReceiveMetadata(metadata: Metadata, next) {
          const deadline = Number(call.getDeadline());
          // Nobody else may set it.
          metadata.remove(key);
          if (Number.isFinite(deadline)) metadata.set(key, String(deadline));
          next(metadata);
        },
      }),
  });

/** Tells a handler its deadline, and aborts its signal then: grpc-js would only answer the caller. */
export const deadlineMiddleware: ServerMiddleware<DeadlineContext> =
  async function* deadlineMiddleware(call, context: CallContext) {
    const value = context.metadata.get(key);
    if (value === undefined) {
      return yield* call.next(call.request, { ...context, deadline: undefined });
    }
    const deadline = Number(value);
    using limit = limitTo(deadline, context.signal);
    return yield* call.next(call.request, { ...context, signal: limit.signal, deadline });
  };

interface Limit extends Disposable {
  readonly signal: AbortSignal;
}

/**
 * A signal that fires at a deadline, with DEADLINE_EXCEEDED as its reason, or when `other` does.
 * AbortSignal.any leaves what it follows to the garbage collector, and takes a tenth of a whole call.
 */
export function limitTo(deadline: number, other: AbortSignal | undefined): Limit {
  const controller = new AbortController();
  const follow = (): void => controller.abort(other?.reason);
  if (other?.aborted === true) follow();
  other?.addEventListener('abort', follow);
  const timer = setTimeout(() => {
    const message = 'the deadline has passed';
    controller.abort(new DomainError('DEADLINE_EXCEEDED', 'RPC_DEADLINE', message));
  }, timerMs(deadline));
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      clearTimeout(timer);
      other?.removeEventListener('abort', follow);
    },
  };
}

/** For a timer that fires at a deadline: no timer takes more than 24 days. */
const timerMs = (deadline: number): number =>
  Math.min(2 ** 31 - 1, Math.max(0, deadline - Date.now()));

/** The value of the `grpc-timeout` header: what is left until a deadline, at least a millisecond. */
export function timeoutHeader(deadline: number): string {
  const leftMs = Math.max(1, Math.ceil(deadline - Date.now()));
  // The header holds 8 digits at most.
  return leftMs < 1e8 ? `${leftMs}m` : `${Math.ceil(leftMs / 1000)}S`;
}
