import { type Dtype, type DtypeArray, type Tensor, bytesPerElement } from './graph/types.ts';

type View<D extends Dtype> = new (
  buffer: ArrayBuffer,
  byteOffset?: number,
  length?: number,
) => DtypeArray[D];

const views: { readonly [D in Dtype]: View<D> } = {
  float64: Float64Array,
  float32: Float32Array,
  float16: Float16Array,
  bfloat16: Float16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int8: Int8Array,
  uint8: Uint8Array,
  uint32: Uint32Array,
  bool: Uint8Array,
};

/** How many bytes a dense tensor takes; not a safe integer for an absurdly large shape. */
export const byteLengthOf = (dtype: Dtype, shape: readonly number[]): number =>
  shape.reduce((size, dim) => size * dim, bytesPerElement[dtype]);

/** A tensor over a buffer that holds exactly its bytes (little-endian, row-major). */
export function tensorOver(dtype: Dtype, shape: readonly number[], buffer: ArrayBuffer): Tensor {
  return { dtype, shape, data: new views[dtype](buffer) };
}

/** e.g. `float32[batch,3]` */
export const printType = (dtype: Dtype, shape: readonly (number | string)[]): string =>
  `${dtype}[${shape.join(',')}]`;
