import { type DomainError, invalidArgument } from '../errors.ts';
import type { Dtype, Tensor } from '../graph/types.ts';

/** A tensor of a checkpoint, read when asked for. */
export interface CheckpointTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  read(): Promise<Tensor>;
}

/** An open checkpoint, whatever its format: tensors by the names it gives them. */
export interface Checkpoint {
  readonly path: string;
  /** For people, e.g. `PyTorch zip`. */
  readonly format: string;
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  close(): Promise<void>;
}

export const malformed = (path: string, message: string, cause?: unknown): DomainError =>
  invalidArgument('CHECKPOINT_MALFORMED', path, message, { cause });

export const truncated = (path: string, message: string, cause?: unknown): DomainError =>
  invalidArgument('CHECKPOINT_TRUNCATED', path, message, { cause });

/** It asks for what no weights need: to run something, or for memory without end. */
export const unsafe = (path: string, message: string): DomainError =>
  invalidArgument('CHECKPOINT_UNSAFE', path, message);

/** float64, float16 and bfloat16 as float32; other dtypes are no weights. */
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
