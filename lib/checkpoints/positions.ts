import type { Tensor } from '../graph/types.ts';

/** Keys' cubic convolution (1981) with a = -0.75, as PyTorch has it: weights of 4 neighbours. */
function cubicWeights(t: number): readonly [number, number, number, number] {
  const a = -0.75;
  const near = (x: number): number => ((a + 2) * x - (a + 3)) * x * x + 1;
  const far = (x: number): number => ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return [far(t + 1), near(t), near(1 - t), far(2 - t)];
}

/** For each of `size` positions: the 4 source positions that it mixes, and their weights. */
function taps(
  source: number,
  size: number,
): { readonly at: number[]; readonly weight: number[] }[] {
  return Array.from({ length: size }, (_, i) => {
    // align_corners false: pixel centres lie at half units.
    const position = ((i + 0.5) * source) / size - 0.5;
    const base = Math.floor(position);
    const clamp = (x: number): number => Math.min(Math.max(x, 0), source - 1);
    return {
      at: [-1, 0, 1, 2].map((offset) => clamp(base + offset)),
      weight: [...cubicWeights(position - base)],
    };
  });
}

/** The side of the square grid behind `1 + side * side` positions, or undefined. */
export function gridSide(positions: number): number | undefined {
  const side = Math.sqrt(positions - 1);
  return Number.isInteger(side) && side > 0 ? side : undefined;
}

/**
 * Position embeddings [1, 1 + from * from, width] for another grid, [1, 1 + to * to, width]: CLS is
 * kept, the grid is interpolated bicubically (align_corners false, a = -0.75) as Hugging Face's ViT does.
 */
export function interpolatePositions(
  { shape, data }: Tensor<'float32'>,
  to: number,
): Tensor<'float32'> {
  const width = shape[2] as number;
  const from = gridSide(shape[1] as number) as number;
  const result = new Float32Array((1 + to * to) * width);
  result.set(data.subarray(0, width));
  const lines = taps(from, to);
  lines.forEach((row, y) => {
    lines.forEach((column, x) => {
      const out = (1 + y * to + x) * width;
      for (let c = 0; c < width; c++) {
        let sum = 0;
        for (let j = 0; j < 4; j++) {
          const line = (1 + (row.at[j] as number) * from) * width + c;
          let inner = 0;
          for (let i = 0; i < 4; i++) {
            inner +=
              (column.weight[i] as number) *
              (data[line + (column.at[i] as number) * width] as number);
          }
          sum += (row.weight[j] as number) * inner;
        }
        result[out + c] = sum;
      }
    });
  });
  return { dtype: 'float32', shape: [1, 1 + to * to, width], data: result };
}
