import { DomainError, invalidArgument } from '../errors.ts';
import type { Manifest } from './manifest.ts';

/** Metrics that a promotion compares by default. */
export const standardGate: readonly string[] = ['clinical.microF1', 'language.bleu4'];

/** A metric may fall by this much: less is noise. */
const tolerance = 1e-3;

function metricOf({ evaluation }: Manifest, path: string): number | undefined {
  const [table = '', metric = '', ...rest] = path.split('.');
  if (metric === '' || rest.length > 0) {
    throw invalidArgument('GATE_INVALID', 'gate', `got ${path}, expected TABLE.METRIC`);
  }
  return evaluation[table]?.model.metrics[metric];
}

/**
 * Throws RELEASE_WORSE, with both values, where `next` is worse than `current`, which the channel
 * serves, in a metric of the gate (each TABLE.METRIC), or was not measured in it. Releases of another
 * variant or preset are compared as well: callers of the channel see the difference.
 */
export function checkGate(
  channel: string,
  current: Manifest,
  next: Manifest,
  gate: readonly string[],
): void {
  for (const path of gate) {
    const [before, after] = [metricOf(current, path), metricOf(next, path)];
    if (before === undefined || (after !== undefined && after >= before - tolerance)) continue;
    const message =
      `${path} of ${next.id} is ${after?.toFixed(4) ?? 'unknown'}, worse than ${before.toFixed(4)} ` +
      `of ${current.id}, which channel ${channel} serves; only a forced promotion would replace it`;
    throw new DomainError('FAILED_PRECONDITION', 'RELEASE_WORSE', message, {
      field: 'name',
      metadata: { metric: path, before: `${before}`, after: `${after ?? 'unknown'}` },
    });
  }
}
