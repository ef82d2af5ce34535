import type { Dim, Shape } from '../dim.ts';
import type { Dtype } from '../types.ts';
import type { Value } from '../value.ts';

/** A number stands for a scalar constant of the other operand's dtype. */
export type Operand = Value | number;
export type Pair = readonly [number, number];
/** [top, left, bottom, right] */
export type Pads = readonly [number, number, number, number];

/** Spatial attributes of a 2-D window. */
export interface Window {
  readonly strides: Pair;
  readonly pads: Pads;
}

type Axes = readonly number[];
type Unary = 'Neg' | 'Exp' | 'Log' | 'Sqrt' | 'Reciprocal' | 'Erf' | 'Sigmoid';
type Binary = 'Add' | 'Sub' | 'Mul' | 'Div' | 'Pow' | 'Equal' | 'Greater' | 'Less';
type Reduction = 'ReduceSum' | 'ReduceMean' | 'ReduceMax' | 'ReduceSumSquare';
type Elementary = Readonly<
  Record<Unary, (x: Value) => Value> &
    Record<Binary, (a: Operand, b: Operand) => Value> &
    Record<Reduction, (x: Value, axes?: Axes, keepdims?: boolean) => Value>
>;

/**
 * The functions that gradient rules are written with. They are among those of the builder
 * (lib/graph/build.ts), but are typed here: the builder is made from the operator table and the table
 * from the rules, so rules cannot take their types from it. A rule that needs another function adds it.
 */
export interface Builder extends Elementary {
  Where(condition: Value, yes: Operand, no: Operand): Value;
  Cast(x: Value, to: Dtype): Value;

  /** At most one dimension may have to be found at run time. */
  Reshape(x: Value, shape: Shape): Value;
  ReshapeLike(x: Value, target: Value): Value;
  ExpandLike(x: Value, target: Value): Value;
  Squeeze(x: Value, axes: Axes): Value;
  /** `axes` are positions in the result. */
  Unsqueeze(x: Value, axes: Axes): Value;
  Transpose(x: Value, perm: Axes): Value;
  Concat(x: readonly Value[], axis: number): Value;
  Slice(x: Value, starts: Axes, ends: Axes, axes: Axes, steps?: Axes): Value;
  Pad(x: Value, pads: Axes): Value;
  GatherElements(x: Value, indices: Value, axis: number): Value;
  ScatterElements(x: Value, indices: Value, updates: Value, axis: number): Value;

  MatMul(a: Value, b: Value): Value;
  Gemm(
    a: Value,
    b: Value,
    options?: { readonly transA?: boolean; readonly transB?: boolean; readonly bias?: Value },
  ): Value;
  Conv(
    x: Value,
    w: Value,
    bias?: Value,
    window?: Partial<Window> & { readonly dilations?: Pair },
  ): Value;
  ConvTranspose(x: Value, w: Value, window: Window & { readonly output_padding: Pair }): Value;

  full(shape: readonly number[], value: number, dtype: Dtype): Value;
  zerosLike(x: Value): Value;
  /** Joins leading axes until `rank` are left; rank 1 is flat. */
  flattenTo(x: Value, rank: number): Value;
  size(x: Value): Dim;
  /** N*C of [N,C,H,W]. */
  channels(x: Value): Dim;
  /** How many elements lie along `axes`, in the dtype of `x`, to divide by. */
  sizeAlong(x: Value, axes: Axes): Operand;
  /** Adds the rows of `g` [...indices, ...rest] at `indices` into zeros shaped as `data` [n, ...rest]. */
  scatterRows(g: Value, indices: Value, data: Value): Value;
  /** Puts slices of `x` along `axis` at positions `index` between zeros; `size` is the new dimension. */
  placeAlong(x: Value, axis: number, index: Int32Array, size: number): Value;
}
