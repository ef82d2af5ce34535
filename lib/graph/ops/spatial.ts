import { type Dim, printShape } from '../dim.ts';
import { GraphError, type Type, type Value } from '../value.ts';
import type { Builder, Pads, Pair, Window } from './builder.ts';
import { at, dimAt, like, requireRank, requireSameDtype, row } from './row.ts';

interface TransposedWindow extends Window {
  readonly output_padding: Pair;
}
interface Kernel extends Window {
  readonly kernel_shape: Pair;
}

/** Height and width, which must be numbers: only batch and sequence are ever symbolic. */
function spatial(value: Type): Pair {
  const [height, width] = value.shape.slice(2);
  if (typeof height !== 'number' || typeof width !== 'number') {
    throw new GraphError(`expected [N,C,H,W] with numeric H and W, got ${printShape(value.shape)}`);
  }
  return [height, width];
}

/** Windows that fit along an axis, and the trailing positions that none of them covers. */
function windows(size: number, kernel: number, stride: number, pads: number): Pair {
  const room = size + pads - kernel;
  if (room < 0)
    throw new GraphError(`a window of ${kernel} does not fit ${size} + ${pads} padding`);
  return [Math.floor(room / stride) + 1, room % stride];
}

function outputSize(
  x: Type,
  kernel: readonly number[],
  { strides, pads }: Window,
): { size: Pair; rest: Pair } {
  const [height, width] = spatial(x);
  const [rows, restRows] = windows(height, kernel[0] ?? 1, strides[0], pads[0] + pads[2]);
  const [columns, restColumns] = windows(width, kernel[1] ?? 1, strides[1], pads[1] + pads[3]);
  return { size: [rows, columns], rest: [restRows, restColumns] };
}

const isPointwise = (kernel: Pair, { strides, pads }: Window): boolean =>
  [...kernel, ...strides].every((n) => n === 1) && pads.every((pad) => pad === 0);

/** [N,C,H,W] -> [N,C,H*W] */
const flattenPixels = (o: Builder, value: Value): Value => {
  const [height, width] = spatial(value);
  return o.Reshape(value, [...value.shape.slice(0, 2), height * width]);
};

/**
 * Cotangent of a convolution's input. Measured forms: a matrix product for 1x1; at stride 1 a
 * convolution with the flipped, transposed kernel (118 GFLOP/s against 64); else a transposed one.
 */
function convInputVjp(o: Builder, g: Value, x: Value, w: Value, window: Window): Value {
  const kernel = spatial(w);
  const { strides, pads } = window;
  if (isPointwise(kernel, window)) {
    const matrix = o.Transpose(o.Reshape(w, w.shape.slice(0, 2)), [1, 0]);
    return o.ReshapeLike(o.MatMul(matrix, flattenPixels(o, g)), x);
  }
  if (strides.every((stride) => stride === 1)) {
    const flipped = o.Transpose(
      o.Slice(w, [-1, -1], [-Infinity, -Infinity], [2, 3], [-1, -1]),
      [1, 0, 2, 3],
    );
    const [top, left, bottom, right] = pads;
    return o.Conv(g, flipped, undefined, {
      pads: [
        kernel[0] - 1 - top,
        kernel[1] - 1 - left,
        kernel[0] - 1 - bottom,
        kernel[1] - 1 - right,
      ],
    });
  }
  return o.ConvTranspose(g, w, {
    strides,
    pads,
    output_padding: outputSize(x, kernel, window).rest,
  });
}

/**
 * Cotangent of a convolution's kernel. At stride 1 the side with fewer channels is laid out once for
 * every kernel position, and one matrix product does them all; with strides it is one product per
 * position over strided slices of the input. Large kernels on few channels, the stem, would make thin
 * products: a convolution over swapped axes is faster there.
 */
function convKernelVjp(o: Builder, g: Value, x: Value, w: Value, window: Window): Value {
  const { strides, pads } = window;
  const kernel = spatial(w);
  if (kernel[0] * kernel[1] > 9) {
    const swapped = [1, 0, 2, 3];
    const product = o.Conv(
      o.Transpose(padded(o, x, pads), swapped),
      o.Transpose(g, swapped),
      undefined,
      { dilations: strides },
    );
    return o.Transpose(o.Slice(product, [0, 0], [...kernel], [2, 3]), swapped);
  }
  if (isPointwise(kernel, window)) return o.Reshape(sumOfProducts(o, g, x), w.shape);
  const same = spatial(x).every((size, axis) => size === spatial(g)[axis]);
  return strides.every((stride) => stride === 1) && same
    ? shiftedKernelVjp(o, g, x, w, pads)
    : slicedKernelVjp(o, g, x, w, window);
}

