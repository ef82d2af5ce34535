import { printShape } from '../dim.ts';
import { GraphError } from '../value.ts';
import { at, dimAt, replaceDim, requireSameDtype, row } from './row.ts';

export const normalization = {
  // Over the last axis; outputs y, mean and inverse standard deviation, of which the gradient
  // reads the last two. Inputs x, scale, bias.
  LayerNormalization: row<{ readonly epsilon: number }>({
    infer: (x) => {
      requireSameDtype(x);
      const data = at(x, 0);
      for (const vector of x.slice(1)) {
        if (vector.shape.length !== 1 || vector.shape[0] !== dimAt(data, -1)) {
          throw new GraphError(
            `expected vectors of ${dimAt(data, -1)}, got ${printShape(vector.shape)}`,
          );
        }
      }
      const shape = replaceDim(data.shape, data.shape.length - 1, 1);
      const statistic = { dtype: data.dtype === 'float64' ? 'float64' : 'float32', shape } as const;
      return [{ dtype: data.dtype, shape: data.shape }, statistic, statistic];
    },
    vjp: ({ o, g, x, y }) => {
      const data = at(x, 0);
      const cast = (index: number): typeof g => o.Cast(at(y, index), data.dtype);
      const inverse = cast(2);
      const normal = o.Mul(o.Sub(data, cast(1)), inverse);
      const rows = data.shape.slice(0, -1).map((_, axis) => axis);
      const last = [data.shape.length - 1];
      const scaled = o.Mul(g, at(x, 1));
      const centred = o.Sub(scaled, o.ReduceMean(scaled, last, true));
      const along = o.Mul(normal, o.ReduceMean(o.Mul(scaled, normal), last, true));
      return [
        o.Mul(o.Sub(centred, along), inverse),
        o.ReduceSum(o.Mul(g, normal), rows, false),
        o.ReduceSum(g, rows, false),
      ];
    },
  }),
};
