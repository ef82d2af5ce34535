import { o } from '../../lib/graph/build.ts';
import type { unary as unaryRows } from '../../lib/graph/ops/elementwise.ts';
import type { OpName } from '../../lib/graph/table.ts';
import type { Dtype } from '../../lib/graph/types.ts';
import type { Value } from '../../lib/graph/value.ts';

export interface OperandSpec {
  readonly shape: readonly number[];
  /** Integers and bools are not differentiated; their values must be given. */
  readonly dtype?: Dtype;
  readonly values?: readonly number[];
  /** Where random values lie; Default: [-1, 1]. */
  readonly range?: readonly [number, number];
}

export interface OperatorCase {
  readonly inputs: readonly OperandSpec[];
  readonly build: (x: readonly Value[]) => Value;
  /** ONNX Runtime 1.30 has no float64 kernel for the operator or for what its gradient needs. */
  readonly float32?: true;
  /** Duplicate indices: run many times on two threads, because that is where a race would show. */
  readonly scatters?: true;
}

const get = (x: readonly Value[], i: number): Value => {
  const value = x[i];
  if (!value) throw new RangeError(`the case has no input ${i}`);
  return value;
};
const a = (x: readonly Value[]): Value => get(x, 0);
const b = (x: readonly Value[]): Value => get(x, 1);
const c = (x: readonly Value[]): Value => get(x, 2);

const shape = [2, 3, 4];
const positive = { shape, range: [0.5, 2] } as const;
/** Away from 0, where a kink would spoil the difference quotient. */
const kinked = {
  shape,
  values: Array.from({ length: 24 }, (_, i) => (i % 2 ? 1 : -1) * (0.2 + i / 20)),
};
const unary = (op: keyof typeof unaryRows, float32?: true): OperatorCase => ({
  inputs: [{ shape }],
  build: (x) => o[op](a(x)),
  ...(float32 && { float32 }),
});
const withBroadcast = (
  build: OperatorCase['build'],
  spec: Partial<OperandSpec> = {},
): OperatorCase => ({
  inputs: [
    { shape, ...spec },
    { shape: [3, 1], ...spec },
  ],
  build,
});
/** Several uses of an operator as one value: the energy of each. */
const energies = (values: readonly Value[]): Value =>
  o.Concat(
    values.map((value) => o.Unsqueeze(o.ReduceSumSquare(value), [0])),
    0,
  );
const bools = { shape: [4], dtype: 'bool', values: [1, 0, 1, 0] } as const;
const others = { shape: [4], dtype: 'bool', values: [1, 1, 0, 0] } as const;
const words = { shape: [4], dtype: 'uint32', values: [1, 5, 0xffffffff, 77] } as const;
const toFloat = (value: Value): Value => o.Cast(value, 'float32');

/**
 * What every row of the operator table is checked on. A mapped type: a new operator does not compile
 * until it has inputs to be checked with.
 */
