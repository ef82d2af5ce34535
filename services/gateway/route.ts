import { createHash } from 'node:crypto';
import { DomainError, invalidArgument } from '../../lib/errors.ts';

/** A channel that this gateway serves, and the release it points to. */
export interface Route {
  readonly channel: string;
  readonly release: string;
  readonly variant: string;
  /** The share of its variant's traffic, 0 to 1; undefined: the remaining traffic. */
  readonly weight?: number | undefined;
}

/** What selects the release of a request; at most one of them. */
export interface ReleaseSelector {
  readonly release?: string | undefined;
  readonly channel?: string | undefined;
  readonly variant?: string | undefined;
}

/**
 * The release that answers a request.
 *
 * A release or a channel is used as given. A variant (default: that of the first channel) selects the
 * first channel of that variant without a weight, except for the shares of the channels with one. `key`
 * decides to which share a request belongs: the same key selects the same release.
 *
 * @throws {DomainError} INVALID_ARGUMENT for what is not served here, naming what is;
 *   UNAVAILABLE if nothing is.
 */
export function chooseRoute(
  routes: readonly Route[],
  selector: ReleaseSelector,
  key: string,
): Route {
  const [first] = routes;
  if (first === undefined) {
    const message = 'no release is served: the channels of the store are empty or not loaded yet';
    throw new DomainError('UNAVAILABLE', 'NO_RELEASE', message);
  }
  const named = (['release', 'channel'] as const).find((field) => selector[field] !== undefined);
  if (named !== undefined) {
    const found = routes.find((route) => route[named] === selector[named]);
    return found ?? notServed(routes, named, selector);
  }
  const variant = selector.variant ?? first.variant;
  const same = routes.filter((route) => route.variant === variant);
  if (same.length === 0) notServed(routes, 'variant', selector);
  let below = 0;
  const position = fraction(key);
  for (const route of same) {
    if (route.weight === undefined) continue;
    below += route.weight;
    if (position < below) return route;
  }
  return same.find(({ weight }) => weight === undefined) ?? same[0]!;
}

/** A number from 0 to 1, evenly distributed over keys, the same for the same key. */
export const fraction = (key: string): number =>
  createHash('sha256').update(key).digest().readUIntBE(0, 6) / 2 ** 48;

function notServed(
  routes: readonly Route[],
  field: keyof ReleaseSelector,
  selector: ReleaseSelector,
): never {
  const served = [...new Set(routes.map((route) => route[field]))].join(', ');
  const message = `${JSON.stringify(selector[field])} is not served here; served: ${served}`;
  throw invalidArgument(`${field.toUpperCase()}_UNKNOWN`, field, message);
}
