import {
  type Dim,
  type Shape,
  isStatic,
  multiplyDims,
  printShape,
  sameShape,
  sizeOf,
} from './dim.ts';
import { binary, unary } from './ops/elementwise.ts';
import type { Builder, Operand, Pads, Pair } from './ops/builder.ts';
import { reductions } from './ops/reduce.ts';
import { type AttributesOf, type OpName, rowOf } from './table.ts';
import type { Dtype } from './types.ts';
import {
  type Graph,
  type Node,
  type Type,
  type Value,
  GraphError,
  constant,
  constantOf,
  input,
  scalar,
} from './value.ts';

/** Makes a node and its output values; the operator's row checks its inputs. */
const apply = <K extends OpName>(
  op: K,
  inputs: readonly Value[],
  attributes: AttributesOf<K>,
): readonly Value[] => make(op, inputs, attributes);

/** The same operation on other inputs. */
export const reapply = (
  { op, attributes }: Pick<Node, 'op' | 'attributes'>,
  inputs: readonly Value[],
): readonly Value[] => make(op, inputs, attributes);

function make(op: string, inputs: readonly Value[], attributes: object): readonly Value[] {
  let types: readonly Type[];
  try {
    types = rowOf(op).infer(inputs, attributes);
  } catch (error) {
    if (!(error instanceof GraphError)) throw error;
    const operands = inputs.map(({ dtype, shape }) => `${dtype}${printShape(shape)}`).join(', ');
    throw new GraphError(`${op}(${operands}): ${error.message}`);
  }
  const outputs: Value[] = [];
  const node: Node = { op, inputs, attributes, outputs };
  types.forEach((type, index) => outputs.push({ ...type, source: { kind: 'node', node, index } }));
  return outputs;
}

function one<K extends OpName>(
  op: K,
  inputs: readonly Value[],
  attributes: AttributesOf<K>,
): Value {
  const [value] = apply(op, inputs, attributes);
  if (!value) throw new GraphError(`${op} has no output`);
  return value;
}

function two<K extends OpName>(
  op: K,
  inputs: readonly Value[],
  attributes: AttributesOf<K>,
): readonly [Value, Value] {
  const [first, second] = apply(op, inputs, attributes);
  if (!first || !second) throw new GraphError(`${op} has no second output`);
  return [first, second];
}

const operand = (value: Operand, dtype: Dtype): Value =>
  typeof value === 'number' ? scalar(value, dtype) : value;

const dtypeOf = (...values: readonly Operand[]): Dtype => {
  const known = values.find((value) => typeof value !== 'number');
  if (!known) throw new GraphError('two numbers need no node');
  return known.dtype;
};

/** A function for every row, by the operator's name. */
const each = <K extends string, F>(rows: Readonly<Record<K, unknown>>, make: (op: K) => F) =>
  Object.fromEntries(Object.keys(rows).map((op) => [op, make(op as K)])) as {
    readonly [P in K]: F;
  };

const positive = (axis: number, x: Value): number => (axis < 0 ? axis + x.shape.length : axis);

/** Negative bounds of a numeric dimension become positions, so that rules need not know them. */
function sliceBound(bound: number, dim: Dim | undefined): number {
  return bound < 0 && bound !== -Infinity && typeof dim === 'number'
    ? Math.max(bound + dim, 0)
    : bound;
}

function slice(
  x: Value,
  starts: readonly number[],
  ends: readonly number[],
  axes: readonly number[],
  steps: readonly number[] = axes.map(() => 1),
): Value {
  const normal = axes.map((axis) => positive(axis, x));
  const bound = (value: number, i: number): number => sliceBound(value, x.shape[normal[i] ?? 0]);
  return one('Slice', [x], {
    starts: starts.map(bound),
    ends: ends.map(bound),
    axes: normal,
    steps,
  });
}

interface LoopStep {
  readonly carried: readonly Value[];
  /** Stacked over the iterations along a new first axis. */
  readonly scans?: readonly Value[];
}