const padded = (o: Builder, x: Value, [top, left, bottom, right]: Pads): Value =>
  top + left + bottom + right === 0 ? x : o.Pad(x, [0, 0, top, left, 0, 0, bottom, right]);

/** Over batch and pixels: a [N,A,...], b [N,B,...] -> [A,B]. */
const sumOfProducts = (o: Builder, a: Value, b: Value): Value =>
  o.ReduceSum(
    o.MatMul(flattenPixels(o, a), o.Transpose(flattenPixels(o, b), [0, 2, 1])),
    [0],
    false,
  );

/** Copies of x [N,C,H,W] shifted to each kernel position, [N, positions * C, H, W]. */
function shifts(o: Builder, x: Value, kernel: Pair, pads: Pads): Value {
  const wide = padded(o, x, pads);
  const [height, width] = spatial(x);
  const copies: Value[] = [];
  for (let i = 0; i < kernel[0]; i++) {
    for (let j = 0; j < kernel[1]; j++) {
      copies.push(o.Slice(wide, [i, j], [i + height, j + width], [2, 3]));
    }
  }
  return o.Concat(copies, 1);
}

/** Stride 1 and an output of the input's size: kernel position (i,j) pairs g with x moved by it. */
function shiftedKernelVjp(o: Builder, g: Value, x: Value, w: Value, pads: Pads): Value {
  const kernel = spatial(w);
  const [outputs = 1, inputs = 1] = w.shape.map(Number);
  if (inputs <= outputs) {
    const product = sumOfProducts(o, g, shifts(o, x, kernel, pads));
    return o.Transpose(o.Reshape(product, [outputs, ...kernel, inputs]), [0, 3, 1, 2]);
  }
  // Moving g the other way pairs the same pixels; its positions come in reverse order.
  const [top, left] = pads;
  const [up, back] = [kernel[0] - 1 - top, kernel[1] - 1 - left];
  const product = sumOfProducts(o, shifts(o, g, kernel, [up, back, top, left]), x);
  const positions = o.Reshape(product, [kernel[0] * kernel[1], outputs, inputs]);
  const ordered = o.Slice(positions, [-1], [-Infinity], [0], [-1]);
  return o.Reshape(o.Transpose(ordered, [1, 2, 0]), w.shape);
}

function slicedKernelVjp(o: Builder, g: Value, x: Value, w: Value, window: Window): Value {
  const kernel = spatial(w);
  const { strides, pads } = window;
  const wide = padded(o, x, pads);
  const [rows, columns] = spatial(g);
  const products: Value[] = [];
  for (let i = 0; i < kernel[0]; i++) {
    for (let j = 0; j < kernel[1]; j++) {
      const ends = [i + strides[0] * (rows - 1) + 1, j + strides[1] * (columns - 1) + 1];
      const covered = o.Slice(wide, [i, j], ends, [2, 3], [...strides]);
      products.push(o.Unsqueeze(sumOfProducts(o, g, covered), [2]));
    }
  }
  return o.Reshape(products.length === 1 ? products[0]! : o.Concat(products, 2), w.shape);
}

/** Adds the spatial axes to a per-channel vector: [C] -> [C,1,1]. */
const perChannel = (o: Builder, value: Value): Value => o.Unsqueeze(value, [1, 2]);

const pool = (x: readonly Value[], window: Kernel): Type => ({
  dtype: at(x, 0).dtype,
  shape: [...at(x, 0).shape.slice(0, 2), ...outputSize(at(x, 0), window.kernel_shape, window).size],
});

const dilated = (size: number, dilation: number): number => (size - 1) * dilation + 1;

