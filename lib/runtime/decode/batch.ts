import { DomainError } from '../../errors.ts';
import type { Tensor } from '../../graph/types.ts';
import type { Backend, Kept, Session } from '../backend.ts';
import {
  type DecoderCaches,
  type Group,
  type Memory,
  type RowSource,
  createCaches,
  int64,
} from './cache.ts';
import type { CacheShape } from './graphs.ts';
import type { RowScores, Search } from './search.ts';

/** A row of the next step, and the token that the step reads. */
interface Row extends RowSource {
  readonly token: number;
}

/** One request in the running batch. */
export interface Member {
  readonly search: Search;
  readonly group: Group;
  /** Empty once the search is complete. */
  rows: readonly Row[];
}

/**
 * The running batch of continuous batching: members join and leave between steps, never during one, and
 * a step takes every row of every member one token further. Knows nothing of requests and queues.
 */
export class RunningBatch {
  readonly #decoder: Session;
  readonly #caches: DecoderCaches;
  #members: Member[] = [];

  constructor(decoder: Session, caches: DecoderCaches) {
    this.#decoder = decoder;
    this.#caches = caches;
  }

  get members(): readonly Member[] {
    return this.#members;
  }

  /** Names of the outputs that an encoder run must keep for `join`. */
  get crossNames(): readonly string[] {
    return this.#caches.crossNames;
  }

  async join(memory: Memory, search: Search, start: number): Promise<Member> {
    const group = await this.#caches.cross.join(memory);
    const member: Member = { search, group, rows: [{ from: -1, length: 0, token: start }] };
    this.#members.push(member);
    return member;
  }

  leave(member: Member): void {
    if (!this.#members.includes(member)) return;
    this.#members = this.#members.filter((other) => other !== member);
    this.#caches.cross.leave(member.group);
  }

  /** Takes every row one token further; a member without rows afterwards is complete. */
  async step(): Promise<void> {
    const members = this.#members;
    const rows = members.flatMap((member) => member.rows);
    const cross = await this.#caches.cross.arrange();
    const self = await this.#caches.self.arrange(rows);
    const { fetched, kept } = await this.#decoder.run({
      ids: int64(
        [rows.length],
        rows.map(({ token }) => token),
      ),
      lengths: int64(
        [rows.length],
        rows.map(({ length }) => length),
      ),
      ...this.#layout(members),
      ...self,
      ...cross,
    });
    this.#caches.self.advance(kept['nextRecent'] as Kept, rows.length);
    const scores = scoresOf(fetched);
    let first = 0;
    for (const member of members) {
      const own = scores.slice(first, first + member.rows.length);
      const before = member.rows;
      const at = first;
      first += before.length;
      member.rows = member.search.advance(own).map(({ parent, token }) => ({
        from: at + parent,
        length: (before[parent]?.length ?? 0) + 1,
        token,
      }));
    }
  }

  /** Drops all members, for instance because the worker that held their caches died. */
  clear(): void {
    this.#members = [];
    this.#caches.self.clear();
    this.#caches.cross.clear();
  }

  async dispose(): Promise<void> {
    this.clear();
    await this.#caches.dispose();
    await this.#decoder.dispose();
  }

  /** Which rows attend to the memory of each place, and where each row is among them. */
  #layout(members: readonly Member[]): Record<string, Tensor> {
    const width = Math.max(...members.map((member) => member.rows.length));
    const { places } = this.#caches.cross;
    const grid = Array.from({ length: places * width }, () => 0);
    const at: number[] = [];
    for (const { group, rows } of members) {
      for (let beam = 0; beam < rows.length; beam++) {
        const place = group.index * width + beam;
        grid[place] = at.length;
        at.push(place);
      }
    }
    return { members: int64([places, width], grid), places: int64([at.length], at) };
  }
}

function scoresOf(fetched: Readonly<Record<string, Tensor>>): RowScores[] {
  const logits = fetched['logits'] as Tensor<'float32'>;
  const normalizers = fetched['normalizers'] as Tensor<'float32'>;
  const size = logits.shape[1] ?? 0;
  return Array.from(normalizers.data, (normalizer, row) => {
    if (!Number.isFinite(normalizer)) {
      const message = 'the decoder gives NaN or infinite scores: its weights are damaged';
      throw new DomainError('INTERNAL', 'SCORES_NOT_FINITE', message);
    }
    return { logits: logits.data.subarray(row * size, (row + 1) * size), normalizer };
  });
}

/** Sizes of a decoder's caches, read from its inputs. */
function shapeOf(decoder: Session): CacheShape {
  const keys = decoder.inputs.filter(({ name }) => /^settled\.\d+\.key$/.test(name));
  const [, heads, , dKv] = keys[0]?.shape ?? [];
  if (typeof heads !== 'number' || typeof dKv !== 'number') {
    const message = 'the decoder graph has no settled.0.key [rows,heads,settled,dKv]';
    throw new DomainError('FAILED_PRECONDITION', 'DECODER_UNKNOWN', message, { field: 'decoder' });
  }
  return { layers: keys.length, heads, dKv };
}

/** Loads a decoder graph (lib/models/t5-step.ts) and the graphs that move its caches. */
export async function loadBatch(
  backend: Backend,
  model: string | Uint8Array,
  disablePrepacking: boolean,
): Promise<RunningBatch> {
  const decoder = await backend.load(model, { keep: ['nextRecent'], disablePrepacking });
  return new RunningBatch(decoder, await createCaches(backend, shapeOf(decoder)));
}