/**
 * Runs `step` `trips` times. `leaves` stand for the carried values inside the body; parameters may be
 * given, so that model code that uses them reads the carried state.
 */
function loop(
  trips: number | Value,
  initial: readonly Value[],
  step: (iteration: Value, carried: readonly Value[]) => LoopStep,
  leaves: readonly Value[] = initial.map((value, i) =>
    input(`carried${i}`, value.dtype, value.shape),
  ),
): { readonly carried: readonly Value[]; readonly scans: readonly Value[] } {
  const iteration = input('iteration', 'int64', []);
  const condition = input('condition', 'bool', []);
  const { carried, scans = [] } = step(iteration, leaves);
  const results = [condition, ...carried, ...scans];
  const body: Graph = {
    inputs: [iteration, condition, ...leaves],
    outputs: results.map((value, i) => ({ name: `result${i}`, value })),
  };
  const count = typeof trips === 'number' ? scalar(trips, 'int64') : trips;
  const outputs = apply('Loop', [count, ...initial], {
    body,
    trips: typeof trips === 'number' ? trips : 'trips',
  });
  return { carried: outputs.slice(0, initial.length), scans: outputs.slice(initial.length) };
}

/**
 * Computes one of two branches. `operands` reach them as leaves, so that nothing of a branch is
 * hoisted out of it; an operand that is a leaf already stands for itself.
 */
function choose(
  condition: Value,
  operands: readonly Value[],
  yes: (leaves: readonly Value[]) => readonly Value[],
  no: (leaves: readonly Value[]) => readonly Value[],
): readonly Value[] {
  const leaves = operands.map((value, i) =>
    'name' in value.source ? value : input(`operand${i}`, value.dtype, value.shape),
  );
  const branch = (build: typeof yes): Graph => ({
    inputs: leaves,
    outputs: build(leaves).map((value, i) => ({ name: `result${i}`, value })),
  });
  return apply('If', [condition, ...operands], {
    then_branch: branch(yes),
    else_branch: branch(no),
  });
}

