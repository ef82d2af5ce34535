import { invalidArgument } from '../errors.ts';
import type { Tensor } from '../graph/types.ts';
import { printType } from '../tensor.ts';
import type { Sent, Tensor as TensorMessage } from './messages.ts';

const bytesOf = { DATA_TYPE_FLOAT16: 2, DATA_TYPE_FLOAT32: 4 } as const;

/** A tensor as services send it to each other: in half precision, which halves the bytes. */
export function tensorMessage(shape: readonly number[], values: Float32Array): Sent<TensorMessage> {
  const half = new Float16Array(values);
  const data = new Uint8Array(half.buffer, half.byteOffset, half.byteLength);
  return { dtype: 'DATA_TYPE_FLOAT16', shape, data };
}

/** Every half precision value by its bits: V8 converts one value at a time, 50 times slower. */
let halves: Float32Array | undefined;

function widen(buffer: ArrayBuffer): Float32Array<ArrayBuffer> {
  halves ??= Float32Array.from(
    new Float16Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer),
  );
  const bits = new Uint16Array(buffer);
  const values = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) values[i] = halves[bits[i]!]!;
  return values;
}

/**
 * The tensor of a message in single precision. Throws INVALID_ARGUMENT (TENSOR_INVALID) for one that
 * is not of the expected shape, or has NaN or infinite values.
 */
export function tensorOf(
  message: TensorMessage | null,
  field: string,
  expected: readonly number[],
): Tensor<'float32'> {
  const wrong = (what: string) =>
    invalidArgument('TENSOR_INVALID', field, `${what}; expected float16[${expected.join(',')}]`);
  if (message === null) throw wrong('is missing');
  const { dtype, shape, data } = message;
  if (dtype !== 'DATA_TYPE_FLOAT16' && dtype !== 'DATA_TYPE_FLOAT32') {
    throw wrong('its dtype is not float16 or float32');
  }
  const came = printType(dtype === 'DATA_TYPE_FLOAT16' ? 'float16' : 'float32', shape.slice(0, 8));
  const fits =
    shape.length === expected.length && shape.every((size, axis) => size === expected[axis]);
  if (!fits) throw wrong(`got ${came}`);
  const bytes = expected.reduce((product, size) => product * size, bytesOf[dtype]);
  if (data.byteLength !== bytes) throw wrong(`got ${data.byteLength} bytes for ${came}`);
  // A copy of its own: a view of a message may begin anywhere.
  const { buffer } = new Uint8Array(data);
  const values = dtype === 'DATA_TYPE_FLOAT16' ? widen(buffer) : new Float32Array(buffer);
  // In double precision the sum cannot overflow, so it is finite only if all values are.
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  if (!Number.isFinite(sum)) throw wrong('has NaN or infinite values');
  return { dtype: 'float32', shape: expected, data: values };
}
