import { randomUUID } from 'node:crypto';
import { DomainError } from '../../errors.ts';
import { type Manifest, isReleaseId } from '../manifest.ts';
import { readHolds, removalKey } from './holds.ts';
import { type ObjectInfo, type Waiting, jsonBytes } from './objects.ts';
import { type ReleaseStore, releaseKey } from './store.ts';

export interface CollectOptions extends Waiting {
  /** Younger releases are kept. Default 24 h. */
  readonly minAgeMs?: number | undefined;
  /** So many of the newest of each variant are kept. Default 3. */
  readonly keepPerVariant?: number | undefined;
  /** The releases of so many states of each channel before its present one are kept. Default 10. */
  readonly keepHistory?: number | undefined;
  /** Only report what would be removed. */
  readonly dryRun?: boolean | undefined;
}

export interface Collected {
  /** Each with its size in the store. */
  readonly removed: readonly { readonly release: string; readonly bytes: number }[];
  /** The reason why each of the others stays. */
  readonly kept: readonly { readonly release: string; readonly why: string }[];
  /** Releases whose publication never finished. */
  readonly unfinished: readonly string[];
}

interface Found {
  readonly id: string;
  readonly objects: readonly ObjectInfo[];
  /** Absent: its publication or its removal did not finish. */
  readonly publishedMs: number | undefined;
}

/** An announcement of this age was left by a collector that died. */
const removalMs = 3_600_000;
/** The clocks of instances may differ from ours by this much. */
const skewMs = 300_000;
/** A publication of this age is taken for abandoned. */
const unfinishedMs = 24 * 3_600_000;

/**
 * Removes releases that nothing names: no channel, now or in its recent history, no tag, no running
 * instance, and that are neither young nor among the newest of their variant.
 *
 * A collector announces a removal before it reads channels, tags and holds once more; a process that
 * needs a release writes a hold before it reads the announcements. So either the collector finds the
 * hold and keeps the release, or the process finds the announcement and is refused, in any order.
 */
export async function collectGarbage(
  store: ReleaseStore,
  options: CollectOptions = {},
): Promise<Collected> {
  const { dryRun = false, minAgeMs = unfinishedMs, keepPerVariant = 3, keepHistory = 10 } = options;
  const { signal } = options;
  const nowMs = Date.now();
  const found = await readReleases(store, signal);
  const reasons = await namedReleases(store, keepHistory, signal);
  for (const id of await newest(store, found, keepPerVariant, signal)) {
    if (!reasons.has(id)) reasons.set(id, 'among the newest of its variant');
  }
  const removed: { release: string; bytes: number }[] = [];
  const kept: { release: string; why: string }[] = [];
  const unfinished: string[] = [];
  for (const release of found) {
    const { id, publishedMs, objects } = release;
    signal?.throwIfAborted();
    const since = publishedMs ?? Math.max(...objects.map(({ modifiedMs }) => modifiedMs));
    const young = nowMs - since < (publishedMs === undefined ? unfinishedMs : minAgeMs);
    const why = reasons.get(id) ?? (young ? 'published recently' : undefined);
    const stays = why ?? (dryRun ? undefined : await remove(store, release, keepHistory, signal));
    if (stays !== undefined) {
      if (publishedMs !== undefined) kept.push({ release: id, why: stays });
    } else if (publishedMs === undefined) unfinished.push(id);
    else removed.push({ release: id, bytes: objects.reduce((sum, { bytes }) => sum + bytes, 0) });
  }
  if (!dryRun) await tidy(store, nowMs, signal);
  return { removed, kept, unfinished };
}

async function readReleases(
  store: ReleaseStore,
  signal: AbortSignal | undefined,
): Promise<readonly Found[]> {
  const byId = new Map<string, ObjectInfo[]>();
  for await (const object of store.objects.list('releases/', { signal })) {
    const id = object.key.split('/')[1] ?? '';
    if (isReleaseId(id)) byId.set(id, [...(byId.get(id) ?? []), object]);
  }
  return byId
    .entries()
    .map(([id, objects]) => {
      const publishedMs = objects.find(({ key }) => key === releaseKey(id))?.modifiedMs;
      return { id, objects, publishedMs };
    })
    .toArray();
}

