import type { Dtype } from '../types.ts';
import { type Type, type Value, GraphError, isFloat } from '../value.ts';
import { type Row, at, broadcastShapes, like, requireSameDtype, row } from './row.ts';

const broadcast = (x: readonly Value[]): readonly Type[] => {
  requireSameDtype(x);
  return [{ dtype: at(x, 0).dtype, shape: broadcastShapes(x.map(({ shape }) => shape)) }];
};

const requireDtypes = (
  x: readonly Value[],
  accept: (dtype: Dtype) => boolean,
  what: string,
): void => {
  for (const { dtype } of x) {
    if (!accept(dtype)) throw new GraphError(`expected ${what} inputs, got ${dtype}`);
  }
};

const compare = (x: readonly Value[]): readonly Type[] => [
  { dtype: 'bool', shape: broadcast(x)[0]?.shape ?? [] },
];
const predicate = (x: readonly Value[]): readonly Type[] => {
  requireDtypes(x, isFloat, 'floating-point');
  return [{ dtype: 'bool', shape: at(x, 0).shape }];
};
const logic = (x: readonly Value[]): readonly Type[] => {
  requireDtypes(x, (dtype) => dtype === 'bool', 'bool');
  return broadcast(x);
};
const bits = (x: readonly Value[]): readonly Type[] => {
  requireDtypes(x, (dtype) => dtype === 'uint32' || dtype === 'int32', 'integer');
  return broadcast(x);
};

/** A function of one value by its derivative; `y` is its own value, where that makes it cheaper. */
const differentiable = (vjp: NonNullable<Row['vjp']>): Row => ({
  infer: (x) => {
    requireDtypes(x, isFloat, 'floating-point');
    return like(x);
  },
  vjp,
});

/** Operators of one value without attributes: a row here and a test input are all that one needs. */
export const unary = {
  Neg: row({ infer: like, vjp: ({ o, g }) => [o.Neg(g)] }),
  Abs: row({ infer: like, vjp: ({ o, g, x }) => [o.Where(o.Less(at(x, 0), 0), o.Neg(g), g)] }),
  Exp: differentiable(({ o, g, y }) => [o.Mul(g, at(y, 0))]),
  Log: differentiable(({ o, g, x }) => [o.Div(g, at(x, 0))]),
  Sqrt: differentiable(({ o, g, y }) => [o.Div(o.Mul(g, 0.5), at(y, 0))]),
  Reciprocal: differentiable(({ o, g, y }) => [o.Neg(o.Mul(g, o.Mul(at(y, 0), at(y, 0))))]),
  // Only schedules use it, on step numbers.
  Cos: row({ infer: like, vjp: null }),
  Erf: differentiable(({ o, g, x }) => [
    o.Mul(g, o.Mul(o.Exp(o.Neg(o.Mul(at(x, 0), at(x, 0)))), 2 / Math.sqrt(Math.PI))),
  ]),
  Tanh: differentiable(({ o, g, y }) => [o.Mul(g, o.Sub(1, o.Mul(at(y, 0), at(y, 0))))]),
  Sigmoid: differentiable(({ o, g, y }) => [o.Mul(g, o.Mul(at(y, 0), o.Sub(1, at(y, 0))))]),
  Softplus: differentiable(({ o, g, x }) => [o.Mul(g, o.Sigmoid(at(x, 0)))]),
  Relu: differentiable(({ o, g, y }) => [o.Where(o.Greater(at(y, 0), 0), g, 0)]),
  // The exact Gelu, x * Phi(x); its derivative is Phi(x) + x * phi(x).
  Gelu: differentiable(({ o, g, x: [x] }) => {
    if (!x) return [];
    const cdf = o.Add(o.Mul(o.Erf(o.Mul(x, Math.SQRT1_2)), 0.5), 0.5);
    const density = o.Mul(o.Exp(o.Mul(o.Mul(x, x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
    return [o.Mul(g, o.Add(cdf, o.Mul(x, density)))];
  }),
  Floor: row({ infer: like, vjp: null }),
  Not: row({ infer: logic, vjp: null }),
  IsNaN: row({ infer: predicate, vjp: null }),
  IsInf: row({ infer: predicate, vjp: null }),
};

/** Operators of two values without attributes. */
export const binary = {
  Add: row({ infer: broadcast, vjp: ({ g }) => [g, g] }),
  Sub: row({ infer: broadcast, vjp: ({ o, g }) => [g, o.Neg(g)] }),
  Mul: row({ infer: broadcast, vjp: ({ o, g, x }) => [o.Mul(g, at(x, 1)), o.Mul(g, at(x, 0))] }),
  Div: row({
    infer: broadcast,
    vjp: ({ o, g, x, y }) => {
      const dx = o.Div(g, at(x, 1));
      return [dx, o.Neg(o.Mul(dx, at(y, 0)))];
    },
  }),
  Pow: row({
    infer: broadcast,
    vjp: ({ o, g, x: [x, n], y }) => {
      if (!x || !n) return [];
      const dn = o.Mul(g, o.Mul(at(y, 0), o.Log(x)));
      return [o.Mul(g, o.Mul(n, o.Pow(x, o.Sub(n, 1)))), dn];
    },
  }),
  // Where both are equal the cotangent goes to the first, as a subgradient.
  Max: row({
    infer: broadcast,
    vjp: ({ o, g, x: [a, b] }) => {
      if (!a || !b) return [];
      const second = o.Less(a, b);
      return [o.Where(second, 0, g), o.Where(second, g, 0)];
    },
  }),
  Min: row({
    infer: broadcast,
    vjp: ({ o, g, x: [a, b] }) => {
      if (!a || !b) return [];
      const second = o.Greater(a, b);
      return [o.Where(second, 0, g), o.Where(second, g, 0)];
    },
  }),
  Equal: row({ infer: compare, vjp: null }),
  Greater: row({ infer: compare, vjp: null }),
  Less: row({ infer: compare, vjp: null }),
  And: row({ infer: logic, vjp: null }),
  Or: row({ infer: logic, vjp: null }),
  BitwiseXor: row({ infer: bits, vjp: null }),
};

export const elementwise = {
  Cast: row<{ readonly to: Dtype }>({
    infer: (x, { to }) => [{ dtype: to, shape: at(x, 0).shape }],
    vjp: ({ o, g, x }) => [o.Cast(g, at(x, 0).dtype)],
  }),
  BitShift: row<{ readonly direction: 'LEFT' | 'RIGHT' }>({ infer: bits, vjp: null }),
  Where: row({
    infer: (x) => {
      requireDtypes(x.slice(0, 1), (dtype) => dtype === 'bool', 'bool');
      requireSameDtype(x.slice(1));
      return [{ dtype: at(x, 1).dtype, shape: broadcastShapes(x.map(({ shape }) => shape)) }];
    },
    vjp: ({ o, g, x }) => [null, o.Where(at(x, 0), g, 0), o.Where(at(x, 0), 0, g)],
  }),
};
