import type { ReleaseUse } from '../../lib/rpc/release-methods.ts';
import type { Catalogue } from './catalogue.ts';

/** The channels, the share of its variant's traffic and the state of a release at this gateway. */
export function releaseUse(
  catalogue: Catalogue,
  { id, variant }: { readonly id: string; readonly variant: string },
): ReleaseUse {
  const targets = catalogue.targets();
  const own = targets.filter(({ release }) => release === id);
  const ofVariant = targets.filter((route) => route.variant === variant);
  const weighted = ofVariant.reduce((sum, { weight = 0 }) => sum + weight, 0);
  // The first channel without a weight has the traffic that the weighted ones leave: see chooseRoute.
  const first = ofVariant.find(({ weight }) => weight === undefined);
  const shares = own.map((route) =>
    route === first ? Math.max(0, 1 - weighted) : (route.weight ?? 0),
  );
  return {
    state: stateOf(catalogue, id, own.length > 0),
    channels: own.map(({ channel }) => channel),
    trafficShare: shares.reduce((sum, share) => sum + share, 0),
  };
}

function stateOf(catalogue: Catalogue, id: string, isTarget: boolean): ReleaseUse['state'] {
  const answers = catalogue.routes().some(({ release }) => release === id);
  if (answers && !catalogue.isRefused(id)) return 'RELEASE_STATE_SERVING';
  return isTarget ? 'RELEASE_STATE_LOADING' : 'RELEASE_STATE_STORED';
}
