import { o } from './build.ts';
import { GraphError, type Value, scalar } from './value.ts';

/** Learning rate as a function of the optimizer step (float32 scalar, counted from 0). */
export type Schedule = (step: Value) => Value;

export const constantSchedule =
  (rate: number): Schedule =>
  () =>
    scalar(rate, 'float32');

const clamp = (x: Value, low: number, high: number): Value => o.Min(o.Max(x, low), high);

/** Progress from 0 at `start` to 1 at `end`, clamped. */
function progress(step: Value, start: number, end: number): Value {
  if (!(end > start)) throw new GraphError(`a schedule must end after ${start}, got ${end}`);
  return clamp(o.Div(o.Sub(step, start), end - start), 0, 1);
}

/** From `first` at step 0 to `last` at step `steps`, then constant. */
export const linearSchedule =
  (first: number, last: number, steps: number): Schedule =>
  (step) =>
    o.Add(o.Mul(progress(step, 0, steps), last - first), first);

/**
 * Linear warm-up to `peak`, then half a cosine down to `floor` at `totalSteps` (Loshchilov & Hutter
 * 2017). The first of `warmupSteps` steps is already above 0.
 */
export const cosineSchedule =
  ({
    peak,
    floor,
    warmupSteps,
    totalSteps,
  }: {
    peak: number;
    floor: number;
    warmupSteps: number;
    totalSteps: number;
  }): Schedule =>
  (step) => {
    const cosine = o.Cos(o.Mul(progress(step, warmupSteps, totalSteps), Math.PI));
    const decayed = o.Add(o.Mul(cosine, (peak - floor) / 2), (peak + floor) / 2);
    if (warmupSteps === 0) return decayed;
    const warm = o.Mul(o.Add(step, 1), peak / warmupSteps);
    return o.Where(o.Less(step, warmupSteps), warm, decayed);
  };
