import type { MetricRow } from '../../lib/releases/manifest.ts';
import type { ListedRelease } from '../../lib/releases/list.ts';
import type { ChannelChange } from '../../lib/releases/store/channels.ts';
import type { Collected } from '../../lib/releases/store/collect.ts';
import { printTable } from '../table.ts';

/** Bytes of all files of a release. */
export const sizeOf = (files: Readonly<Record<string, { readonly bytes: number }>>): number =>
  Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0);

export const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

export function describeList(
  releases: readonly ListedRelease[],
  damaged: readonly { readonly id: string; readonly message: string }[],
  url: string,
): string {
  if (releases.length + damaged.length === 0) return `${url} holds no releases\n`;
  const rows = releases.map(({ id, variant, preset, createdAt, bytes, channels, tags }) => {
    const names = [...channels, ...tags.map((tag) => `tag ${tag}`)].join(', ');
    return [id, variant, preset, createdAt.slice(0, 16), mebibytes(bytes), names];
  });
  const head = ['release', 'variant', 'preset', 'created', 'size', 'channels and tags'];
  return (
    printTable([head, ...rows]) + damaged.map(({ message }) => `damaged: ${message}\n`).join('')
  );
}

export function describeRows(rows: Readonly<Record<string, MetricRow>>): string {
  const names = [...new Set(Object.values(rows).flatMap(({ metrics }) => Object.keys(metrics)))];
  const cell = ({ metrics, intervals }: MetricRow, name: string): string => {
    const value = metrics[name]?.toFixed(3) ?? '-';
    const interval = intervals?.[name]?.map((bound) => bound.toFixed(3)).join('..');
    return interval === undefined ? value : `${value} (${interval})`;
  };
  const lines = names.map((name) =>
    [name].concat(Object.values(rows).map((row) => cell(row, name))),
  );
  return printTable([['metric', ...Object.keys(rows)], ...lines]);
}

export function describeHistory(changes: readonly ChannelChange[]): string {
  const rows = changes.map(({ generation, updatedAt, change, release, weight, by }) => [
    generation,
    updatedAt.slice(0, 19),
    change,
    release ?? '-',
    weight ?? '-',
    by ?? '-',
  ]);
  return printTable([['generation', 'time', 'change', 'release', 'weight', 'by'], ...rows]);
}

export function describeGc(
  { removed, kept, unfinished }: Collected,
  dryRun: boolean | undefined,
): string {
  const verb = dryRun ? 'would be removed' : 'removed';
  const bytes = removed.reduce((sum, release) => sum + release.bytes, 0);
  return [
    ...kept.map(({ release, why }) => `${release}  kept: ${why}`),
    ...removed.map((release) => `${release.release}  ${verb}: ${mebibytes(release.bytes)}`),
    ...unfinished.map((id) => `${id}  ${verb}: was never published completely`),
    `${removed.length + unfinished.length} ${verb} (${mebibytes(bytes)}), ${kept.length} kept`,
    '',
  ].join('\n');
}
