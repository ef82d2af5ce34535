import { o } from './build.ts';
import type { Schedule } from './schedule.ts';
import type { Dtype } from './types.ts';
import { GraphError, type Value } from './value.ts';

/** A tensor that training carries from step to step. */
export interface CarriedTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** The initial value of all its elements; parameters start from their weights instead. */
  readonly initial?: number;
}

interface UpdateContext {
  /** The parameters, in the order of the updates. */
  readonly parameters: readonly Value[];
  /** Optimizer steps done before this one, float32 scalar. */
  readonly step: Value;
  /** Global L2 norm of the gradients before any transform, float32 scalar. */
  readonly gradientNorm: Value;
}

/**
 * A step from gradients to updates, made of smaller ones (the design of Optax). The last transform's
 * updates are added to the parameters.
 */
export interface GradientTransform {
  /** State for parameters of these names and shapes. */
  state(parameters: readonly Value[]): readonly CarriedTensor[];
  update(
    updates: readonly Value[],
    state: readonly Value[],
    context: UpdateContext,
  ): { readonly updates: readonly Value[]; readonly state: readonly Value[] };
}

/** A setting of each parameter, by its name: a parameter group is a function of the name. */
type PerParameter<T> = (name: string) => T;

export function nameOf(parameter: Value): string {
  if (parameter.source.kind !== 'parameter') throw new GraphError('expected a parameter');
  return parameter.source.name;
}

const shapeOf = (parameter: Value): readonly number[] => parameter.shape.map(Number);

const stateless = (
  each: (update: Value, parameter: Value, context: UpdateContext) => Value,
): GradientTransform => ({
  state: () => [],
  update: (updates, state, context) => ({
    updates: updates.map((update, i) => each(update, parameterAt(context, i), context)),
    state,
  }),
});

function parameterAt({ parameters }: Pick<UpdateContext, 'parameters'>, index: number): Value {
  const parameter = parameters[index];
  if (!parameter) throw new GraphError(`update ${index} has no parameter`);
  return parameter;
}

/** Applies transforms one after another. */
export function chain(...transforms: readonly GradientTransform[]): GradientTransform {
  return {
    state: (parameters) => transforms.flatMap((transform) => transform.state(parameters)),
    update: (updates, state, context) => {
      let current = updates;
      let offset = 0;
      const next = transforms.flatMap((transform) => {
        const size = transform.state(context.parameters).length;
        const result = transform.update(current, state.slice(offset, offset + size), context);
        offset += size;
        current = result.updates;
        return result.state;
      });
      return { updates: current, state: next };
    },
  };
}

/** Scales all gradients so that their global L2 norm is at most `maxNorm` (Pascanu et al. 2013). */
export const clipByGlobalNorm = (maxNorm: number): GradientTransform =>
  stateless((update, _, { gradientNorm }) =>
    o.Mul(update, o.Div(maxNorm, o.Max(gradientNorm, maxNorm))),
  );

/** Adam's direction with bias correction (Kingma & Ba 2015), before the learning rate. */
export function scaleByAdam({
  beta1 = 0.9,
  beta2 = 0.999,
  epsilon = 1e-8,
} = {}): GradientTransform {
  return {
    state: (parameters) =>
      ['first', 'second'].flatMap((moment) =>
        parameters.map((parameter) => ({
          name: `adam.${moment}.${nameOf(parameter)}`,
          dtype: parameter.dtype,
          shape: shapeOf(parameter),
          initial: 0,
        })),
      ),
    update: (updates, state, { step }) => {
      const count = updates.length;
      const power = o.Add(step, 1);
      const correction1 = o.Sub(1, o.Pow(asBase(beta1, power), power));
      const root2 = o.Sqrt(o.Sub(1, o.Pow(asBase(beta2, power), power)));
      // m/c1 / (sqrt(v/c2) + eps) with the corrections gathered into scalars.
      const scale = o.Div(root2, correction1);
      const floor = o.Mul(root2, epsilon);
      const blend = (old: Value | undefined, fresh: Value, beta: number): Value =>
        o.Add(o.Mul(old ?? fresh, beta), o.Mul(fresh, 1 - beta));
      const first = updates.map((g, i) => blend(state[i], g, beta1));
      const second = updates.map((g, i) => blend(state[count + i], o.Mul(g, g), beta2));
      const directions = first.map((m, i) =>
        o.Mul(o.Div(m, o.Add(o.Sqrt(second[i] ?? m), floor)), scale),
      );
      return { updates: directions, state: [...first, ...second] };
    },
  };
}

const asBase = (base: number, like: Value): Value => o.full([], base, like.dtype);

/** Newton-Schulz iterations, and the coefficients that bring singular values near 1 in five of them. */
const iterations = 5;
const [cubic0, cubic1, cubic2] = [3.4445, -4.775, 2.0315];

