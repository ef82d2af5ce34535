import { backward } from './backward.ts';
import { o } from './build.ts';
import { deriveKey } from './functions.ts';
import { type CarriedTensor, type GradientTransform, globalNorm, nameOf } from './optimizer.ts';
import { optimize } from './passes.ts';
import { mixedPrecision } from './precision.ts';
import { type Graph, GraphError, type Type, type Value, input, scalar } from './value.ts';

/** The results of one micro-batch. */
interface ForwardResult {
  /** Float scalar: the mean over the micro-batch. */
  readonly loss: Value;
  /** The scalars that `TrainingProgramOptions.metrics` names. */
  readonly metrics?: Readonly<Record<string, Value>>;
  /** New values of buffers, such as running statistics, by the parameter that holds them. */
  readonly buffers?: ReadonlyMap<Value, Value>;
}

interface LossScaleOptions {
  readonly initial: number;
  /** Steps without a non-finite gradient after which the scale doubles. */
  readonly growthInterval: number;
}

export interface TrainingProgramOptions {
  /** The batch inputs of one micro-batch: name, dtype, shape. */
  readonly inputs: Readonly<Record<string, Type>>;
  /** Builds the loss of a micro-batch. `key` (uint32 scalar) differs for each; dropout derives from it. */
  readonly forward: (batch: Readonly<Record<string, Value>>, key: Value) => ForwardResult;
  /** The trained parameters. Every other one is frozen and nothing is computed for its gradient. */
  readonly trainable: readonly Value[];
  /** Parameters that `forward` updates itself, such as running statistics. */
  readonly buffers?: readonly Value[];
  readonly optimizer: GradientTransform;
  /** Names of further scalars that `forward` gives, averaged over the micro-batches of a step. */
  readonly metrics?: readonly string[];
  /** Micro-batches per optimizer step. */
  readonly accumulation?: number;
  /** Mixed precision: fp16 compute, fp32 master weights, dynamic loss scaling. */
  readonly lossScale?: LossScaleOptions;
}

export interface TrainingProgram {
  /**
   * Inputs: `steps` (int64 scalar), `seed` (uint32 scalar), the batch inputs with a leading axis of
   * steps * accumulation micro-batches, the carried tensors. Outputs: per step `losses`,
   * `gradientNorms`, `finite`, `metrics.{name}`, and `next.{name}` of every carried tensor, to be fed
   * to the next run as `{name}`.
   */
  readonly graph: Graph;
  readonly carried: readonly CarriedTensor[];
}

export const nextOf = (name: string): string => `next.${name}`;

interface Micro {
  readonly loss: Value;
  readonly metrics: readonly Value[];
  readonly gradients: readonly Value[];
  readonly buffers: readonly Value[];
}

/**
 * Training as one graph: a Loop over optimizer steps that carries parameters and optimizer state, so
 * that only the requested outputs are copied into JavaScript. A step whose gradients are not all finite leaves
 * parameters, buffers and optimizer state untouched and halves the loss scale.
 */
