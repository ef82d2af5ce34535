import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { DomainError, invalidArgument } from '../../errors.ts';
import { type Objects, type Waiting, checkName, jsonBytes, readJson } from './objects.ts';

/**
 * A channel is a series of immutable objects `channels/{name}/{generation}.json`; the highest generation
 * is its state. Moving it creates the next one, which succeeds for one writer only: that is the
 * compare-and-set, and the objects are the history.
 */
const record = z.object({
  generation: z.int().min(1),
  /** Null: the channel was closed. */
  release: z.string().nullable(),
  /** Share of its variant's requests, 0 to 1; absent: what the weighted channels leave. */
  weight: z.number().min(0).max(1).optional(),
  /** The release that a rollback moves to. */
  previous: z.string().nullable(),
  /** Generation of that release, from which another rollback continues. */
  back: z.int().min(1).nullable(),
  change: z.enum(['promote', 'rollback', 'close']),
  updatedAt: z.string(),
  /** Who moved it, as the caller stated. */
  by: z.string().optional(),
  /** Makes the bytes of two writers differ. */
  nonce: z.string(),
});
type ChannelRecord = Readonly<z.infer<typeof record>>;

/** A state of a channel, present or past. */
export interface ChannelState extends Omit<ChannelRecord, 'nonce' | 'back' | 'release'> {
  readonly channel: string;
  readonly release: string;
}

/** A state of the history; `release` is null where the channel was closed. */
export type ChannelChange = Omit<ChannelState, 'release'> & { readonly release: string | null };

export interface MoveOptions extends Waiting {
  /** Move only if the channel is still at this generation (0: does not exist, or is closed). */
  readonly expectedGeneration?: number | undefined;
  readonly by?: string | undefined;
}

const folderOf = (channel: string): string => `channels/${channel}/`;
const keyOf = (channel: string, generation: number): string =>
  `${folderOf(channel)}${String(generation).padStart(10, '0')}.json`;

/** Pruning keeps this many, however old. */
const keptGenerations = 200;
/** Pruning keeps generations this young, however many: a suspended writer must find its generation taken. */
const keptMs = 7 * 24 * 3600 * 1000;

export class Channels {
  readonly #objects: Objects;
  /** The highest generation read so far, so that a poll lists only later ones. */
  readonly #latest = new Map<string, ChannelRecord>();

  constructor(objects: Objects) {
    this.#objects = objects;
  }

