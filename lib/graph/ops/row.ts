import { type Shape, printShape } from '../dim.ts';
import { GraphError, type Type, type Value } from '../value.ts';
import type { Builder } from './builder.ts';

/** The attributes of an operator that has none. */
export type None = Readonly<Record<string, never>>;

interface VjpContext<A extends object> {
  /** The builder, passed in because it is made from the table that holds the rules. */
  readonly o: Builder;
  readonly attributes: A;
  /** Primal inputs. */
  readonly x: readonly Value[];
  /** Primal outputs. */
  readonly y: readonly Value[];
  /** Cotangent of the first output. */
  readonly g: Value;
}

/**
 * One operator with attributes A, named as in ONNX. What newer opsets pass as small integer inputs
 * (axes, target shapes, slices) are attributes here: lib/onnx turns them into inputs.
 */
export interface Row<A extends object = None> {
  /** Dtypes and shapes of the outputs; throws GraphError where the inputs do not fit. */
  infer(x: readonly Value[], attributes: A): readonly Type[];
  /**
   * Vector-Jacobian product: a cotangent for each input, null for one that has none. Broadcasting is
   * undone by the backward walk, so a rule may return the broadcast shape. An explicit null for the
   * whole rule says that no gradient exists.
   */
  readonly vjp: null | ((context: VjpContext<A>) => readonly (Value | null)[]);
}

/** A row, whose type keeps its attributes: `row<{ readonly axis: number }>({ infer, vjp })`. */
export const row = <A extends object = None>(rules: Row<A>): Row<A> => rules;

export function at(values: readonly Value[], index: number): Value {
  const value = values[index];
  if (!value) throw new GraphError(`input ${index} is missing, got ${values.length} inputs`);
  return value;
}

/** A shape from the end or the start, checked: `dimAt(x, -1)` is the last dimension. */
export function dimAt(value: Type, axis: number): Shape[number] {
  const dim = value.shape.at(axis);
  if (dim === undefined) {
    throw new GraphError(`axis ${axis} is outside of shape ${printShape(value.shape)}`);
  }
  return dim;
}

export function normalizeAxis(axis: number, rank: number): number {
  const positive = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || positive < 0 || positive >= rank) {
    throw new GraphError(`axis ${axis} is outside of rank ${rank}`);
  }
  return positive;
}

export function requireSameDtype(x: readonly Value[]): void {
  const dtypes = new Set(x.map(({ dtype }) => dtype));
  if (dtypes.size > 1) {
    throw new GraphError(
      `expected inputs of one dtype, got ${x.map(({ dtype }) => dtype).join(', ')}`,
    );
  }
}

export function requireRank(value: Value, rank: number, what: string): void {
  if (value.shape.length !== rank) {
    throw new GraphError(`${what} must have rank ${rank}, got shape ${printShape(value.shape)}`);
  }
}

/** NumPy broadcasting; equal symbols match, a symbol and a number other than 1 do not. */
export function broadcastShapes(shapes: readonly Shape[]): Shape {
  const rank = Math.max(...shapes.map(({ length }) => length));
  return Array.from({ length: rank }, (_, axis) => {
    let result: Shape[number] = 1;
    for (const shape of shapes) {
      const dim = shape[axis - rank + shape.length] ?? 1;
      if (dim === 1 || dim === result) continue;
      if (result !== 1) {
        throw new GraphError(`shapes ${shapes.map(printShape).join(' and ')} do not broadcast`);
      }
      result = dim;
    }
    return result;
  });
}

export const like = (x: readonly Value[]): readonly Type[] => [
  { dtype: at(x, 0).dtype, shape: at(x, 0).shape },
];

export const replaceDim = (shape: Shape, axis: number, dim: Shape[number]): Shape =>
  shape.map((old, index) => (index === axis ? dim : old));
