import type { Graph } from '../../graph/value.ts';
import type { Tensor } from '../../graph/types.ts';
import { optimize } from '../../graph/passes.ts';
import { emitModel } from '../../onnx/emit.ts';
import { type Backend, type Kept, type Session, releaseAll } from '../backend.ts';
import { type CacheShape, cacheNames, joinGraph, pickGraph, settleGraph } from './graphs.ts';

type Caches = Readonly<Record<string, Kept>>;
type Feeds = Record<string, Tensor | Kept>;

/** Recent tokens before they are settled: copying a few at every step against copying all at times. */
const recentLimit = 16;

export const int64 = (shape: readonly number[], values: readonly number[]): Tensor<'int64'> => ({
  dtype: 'int64',
  shape,
  data: BigInt64Array.from(values, BigInt),
});

function float32(shape: readonly number[], data?: Float32Array): Tensor<'float32'> {
  const size = shape.reduce((product, dim) => product * dim, 1);
  return { dtype: 'float32', shape, data: data ?? new Float32Array(size) };
}

const counting = (length: number, from = 0): number[] => Array.from({ length }, (_, i) => from + i);

/** The loaded graphs that move rows: caches never leave the backend. */
interface Movers {
  readonly pickSettled: Session;
  readonly settle: Session;
  readonly settleMoved: Session;
  readonly pickCross: Session;
  readonly widenCross: Session;
  readonly join: Session;
}

interface Emitted {
  readonly model: Uint8Array;
  readonly keep: readonly string[];
}

/** By the shape of the caches: releases mostly share it, and making the graphs blocks requests. */
const emitted = new Map<string, Record<keyof Movers, Emitted>>();

function emitMovers(shape: CacheShape): Record<keyof Movers, Emitted> {
  const emit = (name: string, graph: Graph): Emitted => ({
    model: emitModel(optimize(graph), { name }),
    keep: graph.outputs.map((output) => output.name),
  });
  return {
    pickSettled: emit('pickSettled', pickGraph('settled', shape, 'rows')),
    settle: emit('settle', settleGraph(shape, false)),
    settleMoved: emit('settleMoved', settleGraph(shape, true)),
    pickCross: emit('pickCross', pickGraph('cross', shape, 'rows')),
    widenCross: emit('widenCross', pickGraph('cross', shape, 'slots')),
    join: emit('join', joinGraph('cross', shape)),
  };
}

async function loadMovers(backend: Backend, shape: CacheShape): Promise<Movers> {
  const key = JSON.stringify(shape);
  const models = emitted.get(key) ?? emitMovers(shape);
  emitted.set(key, models);
  const load = ({ model, keep }: Emitted): Promise<Session> => backend.load(model, { keep });
  const [pickSettled, settle, settleMoved, pickCross, widenCross, join] = await Promise.all([
    load(models.pickSettled),
    load(models.settle),
    load(models.settleMoved),
    load(models.pickCross),
    load(models.widenCross),
    load(models.join),
  ]);
  return { pickSettled, settle, settleMoved, pickCross, widenCross, join };
}

const prefixed = <T>(prefix: string, caches: Readonly<Record<string, T>>): Record<string, T> =>
  Object.fromEntries(Object.entries(caches).map(([name, value]) => [`${prefix}.${name}`, value]));

/** Releases kept values that are no longer read. A worker that died has dropped them already. */
function drop(values: readonly (Kept | undefined)[]): void {
  void releaseAll(values.filter((value) => value !== undefined)).catch(() => {});
}

/** A row of the next step: which row of the last one it continues, and how many tokens that holds. */
export interface RowSource {
  /** -1: none, the row is new. */
  readonly from: number;
  readonly length: number;
}

/**
 * The self-attention cache of the running batch, row by row; see t5-step.ts for its two parts. A row
 * that is new takes over the slots of any other: they lie beyond its length, which masks them.
 */