export const spatialRows = {
  // Gradients exist for dilation 1 only.
  Conv: row<Window & { readonly dilations: Pair }>({
    infer: (x, window) => {
      requireSameDtype(x);
      const [data, w] = [at(x, 0), at(x, 1)];
      requireRank(w, 4, 'the kernel');
      if (dimAt(data, 1) !== dimAt(w, 1)) {
        throw new GraphError(`${dimAt(data, 1)} channels meet a kernel for ${dimAt(w, 1)}`);
      }
      const kernel = spatial(w).map((size, i) => dilated(size, window.dilations[i] ?? 1));
      const { size } = outputSize(data, kernel, window);
      return [{ dtype: data.dtype, shape: [dimAt(data, 0), dimAt(w, 0), ...size] }];
    },
    vjp: ({ o, g, x, attributes }) => {
      if (attributes.dilations.some((dilation) => dilation !== 1)) {
        throw new GraphError('no gradient for a dilated Conv');
      }
      const [data, w] = [at(x, 0), at(x, 1)];
      const dx = convInputVjp(o, g, data, w, attributes);
      const dw = convKernelVjp(o, g, data, w, attributes);
      return x[2] ? [dx, dw, o.ReduceSum(g, [0, 2, 3], false)] : [dx, dw];
    },
  }),
  // Only the gradient rule of Conv writes it.
  ConvTranspose: row<TransposedWindow>({
    infer: (x, { strides, pads, output_padding: extra }) => {
      requireSameDtype(x);
      const [data, w] = [at(x, 0), at(x, 1)];
      const [height, width] = spatial(data);
      const [rows, columns] = spatial(w);
      const size: Dim[] = [
        (height - 1) * strides[0] + rows - pads[0] - pads[2] + extra[0],
        (width - 1) * strides[1] + columns - pads[1] - pads[3] + extra[1],
      ];
      return [{ dtype: data.dtype, shape: [dimAt(data, 0), dimAt(w, 1), ...size] }];
    },
    vjp: null,
  }),
  // The second output holds the winners' flat positions in the whole input. They are scattered with
  // add, because windows may overlap (MaxUnpool would keep one of several winners).
  MaxPool: row<Kernel>({
    infer: (x, window) => [pool(x, window), { ...pool(x, window), dtype: 'int64' }],
    vjp: ({ o, g, x, y }) => {
      const flat = o.Reshape(o.zerosLike(at(x, 0)), [o.size(at(x, 0))]);
      const indices = o.flattenTo(at(y, 1), 1);
      return [o.ReshapeLike(o.ScatterElements(flat, indices, o.flattenTo(g, 1), 0), at(x, 0))];
    },
  }),
  AveragePool: row<Kernel>({
    infer: (x, window) => {
      if (window.pads.some((pad) => pad !== 0))
        throw new GraphError('AveragePool takes no padding');
      return [pool(x, window)];
    },
    // Every window spreads its share over the pixels it covers: a transposed convolution channel by channel.
    vjp: ({ o, g, x, attributes }) => {
      const { kernel_shape: kernel, strides, pads } = attributes;
      const area = kernel[0] * kernel[1];
      const spread = o.full([1, 1, ...kernel], 1 / area, g.dtype);
      const [rows, columns] = spatial(g);
      const single = o.Reshape(g, [o.channels(g), 1, rows, columns]);
      const output_padding = outputSize(at(x, 0), kernel, attributes).rest;
      return [
        o.ReshapeLike(o.ConvTranspose(single, spread, { strides, pads, output_padding }), at(x, 0)),
      ];
    },
  }),
  // Inference statistics; inputs x, scale, bias, mean, variance. The running statistics are data.
  BatchNormalization: row<{ readonly epsilon: number }>({
    infer: (x) => {
      requireSameDtype(x);
      for (const vector of x.slice(1)) {
        if (vector.shape.length !== 1 || vector.shape[0] !== dimAt(at(x, 0), 1)) {
          throw new GraphError(
            `expected vectors of ${dimAt(at(x, 0), 1)} channels, got ${printShape(vector.shape)}`,
          );
        }
      }
      return like(x);
    },
    vjp: ({ o, g, x, attributes: { epsilon } }) => {
      const inverse = o.Reciprocal(o.Sqrt(o.Add(at(x, 4), epsilon)));
      const dBias = o.ReduceSum(g, [0, 2, 3], false);
      const product = o.ReduceSum(o.Mul(g, at(x, 0)), [0, 2, 3], false);
      const dScale = o.Mul(o.Sub(product, o.Mul(at(x, 3), dBias)), inverse);
      return [o.Mul(g, perChannel(o, o.Mul(at(x, 1), inverse))), dScale, dBias, null, null];
    },
  }),
};
