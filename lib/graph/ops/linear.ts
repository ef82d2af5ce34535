import { type Dim, printShape } from '../dim.ts';
import { GraphError, type Value } from '../value.ts';
import { at, broadcastShapes, dimAt, requireRank, requireSameDtype, row } from './row.ts';

/** Swaps the last two axes. */
const lastTwoSwapped = (value: Value): number[] => {
  const axes = value.shape.map((_, axis) => axis);
  return [...axes.slice(0, -2), axes.length - 1, axes.length - 2];
};

const requireContraction = (a: Value, b: Value, left: Dim, right: Dim): void => {
  if (left !== right) {
    throw new GraphError(
      `cannot multiply ${printShape(a.shape)} by ${printShape(b.shape)}: ${left} is not ${right}`,
    );
  }
};

export const linearAlgebra = {
  MatMul: row({
    infer: (x) => {
      requireSameDtype(x);
      const [a, b] = [at(x, 0), at(x, 1)];
      requireContraction(a, b, dimAt(a, -1), dimAt(b, -2));
      const batch = broadcastShapes([a.shape.slice(0, -2), b.shape.slice(0, -2)]);
      return [{ dtype: a.dtype, shape: [...batch, dimAt(a, -2), dimAt(b, -1)] }];
    },
    vjp: ({ o, g, x }) => {
      const [a, b] = [at(x, 0), at(x, 1)];
      const da = o.MatMul(g, o.Transpose(b, lastTwoSwapped(b)));
      // A matrix shared by a batch gets one product over all rows, not a batch of products and a sum.
      const db =
        b.shape.length === 2
          ? o.Gemm(o.flattenTo(a, 2), o.flattenTo(g, 2), { transA: true })
          : o.MatMul(o.Transpose(a, lastTwoSwapped(a)), g);
      return [da, db];
    },
  }),
  Gemm: row<{ readonly transA: boolean; readonly transB: boolean }>({
    infer: (x, { transA, transB }) => {
      requireSameDtype(x);
      const [a, b] = [at(x, 0), at(x, 1)];
      requireRank(a, 2, 'A of Gemm');
      requireRank(b, 2, 'B of Gemm');
      requireContraction(a, b, dimAt(a, transA ? 0 : 1), dimAt(b, transB ? 1 : 0));
      const shape = [dimAt(a, transA ? 1 : 0), dimAt(b, transB ? 0 : 1)];
      const bias = x[2];
      if (bias && String(broadcastShapes([shape, bias.shape])) !== String(shape)) {
        throw new GraphError(
          `C ${printShape(bias.shape)} does not broadcast to ${printShape(shape)}`,
        );
      }
      return [{ dtype: a.dtype, shape }];
    },
    vjp: ({ o, g, x, attributes: { transA, transB } }) => {
      const [a, b] = [at(x, 0), at(x, 1)];
      const da = transA
        ? o.Gemm(b, g, { transA: transB, transB: true })
        : o.Gemm(g, b, { transB: !transB });
      const db = transB
        ? o.Gemm(g, a, { transA: true, transB: transA })
        : o.Gemm(a, g, { transA: !transA });
      return x[2] ? [da, db, g] : [da, db];
    },
  }),
  /**
   * x [..., K] by the transpose of 8-bit weights [N, K / block_size, block_size] with a scale for each
   * block, [N, K / block_size]; 128 stands for 0. ONNX Runtime's own operator, for serving.
   */
  MatMulNBits: row<{ readonly block_size: number }>({
    infer: (x, { block_size }) => {
      const [a, codes, scales] = [at(x, 0), at(x, 1), at(x, 2)];
      const [outputs = 1, blocks = 1, block] = codes.shape;
      const fits =
        codes.dtype === 'uint8' &&
        block === block_size &&
        dimAt(a, -1) === Number(blocks) * block_size &&
        String(scales.shape) === String([outputs, blocks]);
      if (!fits) {
        throw new GraphError(
          `codes ${printShape(codes.shape)} and scales ${printShape(scales.shape)} do not fit`,
        );
      }
      return [{ dtype: a.dtype, shape: [...a.shape.slice(0, -1), outputs] }];
    },
    // Trained weights are quantized, quantized weights are not trained.
    vjp: null,
  }),
};
