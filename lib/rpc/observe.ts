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
import { domainErrorOf, statusName, statusOf } from './status.ts';

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

/** `/radscribe.v1.VisionService/Embed` as metrics and spans name it. */
function nameOf(path: string): { readonly rpc_service: string; readonly rpc_method: string } {
  const [, service = '', method = ''] = path.split('/');
  return { rpc_service: service, rpc_method: method };
}

/** Runs every turn of a generator in a context; leaving it early ends it there too. */
async function* within<Response>(
  active: Context,
  // Of a unary call the one, of a stream the other.
  inner: AsyncGenerator<never, Response, undefined> | AsyncGenerator<Response, void, undefined>,
): AsyncGenerator<Response, Response | void, undefined> {
  let ended = false;
  try {
    for (;;) {
      const turn = await context.with(active, () => inner.next());
      if (turn.done === true) {
        ended = true;
        return turn.value;
      }
      yield turn.value;
    }
  } catch (error) {
    ended = true;
    throw error;
  } finally {
    if (!ended) await context.with(active, () => inner.return(undefined as never));
  }
}

/**
 * The error border and what is watched at it: a span and a duration for every call, a log line for
 * an error that is ours. Callers get what `statusOf` tells of an error.
 */
export function observeServer({ tracer, metrics, logger }: Telemetry): ServerMiddleware {
  return async function* observeServer(call, callContext: CallContext) {
    const names = nameOf(call.method.path);
    const parent = extractContext(callContext.metadata, reader);
    const attributes = { 'rpc.system': 'grpc', 'rpc.method': call.method.path.slice(1) };
    const options = { kind: SpanKind.SERVER, attributes };
    const span = tracer.startSpan(call.method.path.slice(1), options, parent);
    const active = trace.setSpan(parent, span);
    const startMs = performance.now();
    // Where neither a result nor an error is seen, the caller has left.
    let code = 'CANCELLED';
    try {
      const result = yield* within(active, call.next(call.request, callContext));
      code = callContext.signal.aborted ? 'CANCELLED' : 'OK';
      return result;
    } catch (error) {
      code = statusName(error);
      failSpan(span, error);
      if (code === 'INTERNAL' || code === 'UNKNOWN') {
        context.with(active, () => logger.error({ err: error, ...names }, 'a call failed'));
      }
      throw statusOf(error);
    } finally {
      const labels = { ...names, rpc_grpc_status_code: code };
      const seconds = (performance.now() - startMs) / 1000;
      context.with(active, () => metrics.serverCalls.observe(labels, seconds));
      span.setAttribute('rpc.response.status_code', code);
      span.end();
    }
  };
}

/** What a call may be given beyond nice-grpc's own. */
export interface DeadlineOptions {
  /** When nobody wants the answer any more, in milliseconds since the epoch. */
  readonly deadline?: number | undefined;
}

/** The other side of `observeServer`: errors come back as the DomainErrors they were. */
export function observeClient(telemetry: Telemetry): ClientMiddleware {
  const { tracer, metrics } = telemetry;
  return async function* observeClient(call, callOptions: CallOptions) {
    const names = nameOf(call.method.path);
    const attributes = { 'rpc.system': 'grpc', 'rpc.method': call.method.path.slice(1) };
    const options = { kind: SpanKind.CLIENT, attributes };
    const span = tracer.startSpan(call.method.path.slice(1), options);
    const active = trace.setSpan(context.active(), span);
    const startMs = performance.now();
    let code = 'CANCELLED';
    try {
      const metadata = Metadata(callOptions.metadata);
      context.with(active, () => telemetry.injectContext(metadata, writer));
      const result = yield* within(active, call.next(call.request, { ...callOptions, metadata }));
      code = 'OK';
      return result;
    } catch (thrown) {
      const error = domainErrorOf(thrown);
      code = statusName(error);
      failSpan(span, error);
      throw error instanceof Error && error.name === 'AbortError'
        ? new DomainError('CANCELLED', 'RPC_CANCELLED', 'the call was cancelled', { cause: error })
        : error;
    } finally {
      const labels = { ...names, rpc_grpc_status_code: code };
      const seconds = (performance.now() - startMs) / 1000;
      context.with(active, () => metrics.clientCalls.observe(labels, seconds));
      span.setAttribute('rpc.response.status_code', code);
      span.end();
    }
  };
}