/** The orthogonal matrix nearest to x [rows, columns]: all its singular values near 1. */
function orthogonalized(x: Value): Value {
  const [rows, columns] = x.shape.map(Number) as [number, number];
  // The Gram matrix is computed on the smaller side.
  const isTall = rows > columns;
  let y = isTall ? o.Transpose(x, [1, 0]) : x;
  y = o.Div(y, o.Add(o.Sqrt(o.ReduceSumSquare(y)), 1e-7));
  for (let i = 0; i < iterations; i++) {
    const gram = o.MatMul(y, o.Transpose(y, [1, 0]));
    const square = o.Add(o.Mul(gram, cubic1), o.Mul(o.MatMul(gram, gram), cubic2));
    y = o.Add(o.Mul(y, cubic0), o.MatMul(square, y));
  }
  return isTall ? o.Transpose(y, [1, 0]) : y;
}

/**
 * Muon (Jordan et al. 2024): momentum whose update is orthogonalized, for matrices inside a network. Its
 * steps are as large as Adam's (the factor of Liu et al. 2025), so they share a learning rate.
 */
const scaleByMuon = ({ momentum = 0.95 } = {}): GradientTransform => ({
  state: (parameters) =>
    parameters.map((parameter) => ({
      name: `muon.${nameOf(parameter)}`,
      dtype: parameter.dtype,
      shape: shapeOf(parameter),
      initial: 0,
    })),
  update: (updates, state, { parameters }) => {
    const next = updates.map((update, i) => o.Add(o.Mul(state[i] ?? update, momentum), update));
    const directions = updates.map((update, i) => {
      const shape = shapeOf(parameters[i] ?? update);
      if (shape.length !== 2) throw new GraphError('muon updates matrices only');
      const nesterov = o.Add(update, o.Mul(next[i] ?? update, momentum));
      return o.Mul(orthogonalized(nesterov), 0.2 * Math.sqrt(Math.max(...shape)));
    });
    return { updates: directions, state: next };
  },
});

/** One transform for the parameters that `chosen` selects, another for the rest. */
function split(
  chosen: PerParameter<boolean>,
  yes: GradientTransform,
  no: GradientTransform,
): GradientTransform {
  const part = <T>(all: readonly T[], parameters: readonly Value[], wanted: boolean): T[] =>
    all.filter((_, i) => chosen(nameOf(parameterAt({ parameters }, i))) === wanted);
  return {
    state: (parameters) => [
      ...yes.state(part(parameters, parameters, true)),
      ...no.state(part(parameters, parameters, false)),
    ],
    update: (updates, state, context) => {
      const { parameters } = context;
      const size = yes.state(part(parameters, parameters, true)).length;
      const results = [true, false].map((wanted) => {
        const own = { ...context, parameters: part(parameters, parameters, wanted) };
        const held = wanted ? state.slice(0, size) : state.slice(size);
        return (wanted ? yes : no).update(part(updates, parameters, wanted), held, own);
      });
      const queues = results.map((result) => [...result.updates]);
      return {
        updates: parameters.map(
          (parameter) => queues[chosen(nameOf(parameter)) ? 0 : 1]?.shift() ?? parameter,
        ),
        state: results.flatMap((result) => result.state),
      };
    },
  };
}

/** Decoupled weight decay (Loshchilov & Hutter 2019): adds decay * parameter to the direction. */
export const addDecayedWeights = (decay: PerParameter<number>): GradientTransform =>
  stateless((update, parameter) => {
    const rate = decay(nameOf(parameter));
    return rate === 0 ? update : o.Add(update, o.Mul(parameter, rate));
  });

/** Turns directions into steps downhill, at each parameter's own learning rate. */
export const scaleBySchedule = (schedule: PerParameter<Schedule>): GradientTransform =>
  stateless((update, parameter, { step }) =>
    o.Mul(update, o.Neg(schedule(nameOf(parameter))(step))),
  );

export interface AdamWOptions {
  readonly learningRate: PerParameter<Schedule>;
  readonly weightDecay?: PerParameter<number>;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  /** Global-norm clipping. Default: none. */
  readonly maxNorm?: number;
  /** Matrices that Muon updates instead of Adam. */
  readonly muon?: PerParameter<boolean>;
}

/** AdamW with parameter groups: rates and decays are functions of the parameter's name. */
export function adamw({
  learningRate,
  weightDecay,
  maxNorm,
  muon,
  ...moments
}: AdamWOptions): GradientTransform {
  return chain(
    ...(maxNorm === undefined ? [] : [clipByGlobalNorm(maxNorm)]),
    muon ? split(muon, scaleByMuon(), scaleByAdam(moments)) : scaleByAdam(moments),
    ...(weightDecay ? [addDecayedWeights(weightDecay)] : []),
    scaleBySchedule(learningRate),
  );
}

/** sqrt of the sum over all tensors of their squares, float32 scalar. */
export function globalNorm(values: readonly Value[]): Value {
  const [first, ...rest] = values.map((value) => o.ReduceSumSquare(o.Cast(value, 'float32')));
  if (!first) throw new GraphError('the norm of no tensors');
  return o.Sqrt(rest.reduce((sum, square) => o.Add(sum, square), first));
}
