import type { Dtype } from './types.ts';
import type { Shape } from './dim.ts';
import type { Graph } from './value.ts';

type None = Readonly<Record<string, never>>;

/** Spatial attributes of a 2-D window. `pads` is [top, left, bottom, right]. */
interface Window {
  readonly strides: readonly [number, number];
  readonly pads: readonly [number, number, number, number];
}
interface Kernel extends Window {
  readonly kernel_shape: readonly [number, number];
}
interface Reduction {
  readonly axes: readonly number[];
  readonly keepdims: boolean;
}

/**
 * Every operator of the engine with its attributes, named as in ONNX. What newer opsets pass as small
 * integer inputs (axes, target shapes, slices) are attributes here: lib/onnx turns them into inputs.
 * The operator table, the builder and the ONNX writer are mapped types over this interface, so an
 * operator that one of them forgets does not compile.
 */
export interface OpAttributes {
  Add: None;
  Sub: None;
  Mul: None;
  Div: None;
  Pow: None;
  Max: None;
  Min: None;
  Neg: None;
  Abs: None;
  Exp: None;
  Log: None;
  Sqrt: None;
  Reciprocal: None;
  Cos: None;
  Erf: None;
  Tanh: None;
  Sigmoid: None;
  Softplus: None;
  Relu: None;
  Gelu: None;
  Floor: None;
  Cast: { readonly to: Dtype };
  Equal: None;
  Greater: None;
  Less: None;
  And: None;
  Or: None;
  Not: None;
  IsNaN: None;
  IsInf: None;
  BitwiseXor: None;
  BitShift: { readonly direction: 'LEFT' | 'RIGHT' };
  Where: None;

  /** The target shape; a second, int64 input gives it at run time where it cannot be written down. */
  Reshape: { readonly shape: Shape };
  Expand: { readonly shape: Shape };
  Squeeze: { readonly axes: readonly number[] };
  Unsqueeze: { readonly axes: readonly number[] };
  Transpose: { readonly perm: readonly number[] };
  Concat: { readonly axis: number };
  Slice: {
    readonly starts: readonly number[];
    readonly ends: readonly number[];
    readonly axes: readonly number[];
    readonly steps: readonly number[];
  };
  /** In two parts whose sizes a second, int64 input [2] gives; `sizes` names them. */
  Split: { readonly axis: number; readonly sizes: readonly [Shape[number], Shape[number]] };
  /** Zero padding; `pads` is all the befores, then all the afters. */
  Pad: { readonly pads: readonly number[] };
  Shape: None;
  Range: { readonly size: Shape[number] };
  Gather: { readonly axis: number };
  GatherElements: { readonly axis: number };
  /** reduction=add: duplicate indices add up. */
  ScatterElements: { readonly axis: number };
  ArgMax: { readonly axis: number };
  TopK: { readonly axis: number; readonly k: number };

  ReduceSum: Reduction;
  ReduceMean: Reduction;
  ReduceMax: Reduction;
  ReduceSumSquare: Reduction;
  Softmax: { readonly axis: number };
  LogSoftmax: { readonly axis: number };

  MatMul: None;
  Gemm: { readonly transA: boolean; readonly transB: boolean };
  /**
   * x [..., K] by the transpose of 8-bit weights [N, K / block_size, block_size] with a scale for each
   * block, [N, K / block_size]; 128 stands for 0. ONNX Runtime's own operator, for serving.
   */
  MatMulNBits: { readonly block_size: number };
  /** Gradients exist for dilation 1 only. */
  Conv: Window & { readonly dilations: readonly [number, number] };
  ConvTranspose: Window & { readonly output_padding: readonly [number, number] };
  MaxPool: Kernel;
  AveragePool: Kernel;
  BatchNormalization: { readonly epsilon: number };
  LayerNormalization: { readonly epsilon: number };

  /** The branches' inputs stand for the node's inputs after the condition. */
  If: { readonly then_branch: Graph; readonly else_branch: Graph };
  /** `trips` is how many values the scan outputs hold. */
  Loop: { readonly body: Graph; readonly trips: Shape[number] };
}

export type OpName = keyof OpAttributes;