/** Every release that is in use, and by what. */
async function namedReleases(
  store: ReleaseStore,
  keepHistory: number,
  signal: AbortSignal | undefined,
): Promise<Map<string, string>> {
  const reasons = new Map<string, string>();
  const { holds, unreadable } = await readHolds(store.objects, { signal });
  if (unreadable.length > 0) {
    const message = `${unreadable.join(', ')} cannot be read, so it is unknown which releases are in use; remove it if its service no longer runs`;
    throw new DomainError('FAILED_PRECONDITION', 'HOLD_UNREADABLE', message, { field: 'store' });
  }
  for (const { instance, releases, expiresAt } of holds) {
    if (Date.parse(expiresAt) + skewMs < Date.now()) continue;
    for (const id of releases) reasons.set(id, `held by ${instance}`);
  }
  for (const [tag, id] of await store.tags({ signal })) reasons.set(id, `tag ${tag}`);
  for (const channel of await store.channels.names({ signal })) {
    const history = await store.channels.history(channel, { signal });
    const recent = history.slice(0, keepHistory + 1);
    for (const { release, previous } of recent.toReversed()) {
      if (previous !== null) reasons.set(previous, `history of channel ${channel}`);
      if (release !== null) reasons.set(release, `history of channel ${channel}`);
    }
    const now = history[0]?.release;
    if (now != null) reasons.set(now, `channel ${channel}`);
  }
  return reasons;
}

async function newest(
  store: ReleaseStore,
  found: readonly Found[],
  count: number,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const byVariant = new Map<Manifest['variant'], string[]>();
  const published = found
    .filter(({ publishedMs }) => publishedMs !== undefined)
    .sort((a, b) => (b.publishedMs ?? 0) - (a.publishedMs ?? 0));
  for (const { id } of published) {
    // A damaged release must not cause the removal of a good one.
    const manifest = await store.manifest(id, { signal }).catch((error: unknown) => {
      if (error instanceof DomainError && error.code !== 'UNAVAILABLE') return undefined;
      throw error;
    });
    if (!manifest) continue;
    const { variant } = manifest;
    byVariant.set(variant, [...(byVariant.get(variant) ?? []), id]);
  }
  return [...byVariant.values()].flatMap((ids) => ids.slice(0, count));
}

/** Removes a release, or returns the reason why it stays. */
async function remove(
  store: ReleaseStore,
  { id, objects }: Found,
  keepHistory: number,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const announcement = removalKey(id);
  const startMs = performance.now();
  if (!(await announce(store, announcement, signal))) return 'being removed by another collection';
  try {
    const why = (await namedReleases(store, keepHistory, signal)).get(id);
    if (why !== undefined) return why;
    // A collector that was suspended in between has read outdated state.
    if (performance.now() - startMs > removalMs / 4) return 'the collection took too long';
    // The manifest first: without it, there is no such release.
    await store.objects.remove(releaseKey(id), { signal });
    for (const { key } of objects) await store.objects.remove(key, { signal });
    return undefined;
  } finally {
    await store.objects.remove(announcement);
  }
}

async function announce(
  store: ReleaseStore,
  key: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const bytes = jsonBytes({ at: new Date().toISOString(), nonce: randomUUID() });
  if (await store.objects.create(key, bytes, { signal })) return true;
  const old = await store.objects.read(key, { signal });
  const at = /"at": "([^"]+)"/.exec(old?.toString() ?? '')?.[1] ?? '';
  if (!(Date.now() - Date.parse(at) > removalMs)) return false;
  await store.objects.remove(key, { signal });
  return store.objects.create(key, bytes, { signal });
}

/** Removes old history, holds of dead instances, and what dead collectors left. */
async function tidy(
  store: ReleaseStore,
  nowMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const channel of await store.channels.names({ signal })) {
    await store.channels.prune(channel, nowMs, { signal });
  }
  const { holds } = await readHolds(store.objects, { signal });
  for (const { instance, expiresAt } of holds) {
    // Long after it expired: a suspended instance may still resume and renew it.
    if (Date.parse(expiresAt) + unfinishedMs < nowMs) {
      await store.objects.remove(`holds/${instance}.json`, { signal });
    }
  }
  await store.objects.tidy?.(nowMs - unfinishedMs, { signal });
  for (const folder of ['probes/', 'locks/', 'removals/']) {
    for await (const { key, modifiedMs } of store.objects.list(folder, { signal })) {
      if (nowMs - modifiedMs > unfinishedMs) await store.objects.remove(key, { signal });
    }
  }
}
