import { context, defaultTextMapGetter, defaultTextMapSetter, trace } from '@opentelemetry/api';
import { InMemorySpanExporter } from '@opentelemetry/sdk-trace';
import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import { serveMetrics } from '../lib/service/metrics-page.ts';
import { createLogger } from '../lib/telemetry/logger.ts';
import { createMetrics, metricTable, readGauge } from '../lib/telemetry/metrics.ts';
import { type Telemetry, createTelemetry } from '../lib/telemetry/telemetry.ts';
import { StageTimer } from '../lib/telemetry/stage-timer.ts';
import { extractContext, inBatchSpan } from '../lib/telemetry/tracing.ts';

const traced = () => {
  const exporter = new InMemorySpanExporter();
  const telemetry = createTelemetry({ service: 'test', exporter, logLevel: 'silent' });
  return { telemetry, spans: () => exporter.getFinishedSpans() };
};

test('no metric has a label that could name a patient, a request or a caller', (t) => {
  const closed = new Set([
    'rpc_service',
    'rpc_method',
    'rpc_grpc_status_code',
    'stage',
    'variant',
    'kind',
    'release',
    'channel',
    'reason',
    'result',
    'run_stage',
  ]);
  for (const { name, labels } of Object.values(metricTable)) {
    t.deepEqual(
      labels.filter((label) => !closed.has(label)),
      [],
      name,
    );
  }
});

test('metrics are served as OpenMetrics, with exemplars that point to traces', async (t) => {
  const { telemetry } = traced();
  const { metrics, tracer } = telemetry;
  readGauge(metrics.queueDepth, () => 7);
  const span = tracer.startSpan('request');
  context.with(trace.setSpan(context.active(), span), () =>
    metrics.firstToken.observe({ variant: 'vit' }, 0.3),
  );
  metrics.firstToken.observe({ variant: 'vit' }, 0.4);
  const options = { host: '127.0.0.1', port: 0, metrics, isReady: () => false };
  const server = await serveMetrics(options);
  t.teardown(() => server.close());
  const get = (path: string) => fetch(`http://127.0.0.1:${server.port}${path}`);
  const response = await get('/metrics');
  t.regex(response.headers.get('content-type') ?? '', /application\/openmetrics-text/);
  const text = await response.text();
  t.regex(text, /radscribe_queue_depth 7\n/);
  const { traceId } = span.spanContext();
  t.true(text.includes(`# {trace_id="${traceId}",span_id="${span.spanContext().spanId}"} 0.3`));
  t.regex(text, /gen_ai_server_time_to_first_token_seconds_count\{variant="vit"\} 2\n/);
  t.regex(text, /# EOF\n$/);
  t.is((await get('/healthz')).status, 200);
  t.is((await get('/readyz')).status, 503);
  t.is((await get('/etc/passwd')).status, 404);
});

test('counters keep the names that rules and dashboards ask for', async (t) => {
  const metrics = createMetrics();
  metrics.decodeSteps.inc(3);
  metrics.tokens.inc({ kind: 'text' }, 2);
  const text = await metrics.registry.metrics();
  t.regex(text, /\nradscribe_decode_steps_total 3\n/);
  t.regex(text, /\nradscribe_tokens_total\{kind="text"\} 2\n/);
});

test('a log line carries the ids of its trace', (t) => {
  const lines: string[] = [];
  const logger = createLogger('test', 'info', { write: (line) => lines.push(line) });
  const { telemetry } = traced();
  const span = telemetry.tracer.startSpan('request');
  context.with(trace.setSpan(context.active(), span), () => logger.info('inside'));
  logger.info('outside');
  const [inside, outside] = lines.map((line) => JSON.parse(line) as Record<string, string>);
  t.like(inside, { level: 'info', service: 'test', trace_id: span.spanContext().traceId });
  t.is(outside?.['trace_id'], undefined);
});

test('where nothing is exported, traces have ids and are not recorded', (t) => {
  const { tracer } = createTelemetry({ service: 'test', logLevel: 'silent' });
  const span = tracer.startSpan('request');
  t.false(span.isRecording());
  t.regex(span.spanContext().traceId, /^[0-9a-f]{32}$/);
});

test('who records nothing sends no trace along, but passes on the one it was called with', (t) => {
  const sent = (telemetry: Telemetry, received: Readonly<Record<string, string>>) => {
    const parent = extractContext(received, defaultTextMapGetter);
    const span = telemetry.tracer.startSpan('call', {}, parent);
    const carrier: Record<string, string> = {};
    context.with(trace.setSpan(parent, span), () =>
      telemetry.injectContext(carrier, defaultTextMapSetter),
    );
    return carrier['traceparent'];
  };
  const silent = createTelemetry({ service: 'test', logLevel: 'silent' });
  t.is(sent(silent, {}), undefined);
  t.is(sent(silent, { traceparent: 'rubbish' }), undefined);
  const traceId = '0af7651916cd43dd8448eb211c80319c';
  for (const flags of ['00', '01']) {
    const traceparent = `00-${traceId}-b7ad6b7169203331-${flags}`;
    const passedOn = new RegExp(`^00-${traceId}-[0-9a-f]{16}-${flags}$`);
    t.regex(sent(silent, { traceparent }) ?? '', passedOn);
    t.regex(sent(traced().telemetry, { traceparent }) ?? '', passedOn);
  }
  // Of those who record, "not this one" is a decision for the whole trace.
  const exporter = new InMemorySpanExporter();
  const never = { service: 'test', logLevel: 'silent', exporter, sampleRatio: 0 } as const;
  t.regex(sent(createTelemetry(never), {}) ?? '', /-00$/);
  t.regex(sent(traced().telemetry, {}) ?? '', /-01$/);
});

test('the stages of a request are timed, counted and spans of its trace; a failed one says why', async (t) => {
  const { telemetry, spans } = traced();
  const request = telemetry.tracer.startSpan('request');
  await context.with(trace.setSpan(context.active(), request), async () => {
    const timer = new StageTimer(telemetry, 'vit');
    t.is(await timer.measure('decode', async () => 5), 5);
    timer.add('queue', performance.now() - 10, performance.now());
    const failure = new DomainError('INVALID_ARGUMENT', 'IMAGE_CORRUPT', 'a name');
    await t.throwsAsync(() => timer.measure('preprocess', () => Promise.reject(failure)));
    t.deepEqual(
      timer.timings.map(({ stage }) => stage),
      ['decode', 'queue', 'preprocess'],
    );
  });
  request.end();
  const stages = spans().filter(({ name }) => name !== 'request');
  t.true(stages.every((span) => span.parentSpanContext?.spanId === request.spanContext().spanId));
  t.is(stages.at(-1)?.attributes['error.type'], 'IMAGE_CORRUPT');
  t.false(JSON.stringify(stages.map(({ status, events }) => [status, events])).includes('a name'));
});

test('the span of a batch is recorded where one of its members is, and links to all', async (t) => {
  const { telemetry, spans } = traced();
  const { tracer } = telemetry;
  await inBatchSpan(tracer, 'batch', [undefined], async () => {});
  t.deepEqual(spans(), []);
  const members = [tracer.startSpan('a'), undefined, tracer.startSpan('b')];
  await inBatchSpan(tracer, 'batch', members, async () => {});
  const [batch] = spans();
  t.is(batch?.parentSpanContext, undefined);
  t.deepEqual(
    batch?.links.map(({ context }) => context.spanId),
    members.flatMap((span) => (span ? [span.spanContext().spanId] : [])),
  );
});
