import { DomainError, invalidArgument } from '../errors.ts';
import type { Manifest } from './manifest.ts';
import type { ChannelState } from './store/channels.ts';
import type { ReleaseStore } from './store/store.ts';

export interface PromotionOptions {
  /** Metrics that may not fall, each TABLE.METRIC, e.g. `clinical.microF1`. */
  readonly gate: readonly string[];
  readonly force: boolean;
  readonly weight?: number | undefined;
  /** The channel must still be at this generation. */
  readonly expectedGeneration?: number | undefined;
  readonly by?: string | undefined;
}

/** What is compared where nobody says otherwise. */
export const standardGate = ['clinical.microF1', 'language.bleu4'];

/** Decimals that a metric is compared to: what is below is noise. */
const tolerance = 1e-3;

function metricOf({ evaluation }: Manifest, path: string): number | undefined {
  const [table = '', metric = '', ...rest] = path.split('.');
  if (metric === '' || rest.length > 0) {
    throw invalidArgument('GATE_INVALID', 'gate', `got ${path}, expected TABLE.METRIC`);
  }
  return evaluation[table]?.model.metrics[metric];
}

/**
 * Points a channel at a release, unless it is worse than what the channel points to. Releases of
 * another variant or preset are compared all the same: callers of the channel see the difference.
 * Every file is read first: a part that only one service could not load would leave the others without
 * a release in common. Throws RELEASE_WORSE with both values, RELEASE_NOT_FOUND, CHANNEL_MOVED, and
 * DATA_LOSS for a damaged file.
 */
export async function promoteRelease(
  store: ReleaseStore,
  channel: string,
  release: string,
  { gate, force, weight, expectedGeneration, by }: PromotionOptions,
): Promise<ChannelState> {
  const now = await store.channels.find(channel);
  if (!force && now && now.release !== release) {
    const [next, before] = [await store.manifest(release), await store.manifest(now.release)];
    for (const path of gate) {
      const [was, is] = [metricOf(before, path), metricOf(next, path)];
      if (was === undefined || (is !== undefined && is >= was - tolerance)) continue;
      const message =
        `${path} of ${release} is ${is?.toFixed(4) ?? 'unknown'}, that of ${now.release}, which ` +
        `${channel} points to, is ${was.toFixed(4)}; promote it by force to have it all the same`;
      throw new DomainError('FAILED_PRECONDITION', 'RELEASE_WORSE', message, {
        field: 'name',
        metadata: { metric: path, before: `${was}`, after: `${is ?? 'unknown'}` },
      });
    }
  }
  if (now?.release !== release) await store.open(release);
  // What was compared is what is replaced.
  const generation = expectedGeneration ?? (force ? undefined : (now?.generation ?? 0));
  return store.promote(channel, release, { weight, expectedGeneration: generation, by });
}
