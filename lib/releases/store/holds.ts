import { z } from 'zod';
import { DomainError } from '../../errors.ts';
import { type Objects, type Waiting, checkInstance, jsonBytes } from './objects.ts';

/** `holds/{instance}.json`: a running instance, and the releases that may therefore not be removed. */
const record = z.object({
  instance: z.string(),
  releases: z.array(z.string()),
  updatedAt: z.string(),
  expiresAt: z.iso.datetime(),
});
export type HoldRecord = Readonly<z.infer<typeof record>>;

/** `removals/{release}.json`: a collector is about to remove the release. */
export const removalKey = (release: string): string => `removals/${release}.json`;

/** A running instance's claim on releases, renewed until it is released. */
export interface Hold {
  /** Replaces the releases that are held. Throws as `hold` does, and then leaves the hold as it was. */
  update(releases: readonly string[]): Promise<void>;
  /** Stops renewing, and removes the hold. */
  release(): Promise<void>;
}

export interface HoldOptions extends Waiting {
  /** How long the hold outlives an instance that dies; renewed every third of it. Default 10 min. */
  readonly ttlMs?: number;
  /** Called with renewals that failed: the hold is valid until it expires. */
  readonly onError?: (error: unknown) => void;
}

const defaultTtlMs = 600_000;

/**
 * Holds releases for an instance. The hold is written first, then announced removals are read; a
 * collector announces a removal first, then reads the holds: in any order, at least one of the two finds
 * the other. Throws FAILED_PRECONDITION for a release that is being removed.
 */
export async function hold(
  objects: Objects,
  instance: string,
  releases: readonly string[],
  { ttlMs = defaultTtlMs, onError, signal }: HoldOptions = {},
): Promise<Hold> {
  const key = `holds/${checkInstance(instance)}.json`;
  let held: readonly string[] = [];
  let ended = false;
  const write = (all: readonly string[], waiting: Waiting = {}): Promise<void> => {
    const now = Date.now();
    const made: HoldRecord = {
      instance,
      releases: [...new Set(all)],
      updatedAt: new Date(now).toISOString(),
      expiresAt: new Date(now + ttlMs).toISOString(),
    };
    return objects.write(key, jsonBytes(made), waiting);
  };
  let turn: Promise<unknown> = Promise.resolve();
  /** One write at a time, so that an older one never lands last. */
  const inTurn = (work: () => Promise<void>): Promise<void> => {
    const mine = turn.then(work);
    turn = mine.catch(() => {});
    return mine;
  };
  const update = (wanted: readonly string[], waiting: Waiting = {}): Promise<void> =>
    inTurn(async () => {
      if (ended) return;
      await write(wanted, waiting);
      try {
        for (const id of wanted) {
          if (!held.includes(id)) await refuseRemoved(objects, id, waiting);
        }
      } catch (error) {
        await write(held);
        throw error;
      }
      held = wanted;
    });
  const timer = setInterval(
    () => {
      inTurn(async () => (ended ? undefined : write(held))).catch((error: unknown) => {
        onError?.(error);
      });
    },
    Math.max(10, ttlMs / 3),
  ).unref();
  const release = (): Promise<void> => {
    clearInterval(timer);
    return inTurn(async () => {
      if (!ended) await objects.remove(key);
      ended = true;
    });
  };
  try {
    await update(releases, { signal });
  } catch (error) {
    await release().catch(() => {});
    throw error;
  }
  return { update, release };
}

async function refuseRemoved(objects: Objects, id: string, waiting: Waiting): Promise<void> {
  if ((await objects.read(removalKey(id), waiting)) === undefined) return;
  const message = `release ${id} is being removed by a garbage collection; try again, or publish it again after the collection`;
  throw new DomainError('FAILED_PRECONDITION', 'RELEASE_BEING_REMOVED', message, {
    field: 'release',
  });
}

/** Every hold; an `unreadable` one is damaged or of a later version, and may hold any release. */
export async function readHolds(
  objects: Objects,
  waiting: Waiting = {},
): Promise<{ readonly holds: readonly HoldRecord[]; readonly unreadable: readonly string[] }> {
  const holds: HoldRecord[] = [];
  const unreadable: string[] = [];
  for await (const { key } of objects.list('holds/', waiting)) {
    const bytes = await objects.read(key, waiting);
    if (!bytes) continue;
    const parsed = record.safeParse(parse(bytes));
    if (parsed.success) holds.push(parsed.data);
    else unreadable.push(key);
  }
  return { holds, unreadable };
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}