export function trainingProgram(options: TrainingProgramOptions): TrainingProgram {
  const { trainable, buffers = [], optimizer, metrics = [], accumulation = 1 } = options;
  if (trainable.length === 0) throw new GraphError('nothing to train: every parameter is frozen');
  const spec = (value: Value): CarriedTensor => ({
    name: nameOf(value),
    dtype: value.dtype,
    shape: value.shape.map(Number),
  });
  const counters: CarriedTensor[] = [
    { name: 'step', dtype: 'int64', shape: [], initial: 0 },
    { name: 'lossScale', dtype: 'float32', shape: [], initial: options.lossScale?.initial ?? 1 },
    { name: 'stableSteps', dtype: 'int64', shape: [], initial: 0 },
  ];
  const carried = [
    ...counters,
    ...trainable.map(spec),
    ...buffers.map(spec),
    ...optimizer.state(trainable),
  ];

  const steps = input('steps', 'int64', []);
  const seed = input('seed', 'uint32', []);
  const stacked = Object.entries(options.inputs).map(([name, { dtype, shape }]) =>
    input(name, dtype, ['microBatches', ...shape]),
  );
  const fed = carried.map(({ name, dtype, shape }, i) => {
    const own = [...trainable, ...buffers][i - counters.length];
    return own ?? input(name, dtype, shape);
  });

  const loop = o.Loop(
    steps,
    fed,
    (iteration, state) => {
      const pick = stateReader(state, [counters.length, trainable.length, buffers.length]);
      return trainingStep(options, {
        ...pick,
        iteration,
        seed,
        stacked,
        accumulation,
      });
    },
    fed,
  );
  const reported = [
    'losses',
    'gradientNorms',
    'finite',
    ...metrics.map((name) => `metrics.${name}`),
  ];
  const outputs = [
    ...reported.map((name, i) => ({ name, value: loop.scans[i] })),
    ...carried.map(({ name }, i) => ({ name: nextOf(name), value: loop.carried[i] })),
  ].filter((output): output is { name: string; value: Value } => output.value !== undefined);
  return { graph: optimize({ inputs: [steps, seed, ...stacked, ...fed], outputs }), carried };
}

interface StepState {
  readonly step: Value;
  readonly lossScale: Value;
  readonly stableSteps: Value;
  readonly trainable: readonly Value[];
  readonly buffers: readonly Value[];
  readonly moments: readonly Value[];
}

function stateReader(state: readonly Value[], sizes: readonly [number, number, number]): StepState {
  const [step, lossScale, stableSteps] = state;
  if (!step || !lossScale || !stableSteps) throw new GraphError('the counters are missing');
  const [first, second] = [sizes[0] + sizes[1], sizes[0] + sizes[1] + sizes[2]];
  return {
    step,
    lossScale,
    stableSteps,
    trainable: state.slice(sizes[0], first),
    buffers: state.slice(first, second),
    moments: state.slice(second),
  };
}

interface StepContext extends StepState {
  readonly iteration: Value;
  readonly seed: Value;
  readonly stacked: readonly Value[];
  readonly accumulation: number;
}

function trainingStep(
  options: TrainingProgramOptions,
  context: StepContext,
): { carried: readonly Value[]; scans: readonly Value[] } {
  const { step, lossScale, trainable, buffers, moments } = context;
  const { loss, metrics, gradients: scaled, buffers: nextBuffers } = accumulate(options, context);
  const inverse = o.Reciprocal(lossScale);
  const gradients = scaled.map((gradient) => o.Mul(gradient, inverse));
  // From the scaled gradients, which saves a pass over all parameters.
  const gradientNorm = o.Mul(globalNorm(scaled), inverse);
  // A sum of squares is finite only if every gradient is (or overflows, which must not be applied).
  const finite = o.Not(o.Or(o.IsNaN(gradientNorm), o.IsInf(gradientNorm)));

  // All of them are leaves: the branches read them directly, and a skipped step returns them unchanged.
  const before = [...trainable, ...buffers, ...moments];
  const computed = [o.Cast(step, 'float32'), gradientNorm, ...gradients, ...nextBuffers];
  const applied = o.If(
    finite,
    [...computed, ...before],
    ([number, norm, ...rest]) => {
      if (!number || !norm) throw new GraphError('a branch has no operands');
      const given = rest.slice(0, gradients.length);
      const fresh = rest.slice(gradients.length, gradients.length + nextBuffers.length);
      const update = { parameters: trainable, step: number, gradientNorm: norm };
      const { updates, state } = options.optimizer.update(given, moments, update);
      const moved = trainable.map((parameter, k) => o.Add(parameter, updates[k] ?? 0));
      return [...moved, ...fresh, ...state];
    },
    () => before,
  );

  return {
    carried: [
      o.Add(step, o.Cast(finite, 'int64')),
      ...nextScale(options, context, finite),
      ...applied,
    ],
    scans: [loss, gradientNorm, finite, ...metrics],
  };
}

