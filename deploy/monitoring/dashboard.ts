import {
  DashboardBuilder,
  QueryVariableBuilder,
  DatasourceVariableBuilder,
  RowBuilder,
  VariableRefresh,
  DashboardCursorSync,
} from '@grafana/grafana-foundation-sdk/dashboard';
import {
  LegendDisplayMode,
  LegendPlacement,
  TooltipDisplayMode,
  VisibilityMode,
} from '@grafana/grafana-foundation-sdk/common';
import {
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common';
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus';
import { PanelBuilder } from '@grafana/grafana-foundation-sdk/timeseries';
import { firstTokenSeconds, objectives, reportSeconds } from './objectives.ts';

export interface Panel {
  readonly title: string;
  readonly description: string;
  /** Grafana's name: `s`, `percentunit`, `bytes`, `reqps`, `short`. */
  readonly unit: string;
  /** Legend and PromQL. */
  readonly queries: readonly (readonly [legend: string, expr: string])[];
  readonly max?: number;
  /** What must be on for the queries to return anything, beside the chain and some load. */
  readonly needs?: 'training' | 'shadow' | 'failure';
}

/** `$namespace` is empty outside Kubernetes, where `.*` still takes the series. */
const here = 'namespace=~"$namespace"';
const reports = `${here},job="gateway",rpc_method=~"GenerateReport|StreamReport"`;
const quantile = (q: number, by: string, metric: string, labels: string) =>
  `histogram_quantile(${q}, sum by (${by}, le) (rate(${metric}_bucket{${labels}}[$__rate_interval])))`;
const rate = (by: string, metric: string, labels = here) =>
  `sum by (${by}) (rate(${metric}{${labels}}[$__rate_interval]))`;

const objectivePanels: Panel[] = [
  {
    title: 'Reports',
    description: 'Calls that the gateway answered, by status.',
    unit: 'reqps',
    queries: [
      [
        '{{rpc_grpc_status_code}}',
        rate('rpc_grpc_status_code', 'rpc_server_call_duration_seconds_count', reports),
      ],
    ],
  },
  {
    title: 'Time to a report',
    description: `From the start of a call to its end, at the gateway. The objective: 99 % within ${reportSeconds} s. Dots are traces.`,
    unit: 's',
    queries: [0.5, 0.95, 0.99].map((q) => [
      `p${q * 100}`,
      quantile(q, 'namespace', 'rpc_server_call_duration_seconds', reports),
    ]),
  },
  {
    title: 'Time to the first token',
    description: `From the generator's admission to the first token. The objective: 99 % within ${firstTokenSeconds} s.`,
    unit: 's',
    queries: [0.5, 0.99].map((q) => [
      `p${q * 100}`,
      quantile(
        q,
        'namespace',
        'gen_ai_server_time_to_first_token_seconds',
        `${here},job="generator"`,
      ),
    ]),
  },
  {
    title: 'Error budget left',
    description: 'Of each objective, over the last three days. Below 0 the objective is missed.',
    unit: 'percentunit',
    max: 1,
    queries: objectives.map(({ name, bad }) => [bad, `radscribe:${name}:budget_left{${here}}`]),
  },
];

const stages: Panel[] = [
  {
    title: 'p99 of each stage',
    description: 'Where the time goes: waiting, decoding the image, the model itself.',
    unit: 's',
    queries: [['{{job}} {{stage}}', `radscribe:stage_duration_seconds:p99_rate5m{${here}}`]],
  },
  {
    title: 'Waiting',
    description:
      'Requests in the queues. The autoscaler scales on their number plus those running.',
    unit: 'short',
    queries: [['{{job}}', `sum by (job) (radscribe_queue_depth{${here}})`]],
  },
  {
    title: 'Running',
    description: 'Requests that are being processed.',
    unit: 'short',
    queries: [['{{job}}', `sum by (job) (radscribe_in_flight{${here}})`]],
  },
  {
    title: 'Batch size',
    description: 'Mean number of requests in one run of a model.',
    unit: 'short',
    queries: [
      [
        '{{job}}',
        `${rate('job', 'radscribe_batch_size_sum')} / ${rate('job', 'radscribe_batch_size_count')}`,
      ],
    ],
  },
  {
    title: 'Bytes admitted',
    description: 'Images and features of the admitted requests; queues are limited by bytes too.',
    unit: 'bytes',
    queries: [['{{job}}', `sum by (job) (radscribe_queue_bytes{${here}})`]],
  },
  {
    title: 'Rejected',
    description: 'Calls rejected before any work, by reason.',
    unit: 'reqps',
    needs: 'failure',
    queries: [['{{job}} {{reason}}', rate('job, reason', 'radscribe_rejected_total')]],
  },
  {
    title: 'Calls between services',
    description: 'p99 of each stage as the gateway measures it, with the network and the queue.',
    unit: 's',
    queries: [
      [
        '{{rpc_service}}/{{rpc_method}}',
        quantile(
          0.99,
          'rpc_service, rpc_method',
          'rpc_client_call_duration_seconds',
          `${here},job="gateway"`,
        ),
      ],
    ],
  },
];

const generation: Panel[] = [
  {
    title: 'Tokens',
    description: 'Tokens that the generator reads and writes.',
    unit: 'short',
    queries: [['{{kind}}', rate('kind', 'radscribe_tokens_total')]],
  },
  {
    title: 'Time per token',
    description: 'Between two tokens of one report, after the first.',
    unit: 's',
    queries: [0.5, 0.99].map((q) => [
      `p${q * 100}`,
      quantile(
        q,
        'namespace',
        'gen_ai_server_time_per_output_token_seconds',
        `${here},job="generator"`,
      ),
    ]),
  },
  {
    title: 'Decoding steps',
    description: 'Runs of the decoder; each adds one token to every report of the batch.',
    unit: 'short',
    queries: [['steps', rate('namespace', 'radscribe_decode_steps_total')]],
  },
];

const releases: Panel[] = [
  {
    title: 'Releases held',
    description:
      'Replicas that hold each release. More than one release per channel is a switch or a skew.',
    unit: 'short',
    queries: [
      [
        '{{job}} {{channel}} {{release}}',
        `count by (job, channel, release) (radscribe_release_info{${here}})`,
      ],
    ],
  },
  {
    title: 'Failed loads',
    description: 'A service that cannot load a release continues with the one that it has.',
    unit: 'short',
    needs: 'failure',
    queries: [
      ['{{job}}', `sum by (job) (increase(radscribe_release_load_failures_total{${here}}[1h]))`],
    ],
  },
  {
    title: 'Shadow comparisons',
    description: 'Results of the shadow release compared with the answers that callers got.',
    unit: 'reqps',
    needs: 'shadow',
    queries: [['{{result}}', rate('result', 'radscribe_shadow_comparisons_total')]],
  },
];

const resources: Panel[] = [
  {
    title: 'Memory',
    description: 'Resident memory of each replica. It must not grow from day to day.',
    unit: 'bytes',
    queries: [['{{job}} {{instance}}', `process_resident_memory_bytes{${here}}`]],
  },
  {
    title: 'CPU',
    description: 'Cores in use.',
    unit: 'short',
    queries: [['{{job}}', rate('job', 'process_cpu_seconds_total')]],
  },
  {
    title: 'Event loop',
    description:
      'p99 of the event loop delay. It rises when work that belongs in a worker runs on the main thread.',
    unit: 's',
    queries: [['{{job}}', `max by (job) (nodejs_eventloop_lag_p99_seconds{${here}})`]],
  },
];

const trainingGauge = (
  title: string,
  metric: string,
  unit: string,
  description: string,
): Panel => ({
  title,
  description,
  unit,
  needs: 'training',
  queries: [['{{run_stage}} {{instance}}', `radscribe_training_${metric}{${here}}`]],
});

const training: Panel[] = [
  trainingGauge('Loss', 'loss', 'short', 'Mean of the last steps.'),
  trainingGauge('Learning rate', 'learning_rate', 'short', 'Set by the schedule.'),
  trainingGauge('Gradient norm', 'gradient_norm', 'short', 'Before clipping.'),
  trainingGauge('Loss scale', 'loss_scale', 'short', 'Falls when float16 overflows.'),
  trainingGauge('Studies', 'studies_per_second', 'short', 'Trained per second.'),
  trainingGauge('Time left', 'eta_seconds', 's', 'Of the stage, estimated by the trainer.'),
];

/** Rows of the dashboard, top to bottom: first the objectives, then what may make them fail. */
export const rows: Readonly<Record<string, readonly Panel[]>> = {
  Objectives: objectivePanels,
  Stages: stages,
  Generation: generation,
  Releases: releases,
  Resources: resources,
  Training: training,
};

const datasource = { type: 'prometheus', uid: '${datasource}' };

/** The JSON that Grafana imports. */
export function dashboard(): unknown {
  const builder = new DashboardBuilder('RadScribe')
    .uid('radscribe')
    .description('The chain from image to report: objectives, stages, releases, training.')
    .tags(['radscribe'])
    .time({ from: 'now-6h', to: 'now' })
    .refresh('30s')
    .timezone('browser')
    .tooltip(DashboardCursorSync.Crosshair)
    .withVariable(
      new DatasourceVariableBuilder('datasource').label('Prometheus').type('prometheus'),
    )
    .withVariable(
      new QueryVariableBuilder('namespace')
        .label('Namespace')
        .datasource(datasource)
        .query('label_values(up{job="gateway"}, namespace)')
        .refresh(VariableRefresh.OnTimeRangeChanged)
        .includeAll(true)
        .allValue('.*'),
    );
  let id = 0;
  for (const [title, panels] of Object.entries(rows)) {
    builder.withRow(new RowBuilder(title).id((id += 1)));
    for (const panel of panels) builder.withPanel(panelOf(panel).id((id += 1)));
  }
  return builder.build();
}

function panelOf({ title, description, unit, queries, max }: Panel): PanelBuilder {
  const panel = new PanelBuilder()
    .title(title)
    .description(description)
    .unit(unit)
    .min(0)
    .datasource(datasource)
    .height(8)
    .span(8)
    .showPoints(VisibilityMode.Never)
    .fillOpacity(8)
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi))
    .legend(
      new VizLegendOptionsBuilder()
        .displayMode(LegendDisplayMode.List)
        .placement(LegendPlacement.Bottom)
        .showLegend(true),
    );
  if (max !== undefined) panel.max(max);
  queries.forEach(([legend, expr], index) => {
    const query = new DataqueryBuilder()
      .refId(String.fromCodePoint(65 + index))
      .expr(expr)
      .legendFormat(legend)
      .range();
    if (expr.includes('_bucket')) query.exemplar(true);
    panel.withTarget(query);
  });
  return panel;
}