export const operatorCases: { readonly [K in OpName]: OperatorCase } = {
  Add: withBroadcast((x) => o.Add(a(x), b(x))),
  Sub: withBroadcast((x) => o.Sub(a(x), b(x))),
  Mul: withBroadcast((x) => o.Mul(a(x), b(x))),
  Div: withBroadcast((x) => o.Div(a(x), b(x)), { range: [0.5, 2] }),
  Pow: withBroadcast((x) => o.Pow(a(x), b(x)), { range: [0.5, 2] }),
  Max: { inputs: [{ shape }, kinked], build: (x) => o.Max(o.Mul(a(x), 0.1), b(x)) },
  Min: { inputs: [{ shape }, kinked], build: (x) => o.Min(o.Mul(a(x), 0.1), b(x)) },
  Neg: unary('Neg'),
  Abs: { inputs: [kinked], build: (x) => o.Abs(a(x)) },
  Exp: unary('Exp'),
  Log: { inputs: [positive], build: (x) => o.Log(a(x)) },
  Sqrt: { inputs: [positive], build: (x) => o.Sqrt(a(x)) },
  Reciprocal: { inputs: [positive], build: (x) => o.Reciprocal(a(x)) },
  Cos: unary('Cos'),
  Erf: unary('Erf', true),
  Tanh: unary('Tanh'),
  Sigmoid: unary('Sigmoid'),
  Softplus: unary('Softplus', true),
  Relu: { inputs: [kinked], build: (x) => o.Relu(a(x)) },
  Gelu: unary('Gelu', true),
  Floor: unary('Floor'),
  Cast: { inputs: [{ shape }], build: (x) => o.Cast(a(x), 'float32'), float32: true },
  Equal: {
    inputs: [{ shape: [4], dtype: 'int64', values: [1, 2, 3, 4] }],
    build: (x) => toFloat(o.Equal(a(x), 2)),
  },
  Greater: { inputs: [kinked], build: (x) => o.Cast(o.Greater(a(x), 0), 'float32') },
  Less: { inputs: [kinked], build: (x) => o.Cast(o.Less(a(x), 0), 'float32') },
  And: { inputs: [bools, others], build: (x) => toFloat(o.And(a(x), b(x))) },
  Or: { inputs: [bools, others], build: (x) => toFloat(o.Or(a(x), b(x))) },
  Not: { inputs: [bools], build: (x) => toFloat(o.Not(a(x))) },
  IsNaN: {
    inputs: [{ shape: [2], dtype: 'float32', values: [0, Number.NaN] }],
    build: (x) => toFloat(o.IsNaN(a(x))),
  },
  IsInf: {
    inputs: [{ shape: [2], dtype: 'float32', values: [0, Infinity] }],
    build: (x) => toFloat(o.IsInf(a(x))),
  },
  BitwiseXor: { inputs: [words, words], build: (x) => toFloat(o.BitwiseXor(a(x), b(x))) },
  BitShift: { inputs: [words], build: (x) => toFloat(o.BitShift(a(x), 3, 'RIGHT')) },
  Where: {
    inputs: [{ shape: [3, 1], dtype: 'bool', values: [1, 0, 1] }, { shape }, { shape: [4] }],
    build: (x) => o.Where(a(x), b(x), c(x)),
  },
  Reshape: { inputs: [{ shape }], build: (x) => o.Reshape(a(x), [6, 4]) },
  Expand: { inputs: [{ shape: [3, 1] }], build: (x) => o.Expand(a(x), [2, 3, 4]) },
  Squeeze: { inputs: [{ shape: [2, 1, 3] }], build: (x) => o.Squeeze(a(x), [1]) },
  Unsqueeze: { inputs: [{ shape }], build: (x) => o.Unsqueeze(a(x), [0, 2]) },
  Transpose: { inputs: [{ shape }], build: (x) => o.Transpose(a(x), [2, 0, 1]) },
  Concat: {
    inputs: [{ shape }, { shape: [2, 2, 4] }],
    build: (x) => o.Concat([a(x), b(x), a(x)], 1),
  },
  Slice: {
    inputs: [{ shape: [5, 6] }],
    build: (x) =>
      energies([
        o.Slice(a(x), [1, 2], [-1, Infinity], [0, 1]),
        o.Slice(a(x), [4, 0], [-Infinity, 4], [0, 1], [-2, 1]),
        o.Slice(a(x), [0, 1], [5, 6], [0, 1], [2, 3]),
      ]),
  },
  Pad: { inputs: [{ shape: [3, 4] }], build: (x) => o.Pad(a(x), [1, 0, 2, 3]) },
  Shape: { inputs: [{ shape: [3, 4] }], build: (x) => toFloat(o.Shape(a(x))) },
  Range: {
    inputs: [
      { shape: [], dtype: 'int64', values: [2] },
      { shape: [], dtype: 'int64', values: [7] },
    ],
    build: (x) => toFloat(o.Range(a(x), b(x), 5)),
  },
  Gather: {
    inputs: [
      { shape: [3, 5] },
      { shape: [2, 4], dtype: 'int64', values: [0, 2, 2, 4, 4, 4, 1, 0] },
      { shape: [3], dtype: 'int64', values: [1, 1, 2] },
    ],
    build: (x) => energies([o.Gather(a(x), b(x), 1), o.Gather(a(x), c(x), 0)]),
    scatters: true,
  },
  GatherElements: {
    inputs: [{ shape: [3, 4] }, { shape: [3, 2], dtype: 'int64', values: [0, 3, 1, 1, 2, 0] }],
    build: (x) => o.GatherElements(a(x), b(x), 1),
    scatters: true,
  },
  ScatterElements: {
    inputs: [
      { shape: [5, 2] },
      { shape: [4, 2], dtype: 'int64', values: [0, 1, 0, 1, 4, 4, 0, 2] },
      { shape: [4, 2] },
    ],
    build: (x) => o.ScatterElements(a(x), b(x), c(x), 0),
    scatters: true,
  },
  ArgMax: { inputs: [kinked], build: (x) => o.Cast(o.ArgMax(a(x), -1), 'float32') },
  Split: {
    inputs: [{ shape }, { shape: [2], dtype: 'int64', values: [1, 3] }],
    build: (x) => o.Concat([...o.Split(a(x), b(x), [1, 3])].reverse(), 2),
  },
  TopK: { inputs: [kinked], build: (x) => o.TopK(a(x), 2)[0] },
  ReduceSum: { inputs: [{ shape }], build: (x) => o.ReduceSum(a(x), [0, 2]) },
  ReduceMean: { inputs: [{ shape }], build: (x) => o.ReduceMean(a(x), [1], true) },
  ReduceMax: { inputs: [kinked], build: (x) => o.ReduceMax(a(x), [-1]) },
  ReduceSumSquare: { inputs: [{ shape }], build: (x) => o.ReduceSumSquare(a(x), [0]) },
  Softmax: { inputs: [{ shape }], build: (x) => o.Softmax(a(x)) },
  LogSoftmax: { inputs: [{ shape }], build: (x) => o.LogSoftmax(a(x)) },
  MatMul: {
    inputs: [{ shape: [2, 3, 4] }, { shape: [4, 5] }, { shape: [1, 5, 3] }],
    build: (x) => o.MatMul(o.MatMul(a(x), b(x)), c(x)),
  },
  Gemm: {
    inputs: [{ shape: [3, 4] }, { shape: [5, 4] }, { shape: [5] }, { shape: [4, 5] }],
    build: (x) => {
      const [d, t] = [get(x, 3), true];
      return energies([
        o.Gemm(a(x), d),
        o.Gemm(a(x), b(x), { transB: t, bias: c(x) }),
        o.Gemm(b(x), d, { transA: t, transB: t }),
        o.Gemm(d, d, { transA: t, bias: c(x) }),
      ]);
    },
  },
  MatMulNBits: {
    inputs: [
      { shape: [2, 3, 32] },
      {
        shape: [5, 2, 16],
        dtype: 'uint8',
        values: Array.from({ length: 160 }, (_, i) => (i * 37) % 256),
      },
      { shape: [5, 2], range: [0.001, 0.01] },
    ],
    build: (x) => o.MatMulNBits(a(x), b(x), c(x)),
    float32: true,
  },
  Conv: {
    inputs: [
      { shape: [2, 3, 7, 6] },
      { shape: [4, 3, 3, 3] },
      { shape: [4] },
      { shape: [2, 3, 1, 1] },
      { shape: [2, 3, 5, 5] },
    ],
    build: (x) =>
      energies([
        o.Conv(a(x), b(x), c(x), { pads: [1, 1, 1, 1] }),
        o.Conv(a(x), b(x), undefined, { strides: [2, 2], pads: [1, 0, 1, 1] }),
        o.Conv(a(x), get(x, 3)),
        o.Conv(a(x), get(x, 3), undefined, { strides: [2, 2] }),
        o.Conv(a(x), get(x, 4), undefined, { strides: [2, 2], pads: [2, 2, 2, 2] }),
      ]),
    float32: true,
  },
  ConvTranspose: {
    inputs: [{ shape: [2, 3, 4, 4] }, { shape: [3, 2, 3, 3] }],
    build: (x) =>
      o.ConvTranspose(a(x), b(x), { strides: [2, 2], pads: [1, 1, 1, 1], output_padding: [1, 0] }),
  },
  MaxPool: {
    inputs: [
      { shape: [2, 2, 7, 6], values: Array.from({ length: 168 }, (_, i) => ((i * 61) % 168) / 20) },
    ],
    build: (x) => o.MaxPool(a(x), [3, 3], [2, 2], [1, 1, 1, 1]),
    scatters: true,
  },
  AveragePool: {
    inputs: [{ shape: [2, 3, 6, 5] }],
    build: (x) => o.AveragePool(a(x), [2, 2]),
    float32: true,
  },
  BatchNormalization: {
    inputs: [
      { shape: [2, 3, 4, 4] },
      { shape: [3] },
      { shape: [3] },
      { shape: [3], values: [0.1, 0.2, -0.3], dtype: 'float32' },
      { shape: [3], values: [1, 0.5, 2], dtype: 'float32' },
    ],
    build: (x) => o.BatchNormalization(a(x), b(x), c(x), get(x, 3), get(x, 4)),
  },
  LayerNormalization: {
    inputs: [{ shape: [2, 3, 8] }, { shape: [8] }, { shape: [8] }],
    build: (x) => o.LayerNormalization(a(x), b(x), c(x), 1e-5),
    float32: true,
  },
  If: {
    inputs: [{ shape: [], dtype: 'bool', values: [0] }, { shape: [3] }],
    build: (x) => {
      const [y] = o.If(
        a(x),
        [b(x)],
        ([v]) => [o.Mul(v ?? b(x), 2)],
        ([v]) => [o.Exp(v ?? b(x))],
      );
      return y ?? b(x);
    },
  },
  Loop: {
    inputs: [{ shape: [3] }],
    build: (x) =>
      o.Loop(4, [a(x)], (_, [carried]) => ({ carried: [o.Mul(carried ?? a(x), 0.5)] }))
        .carried[0] ?? a(x),
  },
};
