import { type Context, SpanKind, context, trace } from '@opentelemetry/api';
import type {
  CallContext,
  CallOptions,
  ClientMiddleware,
  ServerMiddleware,
} from 'nice-grpc-common';
import { Metadata } from 'nice-grpc-common';
import { DomainError } from '../errors.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { extractContext, failSpan } from '../telemetry/tracing.ts';
import { type DeadlineContext, deadlineOf, limitTo, timeoutHeader } from './deadline.ts';
import { domainErrorOf, statusName, statusOf } from './status.ts';

/*
 * Each side of a call has one middleware that does all of ours: deadline, span, duration, errors. Every
 * message of a stream passes through every async generator around it, so there is one, not one per
 * concern.
 */

const reader = {
  get(metadata: Metadata, key: string): string | undefined {
    const value = metadata.get(key);
    return typeof value === 'string' ? value : undefined;
  },
  keys: (metadata: Metadata) => [...metadata].map(([key]) => key),
};
const writer = {
  set: (metadata: Metadata, key: string, value: string) => void metadata.set(key, value),
};

/** One call as metrics and traces show it; `path` is e.g. `/radscribe.v1.VisionService/Embed`. */
function startCall({ tracer, metrics }: Telemetry, kind: SpanKind, path: string, parent: Context) {
  const [, service = '', method = ''] = path.split('/');
  const names = { rpc_service: service, rpc_method: method };
  const name = path.slice(1);
  const attributes = { 'rpc.system': 'grpc', 'rpc.method': name };
  const span = tracer.startSpan(name, { kind, attributes }, parent);
  const active = trace.setSpan(parent, span);
  const startMs = performance.now();
  const durations = kind === SpanKind.SERVER ? metrics.serverCalls : metrics.clientCalls;
  return {
    names,
    span,
    /** Does `work` as a part of this call's trace. */
    within: <T>(work: () => T): T => context.with(active, work),
    end: (code: string): void => {
      const labels = { ...names, rpc_grpc_status_code: code };
      const seconds = (performance.now() - startMs) / 1000;
      context.with(active, () => durations.observe(labels, seconds));
      span.setAttribute('rpc.response.status_code', code);
      span.end();
    },
  };
}

/** The handler of a unary call returns its response, that of a stream yields them. */
type Responses<Response> =
  | AsyncGenerator<never, Response, undefined>
  | AsyncGenerator<Response, void, undefined>;

/**
 * The error border of a server: a span and a duration for every call, and a log line for an error that
 * is not the caller's. Callers receive what `statusOf` makes of an error. A handler learns its
 * deadline, and its signal aborts then: grpc-js by itself would only answer the caller.
 */
export function serverCalls(telemetry: Telemetry): ServerMiddleware<DeadlineContext> {
  return async function* serverCall(call, callContext: CallContext) {
    const parent = extractContext(callContext.metadata, reader);
    const { names, span, within, end } = startCall(
      telemetry,
      SpanKind.SERVER,
      call.method.path,
      parent,
    );
    const deadline = deadlineOf(callContext.metadata);
    using limit = limitTo(deadline, callContext.signal);
    const handlerContext = { ...callContext, signal: limit.signal, deadline };
    const handler: Responses<unknown> = call.next(call.request, handlerContext);
    // Unless a result or an error arrives, the caller has left.
    let code = 'CANCELLED';
    let ended = false;
    try {
      for (;;) {
        const turn = await within(() => handler.next());
        ended = turn.done === true;
        if (ended) {
          code = callContext.signal.aborted ? 'CANCELLED' : 'OK';
          return turn.value as never;
        }
        yield turn.value as never;
      }
    } catch (error) {
      ended = true;
      code = statusName(error);
      failSpan(span, error);
      if (code === 'INTERNAL' || code === 'UNKNOWN') {
        within(() => telemetry.logger.error({ err: error, ...names }, 'a call failed'));
      }
      throw statusOf(error);
    } finally {
      if (!ended) await within(() => handler.return(undefined as never));
      end(code);
    }
  };
}

/** Options of a call beyond nice-grpc's own. */
export interface DeadlineOptions {
  /** When the caller no longer wants the answer, in milliseconds since the epoch. */
  readonly deadline?: number | undefined;
}

/**
 * The client's side of `serverCalls`: sends the deadline and the trace context, and gives errors as the
 * DomainErrors that they were. `timeoutMs` is for calls without a deadline.
 */
export function clientCalls(
  telemetry: Telemetry,
  timeoutMs: number,
): ClientMiddleware<DeadlineOptions> {
  return async function* clientCall(call, callOptions: CallOptions & DeadlineOptions) {
    const { path } = call.method;
    const { deadline = Date.now() + timeoutMs, signal, ...rest } = callOptions;
    const { span, within, end } = startCall(telemetry, SpanKind.CLIENT, path, context.active());
    using limit = limitTo(deadline, signal);
    const metadata = Metadata(rest.metadata).set('grpc-timeout', timeoutHeader(deadline));
    within(() => telemetry.injectContext(metadata, writer));
    const options = { ...rest, metadata, signal: limit.signal };
    const responses: Responses<unknown> = call.next(call.request, options);
    let code = 'CANCELLED';
    let ended = false;
    try {
      for (;;) {
        const turn = await within(() => responses.next());
        ended = turn.done === true;
        if (ended) {
          code = 'OK';
          return turn.value as never;
        }
        yield turn.value as never;
      }
    } catch (thrown) {
      ended = true;
      const isLate = limit.signal.aborted && signal?.aborted !== true;
      const error = isLate ? lateError(path, thrown) : clientError(thrown);
      code = statusName(error);
      failSpan(span, error);
      throw error;
    } finally {
      if (!ended) await within(() => responses.return(undefined as never));
      end(code);
    }
  };
}

function lateError(path: string, cause: unknown): DomainError {
  const message = `${path.slice(1)} did not answer before the deadline`;
  return new DomainError('DEADLINE_EXCEEDED', 'RPC_DEADLINE', message, { cause });
}

function clientError(thrown: unknown): unknown {
  const error = domainErrorOf(thrown);
  return error instanceof Error && error.name === 'AbortError'
    ? new DomainError('CANCELLED', 'RPC_CANCELLED', 'the call was cancelled', { cause: error })
    : error;
}
