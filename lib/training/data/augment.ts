import { hashName, mix32 } from '../../models/init.ts';
import type { TrainingConfig } from '../config.ts';

/** Random numbers in [0, 1) that depend only on (seed, name, epoch). */
export function seededUniform(seed: number, name: string, epoch: number): () => number {
  const key = mix32(mix32(hashName(name) + Math.imul(seed, 0x9e3779b9)) + epoch);
  let count = 0;
  return () => mix32(key + Math.imul(++count, 0x9e3779b9)) / 2 ** 32;
}

/** Grey 0..65535 to 0..1. */
export function plainGrey(pixels: Uint16Array, out: Float32Array, offset: number): void {
  for (let i = 0; i < pixels.length; i++) out[offset + i] = (pixels[i] as number) / 65535;
}

/**
 * Rotates and shifts a square image and changes its contrast: bilinear, edges repeated. Writes grey
 * 0..1. `uniform` gives the random numbers.
 */
export function augmentGrey(
  pixels: Uint16Array,
  side: number,
  { rotationDegrees, shift, contrast }: TrainingConfig['augmentation'],
  uniform: () => number,
  out: Float32Array,
  offset: number,
): void {
  const within = (bound: number): number => (2 * uniform() - 1) * bound;
  const angle = within((rotationDegrees * Math.PI) / 180);
  const [dx, dy] = [within(shift * side), within(shift * side)];
  const gain = (1 + within(contrast)) / 65535;
  let sum = 0;
  for (const value of pixels) sum += value;
  const lift = (sum / pixels.length / 65535) * (1 - gain * 65535);
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const centre = (side - 1) / 2;
  const last = side - 1;
  for (let row = 0, at = offset; row < side; row++) {
    for (let column = 0; column < side; column++, at++) {
      const [u, v] = [column - centre, row - centre];
      const x = Math.min(last, Math.max(0, cos * u - sin * v + centre + dx));
      const y = Math.min(last, Math.max(0, sin * u + cos * v + centre + dy));
      const [left, top] = [Math.floor(x), Math.floor(y)];
      const [fx, fy] = [x - left, y - top];
      const right = left < last ? left + 1 : left;
      const [upper, lower] = [top * side, (top < last ? top + 1 : top) * side];
      const above =
        (pixels[upper + left] as number) * (1 - fx) + (pixels[upper + right] as number) * fx;
      const below =
        (pixels[lower + left] as number) * (1 - fx) + (pixels[lower + right] as number) * fx;
      out[at] = (above * (1 - fy) + below * fy) * gain + lift;
    }
  }
}
