import { invalidArgument } from '../../errors.ts';
import { randomFrom } from './random.ts';

export interface Measured {
  readonly value: number;
  /** Bounds of the confidence interval. */
  readonly low: number;
  readonly high: number;
}

export interface BootstrapOptions {
  readonly seed: number;
  /** Resamples. Default: 1000; 0 gives no intervals (both bounds are the value). */
  readonly samples?: number;
  /** Confidence level. Default: 0.95. */
  readonly level?: number;
}

/**
 * Figures of a list of items, each with its percentile bootstrap interval (Efron 1979): the items are
 * drawn again with replacement, all figures of one draw from the same items.
 */
export function bootstrap<T, Name extends string>(
  items: readonly T[],
  figures: (items: readonly T[]) => Readonly<Record<Name, number>>,
  { seed, samples = 1000, level = 0.95 }: BootstrapOptions,
): Record<Name, Measured> {
  if (!(Number.isInteger(samples) && samples >= 0)) {
    throw invalidArgument('BOOTSTRAP_RANGE', 'samples', `got ${samples}, expected 0 or more`);
  }
  if (!(level > 0 && level < 1)) {
    throw invalidArgument('BOOTSTRAP_RANGE', 'level', `got ${level}, expected between 0 and 1`);
  }
  const random = randomFrom(seed);
  const values = figures(items);
  const names = Object.keys(values) as Name[];
  const drawn = names.map(() => new Float64Array(samples));
  for (let sample = 0; sample < samples; sample++) {
    const draw = items.map(() => items[Math.floor(random() * items.length)] as T);
    const figure = figures(draw);
    for (const [at, name] of names.entries()) (drawn[at] as Float64Array)[sample] = figure[name];
  }
  const measured = names.map((name, at): [Name, Measured] => {
    const sorted = (drawn[at] as Float64Array).toSorted();
    const value = values[name];
    const bound = (share: number) => quantile(sorted, share) ?? value;
    return [name, { value, low: bound((1 - level) / 2), high: bound((1 + level) / 2) }];
  });
  return Object.fromEntries(measured) as Record<Name, Measured>;
}

/** Between the two nearest of the sorted values. */
function quantile(sorted: Float64Array, share: number): number | undefined {
  const at = share * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  if (below === undefined || above === undefined) return undefined;
  return below + (above - below) * (at - Math.floor(at));
}
