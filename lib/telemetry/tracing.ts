import {
  ROOT_CONTEXT,
  type Context,
  type Span,
  SpanStatusCode,
  TraceFlags,
  type TextMapGetter,
  type TextMapSetter,
  type Tracer,
  context,
  createContextKey,
  trace,
} from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator, suppressTracing } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  SimpleSpanProcessor,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import { DomainError } from '../errors.ts';

export interface TracingOptions {
  readonly service: string;
  /** OTLP over HTTP, e.g. `http://collector:4318`. Without it nothing leaves the process. */
  readonly endpoint?: string | undefined;
  /** Share of traces that begin here and are recorded, 0 to 1; default 1. */
  readonly sampleRatio?: number | undefined;
  /** For tests: gets every span at once. */
  readonly exporter?: SpanExporter | undefined;
}

export interface Tracing {
  readonly tracer: Tracer;
  /**
   * Sends the current context along. Where nobody listens, "not recorded" is no decision about the
   * trace, and would switch it off for all who are called: it is sent only if the caller said so.
   */
  injectContext<Carrier>(carrier: Carrier, setter: TextMapSetter<Carrier>): void;
  /** Sends what is left. */
  close(): Promise<void>;
}

const propagator = new W3CTraceContextPropagator();
/** Set in the context of a call that came with a trace. */
const called = createContextKey('radscribe: called with a trace');

/** Spans follow async calls in the whole process; services in one process share that. */
export function createTracing(options: TracingOptions): Tracing {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  const { service, endpoint, sampleRatio = 1, exporter } = options;
  const processors = [
    ...(exporter === undefined ? [] : [new SimpleSpanProcessor({ exporter })]),
    ...(endpoint === undefined ? [] : [new BatchSpanProcessor({ exporter: otlp(endpoint) })]),
  ];
  const isHeard = processors.length > 0;
  // Where nobody listens, trace ids are made for logs, and nothing is recorded.
  const ratio = isHeard ? sampleRatio : 0;
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ 'service.name': service }),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(ratio) }),
    spanProcessors: processors,
  });
  return {
    tracer: provider.getTracer('radscribe'),
    injectContext(carrier, setter) {
      const active = context.active();
      if (isHeard || isSampled(active) || active.getValue(called) === true)
        propagator.inject(active, carrier, setter);
    },
    close: () => provider.shutdown(),
  };
}

const otlp = (endpoint: string): SpanExporter =>
  new OTLPTraceExporter({ url: `${endpoint.replace(/\/$/, '')}/v1/traces` });

const isSampled = (active: Context): boolean =>
  ((trace.getSpanContext(active)?.traceFlags ?? 0) & TraceFlags.SAMPLED) !== 0;

/** The context that a caller sent along. */
export function extractContext<Carrier>(carrier: Carrier, getter: TextMapGetter<Carrier>): Context {
  const sent = propagator.extract(ROOT_CONTEXT, carrier, getter);
  return trace.getSpanContext(sent) === undefined ? sent : sent.setValue(called, true);
}

/** Does the work on a batch in a span of its own, a trace apart that links to its members' requests. */
export async function inBatchSpan<T>(
  tracer: Tracer,
  name: string,
  members: readonly (Span | undefined)[],
  work: () => Promise<T>,
): Promise<T> {
  const links = members.flatMap((span) =>
    span === undefined ? [] : [{ context: span.spanContext() }],
  );
  const attributes = { 'radscribe.batch_size': members.length };
  // Recorded where one of its members is.
  const parent = members.some((span) => span?.isRecording())
    ? ROOT_CONTEXT
    : suppressTracing(ROOT_CONTEXT);
  const span = tracer.startSpan(name, { root: true, links, attributes }, parent);
  try {
    return await context.with(trace.setSpan(parent, span), work);
  } catch (error) {
    failSpan(span, error);
    throw error;
  } finally {
    span.end();
  }
}

/** Does `work` in a span of its own, below the one that is open; an error marks the span and goes on. */
export async function inSpan<T>(
  tracer: Tracer,
  name: string,
  work: (span: Span) => T | Promise<T>,
): Promise<T> {
  const span = tracer.startSpan(name);
  try {
    return await context.with(trace.setSpan(context.active(), span), () => work(span));
  } catch (error) {
    failSpan(span, error);
    throw error;
  } finally {
    span.end();
  }
}

/** Only the reason of an error is traced, never a message. */
export function failSpan(span: Span, error: unknown): void {
  span.setStatus({ code: SpanStatusCode.ERROR });
  const type = error instanceof DomainError ? error.reason : 'INTERNAL';
  span.setAttribute('error.type', type);
}
