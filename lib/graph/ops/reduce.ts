import type { Type, Value } from '../value.ts';
import type { Builder } from './builder.ts';
import { type Row, at, dimAt, like, normalizeAxis, row } from './row.ts';

interface Reduction {
  readonly axes: readonly number[];
  readonly keepdims: boolean;
}
interface Axis {
  readonly axis: number;
}

const reduce = (x: readonly Value[], { axes, keepdims }: Reduction): readonly Type[] => {
  const { dtype, shape } = at(x, 0);
  const reduced = new Set(axes.map((axis) => normalizeAxis(axis, shape.length)));
  const kept = shape.map((dim, axis) => (reduced.has(axis) ? 1 : dim));
  return [{ dtype, shape: keepdims ? kept : kept.filter((_, axis) => !reduced.has(axis)) }];
};

/** Gives a reduced value its axes of size 1 back, so that it broadcasts against the unreduced one. */
const restore = (o: Builder, value: Value, { axes, keepdims }: Reduction): Value =>
  keepdims ? value : o.Unsqueeze(value, axes);

const softmaxInfer: Row<Axis>['infer'] = (x, { axis }) => {
  dimAt(at(x, 0), axis);
  return like(x);
};

export const reductions = {
  ReduceSum: row<Reduction>({
    infer: reduce,
    vjp: ({ o, g, x, attributes }) => [o.ExpandLike(restore(o, g, attributes), at(x, 0))],
  }),
  ReduceMean: row<Reduction>({
    infer: reduce,
    vjp: ({ o, g, x, attributes }) => {
      const count = o.sizeAlong(at(x, 0), attributes.axes);
      return [o.ExpandLike(restore(o, o.Div(g, count), attributes), at(x, 0))];
    },
  }),
  // Ties share the cotangent evenly.
  ReduceMax: row<Reduction>({
    infer: reduce,
    vjp: ({ o, g, x, y, attributes }) => {
      const winners = o.Cast(o.Equal(at(x, 0), restore(o, at(y, 0), attributes)), g.dtype);
      const count = o.ReduceSum(winners, attributes.axes, true);
      return [o.Mul(winners, o.Div(restore(o, g, attributes), count))];
    },
  }),
  ReduceSumSquare: row<Reduction>({
    infer: reduce,
    vjp: ({ o, g, x, attributes }) => [o.Mul(restore(o, o.Mul(g, 2), attributes), at(x, 0))],
  }),
};

export const softmaxes = {
  Softmax: row<Axis>({
    infer: softmaxInfer,
    vjp: ({ o, g, y, attributes: { axis } }) => {
      const weighted = o.Mul(g, at(y, 0));
      return [o.Sub(weighted, o.Mul(at(y, 0), o.ReduceSum(weighted, [axis], true)))];
    },
  }),
  LogSoftmax: row<Axis>({
    infer: softmaxInfer,
    vjp: ({ o, g, y, attributes: { axis } }) => [
      o.Sub(g, o.Mul(o.Exp(at(y, 0)), o.ReduceSum(g, [axis], true))),
    ],
  }),
};