/** The builder: functions named as the ONNX operators, then a few that compose them. */
export const o = {
  ...each(
    unary,
    (op) =>
      (x: Value): Value =>
        one(op, [x], {}),
  ),
  ...each(binary, (op) => (a: Operand, b: Operand): Value => {
    const dtype = dtypeOf(a, b);
    return one(op, [operand(a, dtype), operand(b, dtype)], {});
  }),
  BitShift: (x: Value, by: number, direction: 'LEFT' | 'RIGHT'): Value =>
    one('BitShift', [x, scalar(by, x.dtype)], { direction }),
  Where: (condition: Value, yes: Operand, no: Operand): Value =>
    one('Where', [condition, operand(yes, dtypeOf(yes, no)), operand(no, dtypeOf(yes, no))], {}),

  Cast: (x: Value, to: Dtype): Value => (x.dtype === to ? x : one('Cast', [x], { to })),

  /** `shape` is written down where at most one dimension must be found at run time. */
  Reshape: (x: Value, shape: Shape): Value =>
    sameShape(x.shape, shape) ? x : one('Reshape', [x], { shape }),
  ReshapeLike: (x: Value, target: Value): Value => {
    if (sameShape(x.shape, target.shape)) return x;
    const given = reshapeTarget(x.shape, target.shape) ? [x] : [x, o.Shape(target)];
    return one('Reshape', given, { shape: target.shape });
  },
  Expand: (x: Value, shape: readonly number[]): Value => one('Expand', [x], { shape }),
  ExpandLike: (x: Value, target: Value): Value => {
    if (sameShape(x.shape, target.shape)) return x;
    const given = isStatic(target.shape) ? [x] : [x, o.Shape(target)];
    return one('Expand', given, { shape: target.shape });
  },
  Squeeze: (x: Value, axes: readonly number[]): Value =>
    one('Squeeze', [x], { axes: axes.map((axis) => positive(axis, x)) }),
  /** `axes` are positions in the result. */
  Unsqueeze: (x: Value, axes: readonly number[]): Value => one('Unsqueeze', [x], { axes }),
  Transpose: (x: Value, perm: readonly number[]): Value => one('Transpose', [x], { perm }),
  Concat: (x: readonly Value[], axis: number): Value => {
    const [first] = x;
    if (!first) throw new GraphError('Concat of nothing');
    return one('Concat', x, { axis: positive(axis, first) });
  },
  Slice: slice,
  Split: (x: Value, at: Value, sizes: readonly [Dim, Dim], axis = -1): readonly [Value, Value] =>
    two('Split', [x, at], { axis: positive(axis, x), sizes }),
  Shape: (x: Value): Value => one('Shape', [x], {}),
  Pad: (x: Value, pads: readonly number[]): Value => one('Pad', [x], { pads }),
  /** start, start + 1, ... up to `end`; `size` names how many there are. */
  Range: (start: Value, end: Value, size: Dim): Value =>
    one('Range', [start, end, scalar(1, start.dtype)], { size }),
  Gather: (x: Value, indices: Value, axis = 0): Value =>
    one('Gather', [x, indices], { axis: positive(axis, x) }),
  GatherElements: (x: Value, indices: Value, axis: number): Value =>
    one('GatherElements', [x, indices], { axis: positive(axis, x) }),
  ScatterElements: (x: Value, indices: Value, updates: Value, axis: number): Value =>
    one('ScatterElements', [x, indices, updates], { axis: positive(axis, x) }),
  ArgMax: (x: Value, axis: number): Value => one('ArgMax', [x], { axis: positive(axis, x) }),
  TopK: (x: Value, k: number, axis = -1): readonly [Value, Value] =>
    two('TopK', [x], { axis: positive(axis, x), k }),

  ...each(
    reductions,
    (op) =>
      (
        x: Value,
        axes: readonly number[] = x.shape.map((_, axis) => axis),
        keepdims = false,
      ): Value =>
        one(op, [x], { axes: axes.map((axis) => positive(axis, x)), keepdims }),
  ),
  Softmax: (x: Value, axis = -1): Value => one('Softmax', [x], { axis: positive(axis, x) }),
  LogSoftmax: (x: Value, axis = -1): Value => one('LogSoftmax', [x], { axis: positive(axis, x) }),

  MatMul: (a: Value, b: Value): Value => one('MatMul', [a, b], {}),
  Gemm: (
    a: Value,
    b: Value,
    {
      transA = false,
      transB = false,
      bias,
    }: { transA?: boolean; transB?: boolean; bias?: Value } = {},
  ): Value => one('Gemm', bias ? [a, b, bias] : [a, b], { transA, transB }),
  MatMulNBits: (x: Value, codes: Value, scales: Value): Value =>
    one('MatMulNBits', [x, codes, scales], { block_size: Number(codes.shape[2]) }),
  Conv: (
    x: Value,
    w: Value,
    bias?: Value,
    {
      strides = [1, 1],
      pads = [0, 0, 0, 0],
      dilations = [1, 1],
    }: {
      strides?: Pair;
      pads?: Pads;
      dilations?: Pair;
    } = {},
  ): Value => one('Conv', bias ? [x, w, bias] : [x, w], { strides, pads, dilations }),
  ConvTranspose: (x: Value, w: Value, attributes: AttributesOf<'ConvTranspose'>): Value =>
    one('ConvTranspose', [x, w], attributes),
  MaxPool: (x: Value, kernel_shape: Pair, strides: Pair, pads: Pads = [0, 0, 0, 0]): Value =>
    one('MaxPool', [x], { kernel_shape, strides, pads }),
  AveragePool: (x: Value, kernel_shape: Pair, strides: Pair = kernel_shape): Value =>
    one('AveragePool', [x], { kernel_shape, strides, pads: [0, 0, 0, 0] }),
  BatchNormalization: (
    x: Value,
    scale: Value,
    bias: Value,
    mean: Value,
    variance: Value,
    epsilon = 1e-5,
  ): Value => one('BatchNormalization', [x, scale, bias, mean, variance], { epsilon }),
  LayerNormalization: (x: Value, scale: Value, bias: Value, epsilon: number): Value =>
    one('LayerNormalization', [x, scale, bias], { epsilon }),
  Loop: loop,
  If: choose,

  full: (shape: readonly number[], value: number, dtype: Dtype): Value =>
    constantOf(
      Array.from({ length: Number(sizeOf(shape)) }, () => value),
      dtype,
      shape,
    ),
  zerosLike: (x: Value): Value => o.ExpandLike(scalar(0, x.dtype), x),
  /** Joins leading axes until `rank` are left; rank 1 is flat. */
  flattenTo: (x: Value, rank: number): Value => {
    const split = x.shape.length - rank + 1;
    return o.Reshape(x, [sizeOf(x.shape.slice(0, split)), ...x.shape.slice(split)]);
  },
  size: (x: Value): Dim => sizeOf(x.shape),
  /** N*C of [N,C,H,W]. */
  channels: (x: Value): Dim => multiplyDims(x.shape[0] ?? 1, x.shape[1] ?? 1),
  /** How many elements lie along `axes`: a number, or an int64 scalar known at run time. */
  elementCount: (x: Value, axes: readonly number[]): Operand => {
    const dims = sizeOf(axes.map((axis) => x.shape[axis] ?? 1));
    if (typeof dims === 'number') return dims;
    const picked = axes.map((axis) => o.Gather(o.Shape(x), scalar(axis, 'int64')));
    return picked.reduce((a, b) => o.Mul(a, b));
  },
  /** The same in the dtype of `x`, to divide by. */
  sizeAlong: (x: Value, axes: readonly number[]): Operand => {
    const count = o.elementCount(x, axes);
    return typeof count === 'number' ? count : o.Cast(count, x.dtype);
  },
  /** Rows [n, d] back to `shape`, whose leading dimensions are those of `x`. */
  splitRows: (rows: Value, x: Value, shape: Shape): Value => {
    if (reshapeTarget(rows.shape, shape)) return o.Reshape(rows, shape);
    const lead = o.Slice(o.Shape(x), [0], [shape.length - 1], [0]);
    const last = constantOf([Number(shape.at(-1))], 'int64');
    return one('Reshape', [rows, o.Concat([lead, last], 0)], { shape });
  },
  /** Adds the rows of `g` [...indices, ...rest] at `indices` into zeros shaped as `data` [n, ...rest]. */
  scatterRows: (g: Value, indices: Value, data: Value): Value => {
    const rest = data.shape.slice(1);
    const rows = o.Reshape(g, [sizeOf(indices.shape), ...rest]);
    const flat = o.Reshape(indices, [sizeOf(indices.shape), ...rest.map(() => 1)]);
    return o.ScatterElements(o.zerosLike(data), o.ExpandLike(flat, rows), rows, 0);
  },
  /** Puts slices of `x` along `axis` at positions `index` between zeros; `size` is the new dimension. */
  placeAlong: (x: Value, axis: number, index: Int32Array, size: number): Value => {
    const shape = x.shape.map((_, i) => (i === axis ? index.length : 1));
    const position = constant({ dtype: 'int32', shape, data: index });
    const before = x.shape.flatMap(() => [0]);
    const pads = [...before, ...before.map((_, i) => (i === axis ? size - index.length : 0))];
    const zeros = o.Mul(o.Pad(x, pads), 0);
    return o.ScatterElements(zeros, o.ExpandLike(position, x), x, axis);
  },
} satisfies Builder & Record<OpName, unknown> & Record<string, unknown>;

/**
 * The constant that ONNX Reshape needs to go from one shape to another: 0 keeps a dimension, -1 is
 * found at run time. Undefined where more than one would have to be found.
 */
export function reshapeTarget(from: Shape, to: Shape): number[] | undefined {
  const target = to.map((dim, axis) =>
    typeof dim === 'number' ? dim : dim === from[axis] ? 0 : -1,
  );
  return target.filter((dim) => dim === -1).length <= 1 ? target : undefined;
}
