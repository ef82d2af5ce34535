import { o } from '../../graph/build.ts';
import { addDims } from '../../graph/dim.ts';
import { type Graph, type Value, constantOf, input, scalar } from '../../graph/value.ts';

/** The sizes that the caches of a decoder share. */
export interface CacheShape {
  readonly layers: number;
  readonly heads: number;
  readonly dKv: number;
}

/** `{part}.{layer}.key` and `{part}.{layer}.value` of each layer. */
export const cacheNames = (part: string, layers: number): readonly string[] =>
  Array.from({ length: layers }, (_, i) => [`${part}.${i}.key`, `${part}.${i}.value`]).flat();

const outputsOf = (names: readonly string[], values: readonly Value[]): Graph['outputs'] =>
  names.map((name, i) => ({ name, value: values[i] as Value }));

/** Keys of cross-attention are stored transposed, ready for MatMul; those of self-attention grow by slots. */
const slotAxis = (name: string): 2 | 3 => (/^cross\..*\.key$/.test(name) ? 3 : 2);

const leavesOf = (
  prefix: string,
  names: readonly string[],
  { heads, dKv }: CacheShape,
  rows: string,
  slots: string,
): readonly Value[] =>
  names.map((name) => {
    const shape = slotAxis(name) === 2 ? [rows, heads, slots, dKv] : [rows, heads, dKv, slots];
    return input(`${prefix}.${name}`, 'float32', shape);
  });

/** Every cache of `part`, `old.{name}`, picked by `index`: rows of it, or slots. */
export function pickGraph(part: string, shape: CacheShape, along: 'rows' | 'slots'): Graph {
  const names = cacheNames(part, shape.layers);
  const old = leavesOf('old', names, shape, 'rows', 'slots');
  const index = input('index', 'int64', ['picked']);
  const picked = old.map((value, i) =>
    o.Gather(value, index, along === 'rows' ? 0 : slotAxis(names[i] as string)),
  );
  return { inputs: [index, ...old], outputs: outputsOf(names, picked) };
}

/** For groups that join: rows `index` of `old.{name}` followed by `new.{name}`. */
export function joinGraph(part: string, shape: CacheShape): Graph {
  const names = cacheNames(part, shape.layers);
  const old = leavesOf('old', names, shape, 'rows', 'slots');
  const fresh = leavesOf('new', names, shape, 'newRows', 'slots');
  const index = input('index', 'int64', ['picked']);
  const joined = old.map((value, i) => o.Gather(o.Concat([value, fresh[i] as Value], 0), index));
  return { inputs: [index, ...old, ...fresh], outputs: outputsOf(names, joined) };
}

/**
 * Moves all but the last recent token to the settled cache; the last one stays in `tail`. With `moves`,
 * of the result only rows `index` and slots `slots` are kept, which costs two more copies of it; the
 * rows of `tail` stay where they are.
 */
export function settleGraph(shape: CacheShape, moves: boolean): Graph {
  const { layers, heads, dKv } = shape;
  const names = cacheNames('settled', layers);
  const old = leavesOf('old', names, shape, 'rows', 'settled');
  const recent = input('recent', 'float32', [2 * layers, 'rows', heads, 'recent', dKv]);
  const index = input('index', 'int64', ['picked']);
  const slots = input('slots', 'int64', ['kept']);
  const before = o.Sub(o.Gather(o.Shape(recent), scalar(3, 'int64')), 1);
  const sizes = o.Concat([o.Unsqueeze(before, [0]), constantOf([1], 'int64')], 0);
  const [moved, tail] = o.Split(recent, sizes, [addDims('recent', -1), 1], 3);
  const settled = old.map((value, i) => {
    const joined = o.Concat([value, o.Gather(moved, scalar(i, 'int64'))], 2);
    return moves ? o.Gather(o.Gather(joined, index), slots, 2) : joined;
  });
  return {
    inputs: [...(moves ? [index, slots] : []), recent, ...old],
    outputs: [...outputsOf(names, settled), { name: 'tail', value: tail }],
  };
}