  names(waiting: Waiting = {}): Promise<string[]> {
    return Array.fromAsync(this.#objects.folders('channels/', waiting));
  }

  /** Undefined for a channel that does not exist, or was closed. */
  async find(channel: string, waiting: Waiting = {}): Promise<ChannelState | undefined> {
    const latest = await this.#read(channel, waiting);
    return latest && stateOf(channel, latest);
  }

  /** Throws NOT_FOUND, naming the channels that there are. */
  async get(channel: string, waiting: Waiting = {}): Promise<ChannelState> {
    const found = await this.find(channel, waiting);
    if (found) return found;
    const names = await this.names(waiting);
    const known = names.length > 0 ? `there are ${names.join(', ')}` : 'the store has no channel';
    const message = `channel ${channel} does not exist; ${known}`;
    throw new DomainError('NOT_FOUND', 'CHANNEL_NOT_FOUND', message, { field: 'channel' });
  }

  /** Newest first. */
  async history(channel: string, waiting: Waiting = {}): Promise<ChannelChange[]> {
    checkName(channel, 'channel');
    const changes: ChannelChange[] = [];
    for await (const { key } of this.#objects.list(folderOf(channel), waiting)) {
      const found = await this.#parse(key, waiting);
      if (found) changes.push(changeOf(channel, found));
    }
    return changes.reverse();
  }

  /** Points a channel at any release. Only `ReleaseStore.promote` calls it, behind its gate. */
  async move(
    channel: string,
    release: string,
    { weight, ...options }: MoveOptions & { readonly weight?: number | undefined } = {},
  ): Promise<ChannelState> {
    if (weight !== undefined && !(weight >= 0 && weight <= 1)) {
      throw invalidArgument('CHANNEL_WEIGHT', 'weight', `got ${weight}, expected 0 to 1`);
    }
    const made = await this.#move(channel, options, (now) => {
      // Only the weight changes: a rollback still leads to the release before.
      const same = now?.release === release;
      const closed = now?.release === null;
      const back = same || closed ? now.back : (now?.generation ?? null);
      const previous = same || closed ? now.previous : (now?.release ?? null);
      return {
        change: 'promote',
        release,
        previous,
        back,
        ...(weight !== undefined && { weight }),
      };
    });
    return { ...changeOf(channel, made), release };
  }

  /**
   * Moves back to the previous release and its weight; a closed channel opens with its last one. Throws
   * FAILED_PRECONDITION where there is none.
   */
  async rollback(channel: string, options: MoveOptions = {}): Promise<ChannelState> {
    const now = await this.#read(channel, options);
    if (!now) return this.get(channel, options);
    const target =
      now.back === null ? undefined : await this.#parse(keyOf(channel, now.back), options);
    if (!target?.release) {
      const message = `channel ${channel} has no release before ${now.release} to go back to`;
      throw new DomainError('FAILED_PRECONDITION', 'CHANNEL_AT_FIRST', message, {
        field: 'channel',
      });
    }
    const { release, previous, back, weight } = target;
    const expectedGeneration = options.expectedGeneration ?? now.generation;
    const made = await this.#move(channel, { ...options, expectedGeneration }, () => {
      return {
        change: 'rollback',
        release,
        previous,
        back,
        ...(weight !== undefined && { weight }),
      };
    });
    return { ...changeOf(channel, made), release };
  }

  /** Makes the channel point to nothing; its history stays, and a rollback opens it again. */
  async close(channel: string, options: MoveOptions = {}): Promise<void> {
    const { generation, release } = await this.get(channel, options);
    const expectedGeneration = options.expectedGeneration ?? generation;
    await this.#move(channel, { ...options, expectedGeneration }, () => {
      return { change: 'close', release: null, previous: release, back: generation };
    });
  }

  /** Removes old history, and returns how many generations it removed. */
  async prune(channel: string, nowMs: number, waiting: Waiting = {}): Promise<number> {
    const all = await Array.fromAsync(this.#objects.list(folderOf(channel), waiting));
    const old = all
      .slice(0, Math.max(0, all.length - keptGenerations))
      .filter(({ modifiedMs }) => nowMs - modifiedMs > keptMs);
    for (const { key } of old) await this.#objects.remove(key, waiting);
    return old.length;
  }

  async #move(
    channel: string,
    { expectedGeneration, by, signal }: MoveOptions,
    next: (
      now: ChannelRecord | undefined,
    ) => Pick<ChannelRecord, 'change' | 'release' | 'previous' | 'back' | 'weight'>,
  ): Promise<ChannelRecord> {
    const now = await this.#read(channel, { signal });
    const current = now?.generation ?? 0;
    const isClosed = expectedGeneration === 0 && now?.release === null;
    if (expectedGeneration !== undefined && expectedGeneration !== current && !isClosed) {
      throw moved(channel, expectedGeneration, current);
    }
    const made: ChannelRecord = {
      generation: current + 1,
      ...next(now),
      updatedAt: new Date().toISOString(),
      ...(by !== undefined && { by: by.slice(0, 200) }),
      nonce: randomUUID(),
    };
    const key = keyOf(channel, made.generation);
    if (!(await this.#objects.create(key, jsonBytes(made), { signal }))) {
      throw moved(channel, current, current + 1);
    }
    this.#latest.set(channel, made);
    return made;
  }

  async #read(channel: string, waiting: Waiting): Promise<ChannelRecord | undefined> {
    checkName(channel, 'channel');
    const known = this.#latest.get(channel);
    const after = known && keyOf(channel, known.generation);
    let newest: string | undefined;
    const options = { ...waiting, ...(after !== undefined && { after }) };
    for await (const { key } of this.#objects.list(folderOf(channel), options)) newest = key;
    if (newest === undefined) return known;
    const found = await this.#parse(newest, waiting);
    if (found) this.#latest.set(channel, found);
    return found ?? known;
  }

  async #parse(key: string, waiting: Waiting): Promise<ChannelRecord | undefined> {
    const bytes = await this.#objects.read(key, waiting);
    if (!bytes) return undefined;
    const parsed = record.safeParse(readJson(bytes, key, this.#objects.url));
    if (parsed.success) return parsed.data;
    const message = `store ${this.#objects.url}: ${key} is damaged: ${parsed.error.issues[0]?.message}`;
    throw new DomainError('DATA_LOSS', 'STORE_CORRUPT', message, { field: key });
  }
}

function changeOf(channel: string, made: ChannelRecord): ChannelChange {
  const { generation, release, weight, previous, change, updatedAt, by } = made;
  return {
    channel,
    generation,
    release,
    ...(weight !== undefined && { weight }),
    previous,
    change,
    updatedAt,
    ...(by !== undefined && { by }),
  };
}

function stateOf(channel: string, latest: ChannelRecord): ChannelState | undefined {
  const { release } = latest;
  return release === null ? undefined : { ...changeOf(channel, latest), release };
}

function moved(channel: string, expected: number, current: number): DomainError {
  const message = `channel ${channel} was moved by another: expected generation ${expected}, it is at ${current} or later; read it again and retry`;
  return new DomainError('FAILED_PRECONDITION', 'CHANNEL_MOVED', message, {
    field: 'expectedGeneration',
    metadata: { channel, expected: String(expected), current: String(current) },
  });
}
