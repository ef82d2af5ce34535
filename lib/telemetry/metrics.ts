import { context, trace } from '@opentelemetry/api';
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';

/** The stages of `radscribe_stage_duration_seconds`. */
export type Stage =
  | 'queue'
  | 'decode'
  | 'preprocess'
  | 'inference'
  | 'prefill'
  | 'step'
  | 'generate'
  | 'vision'
  | 'labeler'
  | 'generator'
  /** The gateway's own time, without its calls to the other services. */
  | 'gateway';

type Kind = 'durations' | 'histogram' | 'gauge' | 'counter';

interface Definition<K extends Kind, Label extends string> {
  readonly kind: K;
  readonly name: string;
  readonly help: string;
  readonly labels: readonly Label[];
  readonly buckets: readonly number[];
}

const define =
  <K extends Kind>(kind: K) =>
  <Label extends string = never>(
    name: string,
    help: string,
    labels: readonly Label[] = [],
    buckets: readonly number[] = [],
  ): Definition<K, Label> => ({ kind, name, help, labels, buckets });

const durations = define('durations');
const gauge = define('gauge');
const counter = define('counter');

const rpcLabels = ['rpc_service', 'rpc_method', 'rpc_grpc_status_code'] as const;
/** OpenTelemetry's boundaries for rpc durations, widened to 60 s. */
const rpcBuckets = [
  0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 30, 60,
];
const stageBuckets = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
];
/** OpenTelemetry's boundaries of gen_ai.server.*. */
const firstTokenBuckets = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
];
const perTokenBuckets = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.5, 1, 2.5,
];

/** Of a training run; `run_stage` is `labeler`, `one` or `two`. */
const training = (name: string, help: string) =>
  gauge(`radscribe_training_${name}`, `${help} of the training run`, ['run_stage']);

/**
 * Every metric of RadScribe. The label sets are closed: a method, a code, a stage, a variant, a
 * release that is served; never a patient, a file, a request or a caller.
 */
export const metricTable = {
  serverCalls: durations(
    'rpc_server_call_duration_seconds',
    'Duration of the calls that this service answered',
    rpcLabels,
    rpcBuckets,
  ),
  clientCalls: durations(
    'rpc_client_call_duration_seconds',
    'Duration of calls to other services, retries included',
    rpcLabels,
    rpcBuckets,
  ),
  stages: durations(
    'radscribe_stage_duration_seconds',
    'Duration of a stage of the work on a request',
    ['stage', 'variant'],
    stageBuckets,
  ),
  firstToken: durations(
    'gen_ai_server_time_to_first_token_seconds',
    'From the arrival of a request to its first token',
    ['variant'],
    firstTokenBuckets,
  ),
  perToken: durations(
    'gen_ai_server_time_per_output_token_seconds',
    'Time between two tokens of a request after the first',
    ['variant'],
    perTokenBuckets,
  ),
  batchSize: define('histogram')(
    'radscribe_batch_size',
    'Requests that shared a run of the model',
    [],
    [1, 2, 4, 8, 16, 32, 64],
  ),
  queueDepth: gauge('radscribe_queue_depth', 'Requests that wait for a run of the model'),
  queueBytes: gauge('radscribe_queue_bytes', 'Payload of the admitted requests in bytes'),
  inFlight: gauge('radscribe_in_flight', 'Admitted requests that do not wait'),
  tokens: counter('radscribe_tokens_total', 'Tokens read and generated', ['kind']),
  releaseInfo: gauge('radscribe_release_info', '1 for a release that is served', [
    'release',
    'variant',
    'channel',
  ]),
  releaseLoadFailures: counter(
    'radscribe_release_load_failures_total',
    'Releases that could not be loaded and warmed',
  ),
  /** `reason`: queue_full, closed, expired, cancelled; of the gateway also quota, unauthenticated, release_not_held. */
  rejected: counter('radscribe_rejected_total', 'Requests rejected', ['reason']),
  shadowComparisons: counter(
    'radscribe_shadow_comparisons_total',
    'Comparisons of the shadow release with the served one',
    ['result'],
  ),
  decodeSteps: counter('radscribe_decode_steps_total', 'Steps of the running batch'),
  trainingLoss: training('loss', 'Loss'),
  trainingLearningRate: training('learning_rate', 'Highest learning rate'),
  trainingGradientNorm: training('gradient_norm', 'Norm of the gradient'),
  trainingLossScale: training('loss_scale', 'Scale of the loss in mixed precision'),
  trainingStudiesPerSecond: training('studies_per_second', 'Studies a second'),
  trainingTokensPerSecond: training('tokens_per_second', 'Tokens a second'),
  trainingCpuUtilization: training('cpu_utilization', 'Share of the processor time, 0 to 1,'),
  trainingEta: training('eta_seconds', 'Seconds that are left, by estimate,'),
  trainingStep: training('step', 'Optimizer steps so far'),
};

/** A histogram whose buckets point to a trace. */
interface Durations<Label extends string> {
  observe(labels: Readonly<Record<Label, string>>, seconds: number): void;
}

type MetricOf<D> =
  D extends Definition<infer K, infer Label>
    ? {
        durations: Durations<Label>;
        histogram: Histogram<Label>;
        gauge: Gauge<Label>;
        counter: Counter<Label>;
      }[K]
    : never;

type Table = typeof metricTable;
export type Metrics = { readonly [Name in keyof Table]: MetricOf<Table[Name]> } & {
  readonly registry: Pick<Registry, 'metrics' | 'getMetricsAsJSON'> & {
    readonly contentType: string;
  };
};

/** A new registry with every metric; a process has one, tests have one each. */
export function createMetrics({ processMetrics = false } = {}): Metrics {
  const registry = new Registry<typeof Registry.OPENMETRICS_CONTENT_TYPE>();
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  if (processMetrics) collectDefaultMetrics({ register: registry });
  const metrics = Object.entries(metricTable).map(([name, definition]) => [
    name,
    create(definition, registry as never),
  ]);
  return { ...Object.fromEntries(metrics), registry } as Metrics;
}

function create(definition: Definition<Kind, string>, registry: Registry): unknown {
  const { kind, name, help, buckets } = definition;
  const common = { name, help, labelNames: [...definition.labels], registers: [registry] };
  if (kind === 'gauge') return new Gauge(common);
  if (kind === 'counter') return new Counter(common);
  if (kind === 'histogram') return new Histogram({ ...common, buckets: [...buckets] });
  const histogram = new Histogram({ ...common, buckets: [...buckets], enableExemplars: true });
  return {
    observe: (labels: Readonly<Record<string, string>>, value: number) =>
      histogram.observe({ labels, value, exemplarLabels: exemplar() }),
  };
}

/** Reads a gauge's value whenever the metrics are scraped. */
export function readGauge(gauge: Gauge<never>, read: () => number): void {
  (gauge as { collect?: () => void }).collect = () => gauge.set(read());
}

/** The trace that is being recorded, if one is. */
function exemplar(): Record<string, string> {
  const span = trace.getSpan(context.active());
  if (span?.isRecording() !== true) return {};
  const { traceId, spanId } = span.spanContext();
  return { trace_id: traceId, span_id: spanId };
}
