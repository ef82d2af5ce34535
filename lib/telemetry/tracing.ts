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
  /** OTLP/HTTP collector, e.g. `http://collector:4318`. Without it no trace is exported. */
  readonly endpoint?: string | undefined;
  /** Sampling ratio of traces that start here, 0 to 1; default 1. */
  readonly sampleRatio?: number | undefined;
  /** For tests: receives every span as it ends. */
  readonly exporter?: SpanExporter | undefined;
}

export interface Tracing {
  readonly tracer: Tracer;
  /**
   * Propagates the current context. Without an exporter, "not sampled" is no decision about the trace,
   * and would switch it off for the services that are called: it is propagated only if the caller sent it.
   */
  injectContext<Carrier>(carrier: Carrier, setter: TextMapSetter<Carrier>): void;
  /** Exports the remaining spans. */
  close(): Promise<void>;
}

const propagator = new W3CTraceContextPropagator();
/** Set in the context of a call that came with a trace. */
const hasParent = createContextKey('radscribe: called with a trace');

/** The context manager is global: services in one process share it. */
export function createTracing(options: TracingOptions): Tracing {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  const { service, endpoint, sampleRatio = 1, exporter } = options;
  const processors = [
    ...(exporter === undefined ? [] : [new SimpleSpanProcessor({ exporter })]),
    ...(endpoint === undefined ? [] : [new BatchSpanProcessor({ exporter: otlp(endpoint) })]),
  ];
  const exports = processors.length > 0;
  // Without an exporter trace ids are made for logs, and nothing is recorded.
  const ratio = exports ? sampleRatio : 0;
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ 'service.name': service }),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(ratio) }),
    spanProcessors: processors,
  });
  return {
    tracer: provider.getTracer('radscribe'),
    injectContext(carrier, setter) {
      const active = context.active();
      if (exports || isSampled(active) || active.getValue(hasParent) === true)
        propagator.inject(active, carrier, setter);
    },
    close: () => provider.shutdown(),
  };
}

const otlp = (endpoint: string): SpanExporter =>
  new OTLPTraceExporter({ url: `${endpoint.replace(/\/$/, '')}/v1/traces` });

const isSampled = (active: Context): boolean =>
  ((trace.getSpanContext(active)?.traceFlags ?? 0) & TraceFlags.SAMPLED) !== 0;

/** The context that a caller propagated. */
export function extractContext<Carrier>(carrier: Carrier, getter: TextMapGetter<Carrier>): Context {
  const sent = propagator.extract(ROOT_CONTEXT, carrier, getter);
  return trace.getSpanContext(sent) === undefined ? sent : sent.setValue(hasParent, true);
}

/** Runs a batch in a root span of its own that links to the spans of its requests. */
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
  // Recorded if one of its members is.
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

/** Does `work` in a child span of the current one; an error marks the span and is thrown again. */
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
