import { type Dim, type Shape, addDims, multiplyDims, printShape, sizeOf } from '../dim.ts';
import { GraphError, type Value } from '../value.ts';
import {
  at,
  broadcastShapes,
  dimAt,
  normalizeAxis,
  replaceDim,
  requireRank,
  requireSameDtype,
  row,
} from './row.ts';

interface Axis {
  readonly axis: number;
}
interface Axes {
  readonly axes: readonly number[];
}
/** A second, int64 input gives the shape at run time where it cannot be written down. */
interface Target {
  readonly shape: Shape;
}
interface Bounds extends Axes {
  readonly starts: readonly number[];
  readonly ends: readonly number[];
  readonly steps: readonly number[];
}
/** In two parts whose sizes a second, int64 input [2] gives; `sizes` names them. */
interface Parts extends Axis {
  readonly sizes: readonly [Dim, Dim];
}

const requireIndex = (value: Value): void => {
  if (value.dtype !== 'int64' && value.dtype !== 'int32') {
    throw new GraphError(`indices must be int64 or int32, got ${value.dtype}`);
  }
};

/** Python's rule for a slice bound. A symbolic dimension is only cut from the end, or kept whole. */
function sliceSize(dim: Dim, start: number, end: number, step: number): Dim {
  if (typeof dim === 'number') {
    const low = step > 0 ? 0 : -1;
    const high = step > 0 ? dim : dim - 1;
    const clamp = (bound: number): number =>
      Math.min(Math.max(bound < 0 ? bound + dim : bound, low), high);
    // A slice backwards through the first element has an end below -dim.
    const last = step < 0 && end < -dim ? -1 : clamp(end);
    return Math.max(0, Math.ceil((last - clamp(start)) / step));
  }
  if (step === 1 && start === 0 && end === Infinity) return dim;
  if (step === 1 && start >= 0 && end === Infinity) return addDims(dim, -start);
  if (step === 1 && start >= 0 && end < 0) return addDims(dim, end - start);
  if (step === 1 && start >= 0 && end >= start) return end - start;
  throw new GraphError(`cannot slice ${dim} from ${start} to ${end} by ${step}`);
}

