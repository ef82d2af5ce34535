import { metricTable } from '../../lib/telemetry/metrics.ts';
import { code, table, written } from './markdown.ts';

/** docs/reference/metrics.md: every metric of lib/telemetry/metrics.ts. */
export function metricsPage(): string {
  const definitions = Object.values(metricTable).sort((a, b) => (a.name < b.name ? -1 : 1));
  const buckets = definitions.filter((definition) => definition.buckets.length > 0);
  return [
    written('lib/telemetry/metrics.ts'),
    '# Metrics',
    'Every service serves them at `/metrics`, in the OpenMetrics format, beside the process metrics of prom-client (`process_*`, `nodejs_*`). The label sets are closed: no label holds a patient, a file, an address or a request. Histograms marked † carry exemplars with trace ids.',
    table(
      ['metric', 'type', 'labels', 'meaning'],
      definitions.map(({ kind, name, help, labels }) => [
        code(name),
        kind === 'durations' ? 'histogram †' : kind,
        labels.map(code).join(', '),
        `${help}.`,
      ]),
    ),
    '## Buckets',
    'Upper bounds; every histogram also has `+Inf`.',
    table(
      ['metric', 'bounds'],
      buckets.map((definition) => [code(definition.name), definition.buckets.join(', ')]),
    ),
  ].join('\n\n');
}
