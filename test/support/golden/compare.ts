import type { Tensor } from '../../../lib/graph/types.ts';

/** One line of the golden report. */
export interface Comparison {
  readonly what: string;
  readonly error: number;
  readonly tolerance: number;
}

/** Named tolerances of shared/golden: relative errors, and differences in exact things. */
export const tolerances = { float32: 1e-4, gradient: 1e-3, adamw: 1e-4, exact: 0 } as const;

export const agrees = ({ error, tolerance }: Comparison): boolean => error <= tolerance;

/** A tensor as a golden file keeps it. */
export interface Summary {
  readonly shape: readonly number[];
  readonly mean: number;
  readonly l2: number;
  readonly at: readonly number[];
  readonly values: readonly number[];
}

/**
 * The worst of three relative errors, all against the tensor's L2 norm: of the norm itself, of the mean
 * (as the share of the norm that a constant offset would have), and of the kept values.
 */
export function compareTensor(
  what: string,
  actual: Tensor | undefined,
  expected: Summary,
  tolerance: number,
): Comparison {
  if (!actual || String(actual.shape) !== String(expected.shape)) {
    const shape = actual ? `is [${String(actual.shape)}]` : 'is missing';
    return {
      what: `${what} ${shape}, expected [${String(expected.shape)}]`,
      error: Infinity,
      tolerance,
    };
  }
  const data = actual.data as Float32Array;
  let [sum, squares] = [0, 0];
  for (const x of data) {
    sum += x;
    squares += x * x;
  }
  const count = data.length;
  const norm = expected.l2 || 1;
  let difference = 0;
  expected.at.forEach((index, i) => {
    difference += ((data[index] ?? NaN) - (expected.values[i] ?? NaN)) ** 2;
  });
  const errors = [
    Math.abs(Math.sqrt(squares) - expected.l2) / norm,
    (Math.abs(sum / count - expected.mean) * Math.sqrt(count)) / norm,
    Math.sqrt(difference) / (norm * Math.sqrt(expected.at.length / count)),
  ];
  const worst = errors.some(Number.isNaN) ? Infinity : Math.max(...errors);
  return { what, error: worst, tolerance };
}

export const compareNumber = (
  what: string,
  actual: number | undefined,
  expected: number,
  tolerance: number,
): Comparison => {
  const error = Math.abs((actual ?? NaN) - expected) / Math.max(Math.abs(expected), 1e-12);
  return { what, error: Number.isNaN(error) ? Infinity : error, tolerance };
};

/** How many entries of two lists differ; nothing may. */
export function compareExactly(
  what: string,
  actual: readonly unknown[],
  expected: readonly unknown[],
): Comparison {
  const length = Math.max(actual.length, expected.length);
  const wrong = Array.from({ length }, (_, i) => actual[i] !== expected[i]).filter(Boolean);
  return { what, error: wrong.length, tolerance: tolerances.exact };
}