export const shape = {
  Reshape: row<Target>({
    infer: (x, { shape: target }) => {
      const from = at(x, 0).shape;
      if (sizeOf(from) !== sizeOf(target)) {
        throw new GraphError(`cannot reshape ${printShape(from)} to ${printShape(target)}`);
      }
      return [{ dtype: at(x, 0).dtype, shape: target }];
    },
    vjp: ({ o, g, x }) => [o.ReshapeLike(g, at(x, 0))],
  }),
  Expand: row<Target>({
    infer: (x, { shape: target }) => [
      { dtype: at(x, 0).dtype, shape: broadcastShapes([at(x, 0).shape, target]) },
    ],
    vjp: ({ g }) => [g],
  }),
  Squeeze: row<Axes>({
    infer: (x, { axes }) => {
      if (axes.some((axis) => dimAt(at(x, 0), axis) !== 1)) {
        throw new GraphError(`cannot squeeze [${axes.join(',')}] of ${printShape(at(x, 0).shape)}`);
      }
      return [
        { dtype: at(x, 0).dtype, shape: at(x, 0).shape.filter((_, axis) => !axes.includes(axis)) },
      ];
    },
    vjp: ({ o, g, attributes: { axes } }) => [o.Unsqueeze(g, axes)],
  }),
  Unsqueeze: row<Axes>({
    infer: (x, { axes }) => {
      const dims = [...at(x, 0).shape];
      const rank = dims.length + axes.length;
      const result = Array.from({ length: rank }, (_, axis) =>
        axes.includes(axis) ? 1 : (dims.shift() ?? 1),
      );
      return [{ dtype: at(x, 0).dtype, shape: result }];
    },
    vjp: ({ o, g, attributes: { axes } }) => [o.Squeeze(g, axes)],
  }),
  Transpose: row<{ readonly perm: readonly number[] }>({
    infer: (x, { perm }) => {
      requireRank(at(x, 0), perm.length, 'the input of Transpose');
      if ([...perm].sort((a, b) => a - b).some((axis, index) => axis !== index)) {
        throw new GraphError(`perm [${perm.join(',')}] is not a permutation`);
      }
      return [{ dtype: at(x, 0).dtype, shape: perm.map((axis) => dimAt(at(x, 0), axis)) }];
    },
    vjp: ({ o, g, attributes: { perm } }) => [
      o.Transpose(
        g,
        perm.map((_, axis) => perm.indexOf(axis)),
      ),
    ],
  }),
  Concat: row<Axis>({
    infer: (x, { axis }) => {
      requireSameDtype(x);
      const first = at(x, 0).shape;
      for (const { shape: other } of x) {
        const fits =
          other.length === first.length &&
          other.every((dim, index) => index === axis || dim === first[index]);
        if (!fits) {
          throw new GraphError(
            `cannot join ${x.map((v) => printShape(v.shape)).join(', ')} at ${axis}`,
          );
        }
      }
      const total = x.reduce<Dim>((sum, value) => addDims(sum, dimAt(value, axis)), 0);
      return [{ dtype: at(x, 0).dtype, shape: replaceDim(first, axis, total) }];
    },
    vjp: ({ o, g, x, attributes: { axis } }) => {
      const sizes = x.map((value) => dimAt(value, axis));
      let offset = 0;
      return sizes.map((size, index) => {
        const start = offset;
        if (index === sizes.length - 1) return o.Slice(g, [start], [Infinity], [axis]);
        if (typeof size !== 'number') {
          throw new GraphError(`no gradient for Concat of a symbolic size ${size} before the last`);
        }
        offset += size;
        return o.Slice(g, [start], [offset], [axis]);
      });
    },
  }),
  Slice: row<Bounds>({
    infer: (x, { starts, ends, axes, steps }) => {
      const result = [...at(x, 0).shape];
      axes.forEach((axis, i) => {
        const dim = dimAt(at(x, 0), axis);
        result[axis] = sliceSize(dim, starts[i] ?? 0, ends[i] ?? Infinity, steps[i] ?? 1);
      });
      return [{ dtype: at(x, 0).dtype, shape: result }];
    },
    // The cotangent is put back between zeros. Strided and reversed slices are spread first.
    vjp: ({ o, g, x, attributes: { starts, axes, steps } }) => {
      let spread = g;
      const pads = at(x, 0).shape.map(() => [0, 0] as [number, number]);
      axes.forEach((axis, i) => {
        const dim = dimAt(at(x, 0), axis);
        const [start, step] = [starts[i] ?? 0, steps[i] ?? 1];
        const whole = start === 0 && step === 1 && dim === dimAt(g, axis);
        if (whole) return;
        const size = dimAt(spread, axis);
        if (step === 1 && start >= 0) {
          // If only the front was cut, the rest is a number even where the sizes are symbols.
          const rest = addDims(addDims(dim, -start), multiplyDims(-1, size));
          if (typeof rest !== 'number') throw new GraphError(`no gradient for a slice of ${dim}`);
          pads[axis] = [start, rest];
          return;
        }
        if (typeof dim !== 'number' || typeof size !== 'number') {
          throw new GraphError(`no gradient for a strided slice of ${dim}`);
        }
        const first = start < 0 ? Math.max(start + dim, 0) : Math.min(start, dim - 1);
        const index = Int32Array.from({ length: size }, (_, k) => first + k * step);
        spread = o.placeAlong(spread, axis, index, dim);
      });
      if (pads.every(([before, after]) => before === 0 && after === 0)) return [spread];
      return [
        o.Pad(spread, [...pads.map(([before]) => before), ...pads.map(([, after]) => after)]),
      ];
    },
  }),
  Split: row<Parts>({
    infer: (x, { axis, sizes }) => {
      requireIndex(at(x, 1));
      const whole = at(x, 0);
      const total = addDims(...sizes);
      if (total !== dimAt(whole, axis)) {
        throw new GraphError(`${sizes.join(' and ')} are not ${dimAt(whole, axis)}`);
      }
      return sizes.map((size) => ({
        dtype: whole.dtype,
        shape: replaceDim(whole.shape, axis, size),
      }));
    },
    // The backward walk differentiates first outputs; a part cut off at run time has no gradient.
    vjp: null,
  }),
  // Zero padding; `pads` is all the befores, then all the afters.
  Pad: row<{ readonly pads: readonly number[] }>({
    infer: (x, { pads }) => {
      const rank = at(x, 0).shape.length;
      if (pads.length !== 2 * rank)
        throw new GraphError(`expected ${2 * rank} pads, got ${pads.length}`);
      return [
        {
          dtype: at(x, 0).dtype,
          shape: at(x, 0).shape.map((dim, axis) =>
            addDims(dim, (pads[axis] ?? 0) + (pads[axis + rank] ?? 0)),
          ),
        },
      ];
    },
    vjp: ({ o, g, x, attributes: { pads } }) => {
      const rank = at(x, 0).shape.length;
      const axes = at(x, 0).shape.map((_, axis) => axis);
      const ends = axes.map((axis) => (pads[axis + rank] ? -(pads[axis + rank] ?? 0) : Infinity));
      return [o.Slice(g, pads.slice(0, rank), ends, axes)];
    },
  }),
  Shape: row({
    infer: (x) => [{ dtype: 'int64', shape: [at(x, 0).shape.length] }],
    vjp: null,
  }),
  // `size` is how many values the limits give at run time.
  Range: row<{ readonly size: Dim }>({
    infer: (x, { size }) => [{ dtype: at(x, 0).dtype, shape: [size] }],
    vjp: null,
  }),
  Gather: row<Axis>({
    infer: (x, { axis }) => {
      const [data, indices] = [at(x, 0), at(x, 1)];
      requireIndex(indices);
      normalizeAxis(axis, data.shape.length);
      const result = [
        ...data.shape.slice(0, axis),
        ...indices.shape,
        ...data.shape.slice(axis + 1),
      ];
      return [{ dtype: data.dtype, shape: result }];
    },
    // Rows are added to zeros of the table's shape. ScatterElements, because ScatterND with
    // reduction=add races on duplicates in ONNX Runtime 1.30 (45 of 50 runs wrong with 2 threads).
    vjp: ({ o, g, x, attributes: { axis } }) => {
      const [data, indices] = [at(x, 0), at(x, 1)];
      if (axis !== 0) {
        const front = [axis, ...data.shape.map((_, i) => i).filter((i) => i !== axis)];
        const rank = indices.shape.length;
        const gFront = o.Transpose(g, [
          ...indices.shape.map((_, i) => axis + i),
          ...g.shape.map((_, i) => i).filter((i) => i < axis || i >= axis + rank),
        ]);
        const gathered = o.scatterRows(gFront, indices, o.Transpose(data, front));
        return [
          o.Transpose(
            gathered,
            front.map((_, i) => front.indexOf(i)),
          ),
          null,
        ];
      }
      return [o.scatterRows(g, indices, data), null];
    },
  }),
  GatherElements: row<Axis>({
    infer: (x, { axis }) => {
      requireIndex(at(x, 1));
      normalizeAxis(axis, at(x, 0).shape.length);
      requireRank(at(x, 1), at(x, 0).shape.length, 'indices');
      return [{ dtype: at(x, 0).dtype, shape: at(x, 1).shape }];
    },
    vjp: ({ o, g, x, attributes: { axis } }) => [
      o.ScatterElements(o.zerosLike(at(x, 0)), at(x, 1), g, axis),
      null,
    ],
  }),
  // reduction=add: duplicate indices add up.
  ScatterElements: row<Axis>({
    infer: (x, { axis }) => {
      requireIndex(at(x, 1));
      requireSameDtype([at(x, 0), at(x, 2)]);
      normalizeAxis(axis, at(x, 0).shape.length);
      return [{ dtype: at(x, 0).dtype, shape: at(x, 0).shape }];
    },
    vjp: ({ o, g, x, attributes: { axis } }) => [g, null, o.GatherElements(g, at(x, 1), axis)],
  }),
  ArgMax: row<Axis>({
    infer: (x, { axis }) => [
      {
        dtype: 'int64',
        shape: at(x, 0).shape.filter((_, i) => i !== normalizeAxis(axis, at(x, 0).shape.length)),
      },
    ],
    vjp: null,
  }),
  TopK: row<Axis & { readonly k: number }>({
    infer: (x, { axis, k }) => {
      const result = replaceDim(at(x, 0).shape, normalizeAxis(axis, at(x, 0).shape.length), k);
      return [
        { dtype: at(x, 0).dtype, shape: result },
        { dtype: 'int64', shape: result },
      ];
    },
    vjp: null,
  }),
};
