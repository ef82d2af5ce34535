import { createHash } from 'node:crypto';
import { DomainError, invalidArgument } from '../../lib/errors.ts';

/** A channel that this gateway serves, and the release it points to. */
export interface Route {
  readonly channel: string;
  readonly release: string;
  readonly variant: string;
  /** The share of its variant's traffic, 0 to 1; undefined takes what is left. */
  readonly weight?: number | undefined;
}

/** What a request asks for; at most one of them. */
export interface Wish {
  readonly release?: string | undefined;
  readonly channel?: string | undefined;
  readonly variant?: string | undefined;
}

/**
 * The release that answers a request.
 *
 * A release or a channel is taken at its word. A variant, or nothing (the variant of the first
 * channel), goes to the first channel of that variant, except for the shares of those channels that
 * have a weight. `key` decides in which share a request falls: the same key, the same release.
 *
 * @throws {DomainError} INVALID_ARGUMENT for what is not served here, naming what is;
 *   UNAVAILABLE where nothing is.
 */
export function chooseRoute(routes: readonly Route[], wish: Wish, key: string): Route {
  const [first] = routes;
  if (first === undefined) {
    const message = 'no release is served: the channels of the store are empty or not loaded yet';
    throw new DomainError('UNAVAILABLE', 'NO_RELEASE', message);
  }
  const named = (['release', 'channel'] as const).find((field) => wish[field] !== undefined);
  if (named !== undefined) {
    return routes.find((route) => route[named] === wish[named]) ?? unknown(routes, named, wish);
  }
  const variant = wish.variant ?? first.variant;
  const same = routes.filter((route) => route.variant === variant);
  if (same.length === 0) unknown(routes, 'variant', wish);
  let below = 0;
  const place = fraction(key);
  for (const route of same) {
    if (route.weight === undefined) continue;
    below += route.weight;
    if (place < below) return route;
  }
  return same.find(({ weight }) => weight === undefined) ?? same[0]!;
}

/** Evenly spread over 0 to 1, the same for the same key. */
export const fraction = (key: string): number =>
  createHash('sha256').update(key).digest().readUIntBE(0, 6) / 2 ** 48;

function unknown(routes: readonly Route[], field: keyof Wish, wish: Wish): never {
  const served = [...new Set(routes.map((route) => route[field]))].join(', ');
  const message = `${JSON.stringify(wish[field])} is not served here; served: ${served}`;
  throw invalidArgument(`${field.toUpperCase()}_UNKNOWN`, field, message);
}