class SelfCache {
  readonly #shape: CacheShape;
  readonly #movers: Movers;
  /** Undefined until tokens are settled for the first time; one empty slot takes its place. */
  #settled: Caches | undefined;
  #settledSize = 1;
  #recent: Kept | undefined;
  #recentSize = 1;
  /** Rows that both parts hold. */
  #rows = 0;

  constructor(shape: CacheShape, movers: Movers) {
    this.#shape = shape;
    this.#movers = movers;
  }

  /** Rearranges the cache to these rows and returns the feeds of a step. */
  async arrange(sources: readonly RowSource[]): Promise<Feeds> {
    const count = sources.length;
    if (sources.every(({ from }) => from < 0)) this.clear();
    const index = sources.map(({ from }) => Math.max(from, 0));
    const rows = int64([count], index);
    const { layers, heads, dKv } = this.#shape;
    if (!this.#recent) {
      const recent = float32([2 * layers, 1, heads, 1, dKv]);
      return { ...this.#empty(count), recent, rows };
    }
    const moved = count !== this.#rows || index.some((row, i) => row !== i);
    if (this.#recentSize > recentLimit) await this.#settle(sources, rows, moved);
    else if (this.#settled && moved) await this.#pick(this.#settled, rows);
    const settled = this.#settled ?? this.#empty(count);
    // The step brings the rows of `recent` into their new order itself.
    return { ...settled, recent: this.#recent, rows };
  }

  /** Replaces the recent part by the one that a step kept. */
  advance(recent: Kept, rows: number): void {
    drop([this.#recent]);
    this.#recent = recent;
    this.#recentSize = recent.shape[3] ?? 1;
    this.#rows = rows;
  }

  clear(): void {
    drop([this.#recent, ...Object.values(this.#settled ?? {})]);
    this.#settled = undefined;
    this.#settledSize = 1;
    this.#recent = undefined;
    this.#recentSize = 1;
    this.#rows = 0;
  }

  #empty(rows: number): Record<string, Tensor> {
    const { layers, heads, dKv } = this.#shape;
    const slot = float32([rows, heads, 1, dKv]);
    return Object.fromEntries(cacheNames('settled', layers).map((name) => [name, slot]));
  }

  async #pick(settled: Caches, index: Tensor): Promise<void> {
    const { kept } = await this.#movers.pickSettled.run({ index, ...prefixed('old', settled) });
    this.#replace(kept);
  }

  async #settle(sources: readonly RowSource[], index: Tensor, moved: boolean): Promise<void> {
    const recent = this.#recent as Kept;
    const size = this.#settledSize + this.#recentSize - 1;
    // The last token of each row stays recent; slots beyond the longest row are dropped.
    const longest = Math.max(...sources.map(({ length }) => length)) - 1;
    const left = Math.min(Math.max(longest, 1), size);
    const settled: Feeds = this.#settled ?? this.#empty(this.#rows);
    const feeds = { recent, ...prefixed('old', settled) };
    const { settle, settleMoved } = this.#movers;
    // The slot that an empty cache begins with may stay: it is masked, and the next move takes it out.
    const { kept } =
      moved || size - left > recentLimit
        ? await settleMoved.run({
            ...feeds,
            index,
            slots: int64([left], counting(left, size - left)),
          })
        : await settle.run(feeds);
    const { tail, ...fresh } = kept;
    this.#replace(fresh);
    this.#settledSize = Object.values(fresh)[0]?.shape[2] ?? left;
    this.advance(tail as Kept, this.#rows);
  }

  #replace(settled: Caches): void {
    drop(Object.values(this.#settled ?? {}));
    this.#settled = settled;
  }
}

/** Keys and values of cross-attention of one request, as its encoder run left them. */
export interface Memory {
  readonly caches: Caches;
  /** The mask that cross-attention adds for padding, one number per slot. */
  readonly bias: Float32Array;
}

/** A request's place among the groups; -1 once it has left. */
export interface Group {
  index: number;
  readonly bias: Float32Array;
}

/**
 * Keys and values of cross-attention, once per request however many rows it has. The place of a request
 * that left stays until another joins or fewer than half are taken: moving costs as much as a step.
 */
class CrossCache {
  readonly #movers: Movers;
  #caches: Caches | undefined;
  #size = 0;
  #places: (Group | undefined)[] = [];

  constructor(movers: Movers) {
    this.#movers = movers;
  }

  /** Places, taken or not: the first dimension of a step's feeds. */
  get places(): number {
    return this.#places.length;
  }

  async join({ caches, bias }: Memory): Promise<Group> {
    const group: Group = { index: 0, bias };
    const taken = this.#taken();
    if (!this.#caches || taken.length === 0) {
      drop(Object.values(this.#caches ?? {}));
      this.#caches = caches;
      this.#size = bias.length;
      this.#places = [group];
      return group;
    }
    const size = Math.max(this.#size, bias.length);
    const old = await this.#widen(this.#caches, this.#size, size);
    this.#caches = old;
    this.#size = size;
    const fresh = await this.#widen(caches, bias.length, size);
    const index = [...taken.map((place) => place.index), this.#places.length];
    const { kept } = await this.#movers.join.run({
      index: int64([index.length], index),
      ...prefixed('old', old),
      ...prefixed('new', fresh),
    });
    drop(Object.values(fresh));
    this.#replace(kept, [...taken, group]);
    return group;
  }

  leave(group: Group): void {
    this.#places[group.index] = undefined;
    group.index = -1;
    if (this.#taken().length === 0) this.clear();
  }

  /** Before a step. `memoryBias` masks the padding of each place. */
  async arrange(): Promise<Feeds> {
    const taken = this.#taken();
    if (this.#caches && taken.length * 2 < this.#places.length) {
      const index = taken.map((group) => group.index);
      const feeds = { index: int64([index.length], index), ...prefixed('old', this.#caches) };
      this.#replace((await this.#movers.pickCross.run(feeds)).kept, taken);
    }
    const bias = new Float32Array(this.#places.length * this.#size);
    this.#places.forEach((group, i) => {
      const row = bias.subarray(i * this.#size, (i + 1) * this.#size);
      if (!group) return;
      row.set(group.bias);
      row.fill(masked, group.bias.length);
    });
    return { ...this.#caches, memoryBias: float32([this.#places.length, 1, 1, this.#size], bias) };
  }

  clear(): void {
    drop(Object.values(this.#caches ?? {}));
    this.#caches = undefined;
    this.#places = [];
  }

  #taken(): Group[] {
    return this.#places.filter((group) => group !== undefined);
  }

  /** Slots beyond its own repeat the first; the bias masks them. */
  async #widen(caches: Caches, from: number, to: number): Promise<Caches> {
    if (from === to) return caches;
    const slots = [...counting(from), ...counting(to - from).fill(0)];
    const feeds = { index: int64([to], slots), ...prefixed('old', caches) };
    const { kept } = await this.#movers.widenCross.run(feeds);
    drop(Object.values(caches));
    return kept;
  }

  #replace(caches: Caches, groups: Group[]): void {
    drop(Object.values(this.#caches ?? {}));
    this.#caches = caches;
    this.#places = groups;
    groups.forEach((group, index) => (group.index = index));
  }
}

/** As lib/models masks: softmax turns it into exactly 0, and float16 can hold it. */
const masked = -30000;

export interface DecoderCaches {
  readonly self: SelfCache;
  readonly cross: CrossCache;
  readonly crossNames: readonly string[];
  dispose(): Promise<void>;
}

export async function createCaches(backend: Backend, shape: CacheShape): Promise<DecoderCaches> {
  const movers = await loadMovers(backend, shape);
  return {
    self: new SelfCache(shape, movers),
    cross: new CrossCache(movers),
    crossNames: cacheNames('cross', shape.layers),
    async dispose() {
      await Promise.all(Object.values(movers).map((session) => (session as Session).dispose()));
    },
  };
}
