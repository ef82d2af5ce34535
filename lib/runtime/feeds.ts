import { type DomainError, invalidArgument } from '../errors.ts';
import { type Tensor, bytesPerElement } from '../graph/types.ts';
import { byteLengthOf, printType } from '../tensor.ts';
import type { KeptInfo, SessionInfo, ValueInfo, WireTensor } from './protocol.ts';

const printValue = ({ name, dtype, shape }: ValueInfo): string =>
  `${name}: ${printType(dtype, shape)}`;

const feedError = (name: string, message: string): DomainError =>
  invalidArgument('FEED_INVALID', `feeds.${name}`, message);

/**
 * Checks feeds against a model's inputs: names, dtypes, ranks, fixed dimensions, one size for each
 * symbolic dimension, and that data has the length of its shape. Throws INVALID_ARGUMENT naming the
 * input, its actual and its expected type.
 */
export function checkFeeds(
  inputs: readonly ValueInfo[],
  feeds: Readonly<Record<string, Tensor | KeptInfo>>,
): void {
  for (const name of Object.keys(feeds)) {
    if (inputs.some((input) => input.name === name)) continue;
    const known = inputs.map(printValue).join(', ');
    throw feedError(name, `the model has no such input; it takes ${known || 'none'}`);
  }
  const symbols = new Map<string, { readonly size: number; readonly at: string }>();
  for (const input of inputs) {
    const feed = feeds[input.name];
    const expected = printType(input.dtype, input.shape);
    if (!feed) throw feedError(input.name, `missing, expected ${expected}`);
    const actual = printType(feed.dtype, feed.shape);
    if (feed.dtype !== input.dtype || feed.shape.length !== input.shape.length) {
      throw feedError(input.name, `got ${actual}, expected ${expected}`);
    }
    input.shape.forEach((dim, axis) => {
      const size = feed.shape[axis] ?? 0;
      const bound = typeof dim === 'number' ? { size: dim, at: 'the model' } : symbols.get(dim);
      if (bound && bound.size !== size) {
        const why = typeof dim === 'number' ? '' : `; ${dim} is ${bound.size} in ${bound.at}`;
        throw feedError(input.name, `got ${actual}, expected ${expected}${why}`);
      }
      if (typeof dim === 'string' && dim !== '') symbols.set(dim, { size, at: input.name });
    });
    if ('data' in feed) checkLength(input.name, feed, actual);
  }
}

function checkLength(name: string, { dtype, shape, data }: Tensor, type: string): void {
  const bytes = byteLengthOf(dtype, shape);
  if (data.BYTES_PER_ELEMENT === bytesPerElement[dtype] && data.byteLength === bytes) return;
  const what = `${data.constructor.name} of ${data.byteLength} bytes`;
  throw feedError(name, `${type} takes ${bytes} bytes, got a ${what}`);
}

/** Checks names of outputs. Throws INVALID_ARGUMENT naming `field` and the unknown name. */
export function checkOutputs(
  { outputs }: SessionInfo,
  field: string,
  names: readonly string[],
): void {
  for (const name of names) {
    if (outputs.some((output) => output.name === name)) continue;
    const known = outputs.map(printValue).join(', ');
    throw invalidArgument('OUTPUT_UNKNOWN', field, `no output ${name}; the model has ${known}`);
  }
}

/**
 * Moves the bytes of tensors into buffers that can be transferred to another thread. With `consume` a
 * buffer that one tensor fills alone is moved, and the caller's array is empty afterwards; a view on
 * part of a buffer, a shared buffer and one that several tensors view are copied.
 */
export function ownBytes(
  tensors: Readonly<Record<string, Tensor>>,
  consume: boolean,
): Record<string, WireTensor> {
  const uses = new Map<ArrayBufferLike, number>();
  for (const { data } of Object.values(tensors)) {
    uses.set(data.buffer, (uses.get(data.buffer) ?? 0) + 1);
  }
  const own = ({ dtype, shape, data }: Tensor): WireTensor => {
    const { buffer, byteLength } = data;
    const alone = byteLength === buffer.byteLength && uses.get(buffer) === 1;
    if (consume && alone && buffer instanceof ArrayBuffer) {
      return { dtype, shape, buffer: buffer.transfer() };
    }
    // Bytes, not elements: bfloat16 has no typed array.
    const copy = new Uint8Array(byteLength);
    copy.set(new Uint8Array(buffer, data.byteOffset, byteLength));
    return { dtype, shape, buffer: copy.buffer };
  };
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, own(tensor)]));
}