/** The loss scale and the count of steps it held: halved after a skipped step, doubled when steady. */
function nextScale(
  { lossScale: scaling }: TrainingProgramOptions,
  { lossScale, stableSteps }: StepContext,
  finite: Value,
): readonly [Value, Value] {
  const steady = o.Add(stableSteps, 1);
  if (!scaling) return [lossScale, o.Where(finite, steady, 0)];
  const grow = o.Not(o.Less(steady, scaling.growthInterval));
  const halved = o.Max(o.Mul(lossScale, 0.5), 1);
  return [
    o.Where(finite, o.Where(grow, o.Mul(lossScale, 2), lossScale), halved),
    o.Where(finite, o.Where(grow, 0, steady), 0),
  ];
}

/** One micro-batch: taken from the stack, run forward and, for a scaled loss, backward. */
function microBatch(options: TrainingProgramOptions, context: StepContext, micro: Value): Micro {
  const { step, seed, stacked, trainable, buffers, iteration, accumulation } = context;
  const index = o.Add(o.Mul(iteration, accumulation), micro);
  const batch = Object.keys(options.inputs).map((name, i) => {
    const stack = stacked[i];
    if (!stack) throw new GraphError(`batch input ${name} is missing`);
    return [name, o.Gather(stack, index, 0)] as const;
  });
  const key = deriveKey(deriveKey(seed, o.Cast(step, 'uint32')), o.Cast(micro, 'uint32'));
  const { loss, metrics, buffers: updated } = options.forward(Object.fromEntries(batch), key);
  const reported = (options.metrics ?? []).map((name) => {
    const value = metrics?.[name];
    if (!value) throw new GraphError(`forward gave no metric ${name}`);
    return value;
  });
  const results = [loss, ...reported, ...buffers.map((leaf) => updated?.get(leaf) ?? leaf)];
  const forward: Graph = {
    inputs: [],
    outputs: results.map((value, i) => ({ name: String(i), value })),
  };
  const [head, ...rest] = (options.lossScale ? mixedPrecision(forward) : forward).outputs.map(
    ({ value }) => value,
  );
  if (!head) throw new GraphError('forward gave no loss');
  const scale = o.Div(context.lossScale, accumulation);
  return {
    loss: head,
    metrics: rest.slice(0, reported.length),
    gradients: backward(head, trainable, o.Cast(scale, head.dtype)),
    buffers: rest.slice(reported.length),
  };
}

/** Sums gradients over the micro-batches of a step, in an inner Loop so that one is alive at a time. */
function accumulate(options: TrainingProgramOptions, context: StepContext): Micro {
  const { accumulation, trainable, buffers } = context;
  if (accumulation === 1) return microBatch(options, context, scalar(0, 'int64'));
  const count = 1 + (options.metrics ?? []).length;
  const zeros = [
    ...Array.from({ length: count }, () => scalar(0, 'float32')),
    ...trainable.map((parameter) =>
      o.Expand(scalar(0, parameter.dtype), parameter.shape.map(Number)),
    ),
  ];
  const leaves = [
    ...zeros.map((value, i) => input(`sum${i}`, value.dtype, value.shape)),
    ...buffers,
  ];
  const { carried } = o.Loop(
    accumulation,
    [...zeros, ...buffers],
    (micro, state) => {
      const { loss, metrics, gradients, buffers: next } = microBatch(options, context, micro);
      const shares = [loss, ...metrics].map((value) =>
        o.Div(o.Cast(value, 'float32'), accumulation),
      );
      const sums = [...shares, ...gradients].map((value, i) => o.Add(state[i] ?? value, value));
      return { carried: [...sums, ...next] };
    },
    leaves,
  );
  const [loss, ...rest] = carried;
  if (!loss) throw new GraphError('the accumulation has no loss');
  return {
    loss,
    metrics: rest.slice(0, count - 1),
    gradients: rest.slice(count - 1, count - 1 + trainable.length),
    buffers: rest.slice(count - 1 + trainable.length),
  };
}
