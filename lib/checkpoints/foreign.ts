import { type DomainError, invalidArgument } from '../errors.ts';
import type { Dtype, Tensor } from '../graph/types.ts';

/** A tensor of a published checkpoint, read on request. */
export interface ForeignTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  read(): Promise<Tensor>;
}

/** An open published checkpoint of any format: tensors by the names in the file. */
export interface ForeignWeights {
  readonly path: string;
  /** Shown to users, e.g. `PyTorch zip`. */
  readonly format: string;
  readonly tensors: ReadonlyMap<string, ForeignTensor>;
  close(): Promise<void>;
}

export const malformed = (path: string, message: string, cause?: unknown): DomainError =>
  invalidArgument('CHECKPOINT_MALFORMED', path, message, { cause });

export const truncated = (path: string, message: string, cause?: unknown): DomainError =>
  invalidArgument('CHECKPOINT_TRUNCATED', path, message, { cause });

/** The file requests something that weights never need: running code, or unbounded memory. */
export const unsafe = (path: string, message: string): DomainError =>
  invalidArgument('CHECKPOINT_UNSAFE', path, message);

/** float64, float16 and bfloat16 as float32; undefined for other dtypes, which are not weights. */
export function toFloat32({ dtype, shape, data }: Tensor): Tensor<'float32'> | undefined {
  if (dtype === 'float32') return { dtype, shape, data: data as Float32Array };
  if (dtype === 'float64' || dtype === 'float16') {
    return { dtype: 'float32', shape, data: Float32Array.from(data as Float64Array) };
  }
  if (dtype !== 'bfloat16') return undefined;
  // bfloat16 is the upper half of a float32.
  const halves = new Uint16Array(data.buffer, data.byteOffset, data.length);
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < words.length; i++) words[i] = (halves[i] as number) << 16;
  return { dtype: 'float32', shape, data: new Float32Array(words.buffer) };
}
