import type { Tensor } from '../../../lib/graph/types.ts';
import { hashName, mix32 } from '../../../lib/models/init.ts';

/** A tensor that any language makes bit for bit; see the `rule` in each golden file. */
export interface Ruled {
  readonly key: string;
  readonly shape: readonly number[];
  readonly center: number;
  readonly scale: number;
}

export function ruledTensor({ key, shape, center, scale }: Ruled): Tensor<'float32'> {
  const hash = hashName(key);
  const data = new Float32Array(shape.reduce((size, dim) => size * dim, 1));
  for (let i = 0; i < data.length; i++) {
    const u = mix32(hash + Math.imul(i, 0x9e3779b9)) / 2 ** 31 - 1;
    data[i] = center + scale * u;
  }
  return { dtype: 'float32', shape, data };
}
