import type { Tensor } from '../graph/types.ts';
import type { Initializer, ParameterSpec } from './parameters.ts';

/** FNV-1a, 32 bit, over UTF-8. */
export function hashName(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** murmur3's 32-bit finalizer. */
export function mix32(x: number): number {
  let hash = x | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** Standard normal numbers, two at a time (Box & Muller 1958), from counted random bits. */
function fillNormal(data: Float32Array, std: number, key: number): void {
  for (let i = 0; i < data.length; i += 2) {
    // Half a step off zero, whose logarithm is infinite.
    const radius = Math.sqrt(-2 * Math.log((bits(key, i) + 0.5) / 2 ** 32)) * std;
    const angle = (bits(key, i + 1) / 2 ** 32) * 2 * Math.PI;
    data[i] = radius * Math.cos(angle);
    if (i + 1 < data.length) data[i + 1] = radius * Math.sin(angle);
  }
}

const bits = (key: number, index: number): number => mix32(key + Math.imul(index, 0x9e3779b9));

function fill(data: Float32Array, initializer: Initializer, key: number): void {
  if (initializer.kind === 'constant') data.fill(initializer.value);
  else if (initializer.kind === 'normal') fillNormal(data, initializer.std, key);
  else {
    for (let i = 0; i < data.length; i++) {
      data[i] = ((bits(key, i) / 2 ** 32) * 2 - 1) * initializer.bound;
    }
  }
}

/**
 * The initial value of a parameter: a function of its name, its shape and the seed alone, so that adding
 * a parameter changes no other and every process makes the same weights.
 */
export function initialTensor(
  { name, shape, initializer }: Omit<ParameterSpec, 'value' | 'isBuffer'>,
  seed: number,
): Tensor<'float32'> {
  const data = new Float32Array(shape.reduce((size, dim) => size * dim, 1));
  fill(data, initializer, mix32(mix32(hashName(name)) + Math.imul(seed, 0x9e3779b9)));
  if (initializer.kind === 'normal' && initializer.zeroRow !== undefined) {
    const width = data.length / (shape[0] ?? 1);
    data.fill(0, initializer.zeroRow * width, (initializer.zeroRow + 1) * width);
  }
  return { dtype: 'float32', shape, data };
}
