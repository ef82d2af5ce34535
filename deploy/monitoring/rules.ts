import { burns, objectives } from './objectives.ts';

interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

interface Group {
  readonly name: string;
  readonly rules: readonly Rule[];
}

const models = 'job=~"vision|labeler|generator"';
const services = 'job=~"gateway|vision|labeler|generator"';
/** With fewer events a ratio says nothing: one failure at night does not page. */
const fewest = 20;

const percent = (share: number) => `${+(share * 100).toFixed(2)} %`;

function annotate(
  alert: string,
  summary: string,
  description: string,
): Readonly<Record<string, string>> {
  return { summary, description, runbook_url: `deploy/RUNBOOK.md#${alert.toLowerCase()}` };
}

const windows = [...new Set(burns.flatMap(({ short, long }) => [short, long]))];

const ratios: Rule[] = objectives.flatMap(({ name, total, failed }) =>
  windows.map((window) => ({
    record: `radscribe:${name}:ratio_rate${window}`,
    // `or 0 *`: no failure yet is a ratio of 0, where the failed series does not exist at all.
    expr: `((${failed(window)}) or 0 * (${total(window)})) / (${total(window)} > 0)`,
  })),
);

const budgets: Rule[] = objectives.map(({ name, target }) => ({
  record: `radscribe:${name}:budget_left`,
  expr: `1 - radscribe:${name}:ratio_rate3d / ${(1 - target).toFixed(4)}`,
}));

const burnAlerts: Rule[] = objectives.flatMap(({ name, alert, bad, target, total }) =>
  burns.map(({ long, short, factor, severity, spent }) => {
    const limit = +(factor * (1 - target)).toFixed(5);
    const seconds = { h: 3600, d: 86400 }[long.slice(-1)] ?? 60;
    const enough = `${total(long)} * ${Number.parseInt(long, 10) * seconds} >= ${fewest}`;
    return {
      alert,
      expr:
        `radscribe:${name}:ratio_rate${long} > ${limit}` +
        ` and radscribe:${name}:ratio_rate${short} > ${limit} and ${enough}`,
      for: severity === 'page' ? '2m' : '15m',
      labels: { severity, window: long },
      annotations: annotate(
        alert,
        `{{ $value | humanizePercentage }} of calls over ${long}: ${bad}`,
        `The objective allows ${percent(1 - target)}. This rate uses up ${spent}.`,
      ),
    };
  }),
);

const quantiles: Rule[] = [
  {
    record: 'radscribe:reports:rate5m',
    expr: objectives[0]?.total('5m') ?? '',
  },
  ...(['0.5', '0.95', '0.99'] as const).map((quantile) => ({
    record: `radscribe:report_duration_seconds:p${+quantile * 100}_rate5m`,
    expr: `histogram_quantile(${quantile}, sum by (namespace, le) (rate(rpc_server_call_duration_seconds_bucket{job="gateway",rpc_method=~"GenerateReport|StreamReport"}[5m])))`,
  })),
  {
    record: 'radscribe:first_token_seconds:p99_rate5m',
    expr: 'histogram_quantile(0.99, sum by (namespace, le) (rate(gen_ai_server_time_to_first_token_seconds_bucket{job="generator"}[5m])))',
  },
  {
    record: 'radscribe:stage_duration_seconds:p99_rate5m',
    expr: 'histogram_quantile(0.99, sum by (namespace, job, stage, le) (rate(radscribe_stage_duration_seconds_bucket[5m])))',
  },
];

const alert = (
  name: string,
  severity: 'page' | 'ticket',
  hold: string,
  expr: string,
  summary: string,
  description: string,
): Rule => ({
  alert: name,
  expr,
  for: hold,
  labels: { severity },
  annotations: annotate(name, summary, description),
});

const causes: Rule[] = [
  alert(
    'RadScribeStageDown',
    'page',
    '2m',
    `sum by (namespace, job) (up{${services}}) == 0`,
    'Prometheus reaches no replica of {{ $labels.job }}',
    'Every report needs this stage. All reports fail until a replica is back.',
  ),
  alert(
    'RadScribeReplicaDown',
    'ticket',
    '15m',
    `up{${services}} == 0`,
    'Prometheus does not reach a replica of {{ $labels.job }}: {{ $labels.instance }}',
    'Its metrics have been unreadable for 15 minutes. The other replicas carry its load.',
  ),
  alert(
    'RadScribeQueueSaturated',
    'page',
    '5m',
    'sum by (namespace, job) (rate(radscribe_rejected_total{reason="queue_full"}[5m])) > 0.01 * sum by (namespace, job) (rate(rpc_server_call_duration_seconds_count[5m]))',
    '{{ $labels.job }} rejects {{ $value | humanize }} calls per second',
    'Its queue is full, and callers receive RESOURCE_EXHAUSTED. Add replicas or reduce the load.',
  ),
  alert(
    'RadScribeQueueSlow',
    'ticket',
    '15m',
    'histogram_quantile(0.95, sum by (namespace, job, le) (rate(radscribe_stage_duration_seconds_bucket{stage="queue"}[5m]))) > 1',
    'Requests wait {{ $value | humanizeDuration }} in the queue of {{ $labels.job }}',
    'One request in twenty waits over a second before work on it begins.',
  ),
  alert(
    'RadScribeReleaseSkew',
    'page',
    '10m',
    `count by (namespace, channel) (count by (namespace, channel, release) (radscribe_release_info{${models},channel!=""})) > 1`,
    'The stages hold {{ $value }} releases on channel {{ $labels.channel }}',
    'A request needs the same release in every stage. Some replica has not loaded the new release for 10 minutes.',
  ),
  alert(
    'RadScribeReleaseLoadFailed',
    'ticket',
    '0m',
    `increase(radscribe_release_load_failures_total{${services}}[15m]) > 0`,
    '{{ $labels.job }} ({{ $labels.instance }}) cannot load a release',
    'It continues to serve the release that it has. The new one is damaged, unreachable, or too large.',
  ),
  alert(
    'RadScribeMemoryGrowth',
    'ticket',
    '1h',
    `min_over_time(process_resident_memory_bytes{${services}}[1h]) - min_over_time(process_resident_memory_bytes{${services}}[1h] offset 6h) > 300e6`,
    '{{ $labels.job }} ({{ $labels.instance }}) grew by {{ $value | humanize1024 }}B in six hours',
    'Its lowest memory use has risen, so it is not a cache. At its memory limit the kernel will kill it.',
  ),
  alert(
    'RadScribeTrainingStuck',
    'ticket',
    '15m',
    'changes(radscribe_training_step[30m]) == 0 and radscribe_training_eta_seconds > 0',
    'A training run makes no progress: {{ $labels.instance }}',
    'It reports remaining work, and has made no step for 30 minutes.',
  ),
];

export const groups: readonly Group[] = [
  { name: 'radscribe.objectives', rules: [...ratios, ...budgets] },
  { name: 'radscribe.quantiles', rules: quantiles },
  { name: 'radscribe.burn', rules: burnAlerts },
  { name: 'radscribe.causes', rules: causes },
];
