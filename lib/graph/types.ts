/** The dtypes of the engine, named as in NumPy and ONNX. */
export type Dtype =
  | 'float64'
  | 'float32'
  | 'float16'
  | 'bfloat16'
  | 'int64'
  | 'int32'
  | 'int8'
  | 'uint8'
  | 'uint32'
  | 'bool';

/** The typed array that holds a dtype in JavaScript. bfloat16 is kept as its bits. */
export interface DtypeArray {
  float64: Float64Array;
  float32: Float32Array;
  float16: Float16Array;
  bfloat16: Float16Array;
  int64: BigInt64Array;
  int32: Int32Array;
  int8: Int8Array;
  uint8: Uint8Array;
  uint32: Uint32Array;
  bool: Uint8Array;
}

/** Concrete data: `data.length` is the product of `shape`, row-major; a scalar has shape []. */
export interface Tensor<D extends Dtype = Dtype> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: DtypeArray[D];
}

export const bytesPerElement: Readonly<Record<Dtype, number>> = {
  float64: 8,
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int64: 8,
  int32: 4,
  int8: 1,
  uint8: 1,
  uint32: 4,
  bool: 1,
};
