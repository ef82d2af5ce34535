import test from 'ava';
import { o } from '../lib/graph/build.ts';
import { batchNormTraining, dropout, linear } from '../lib/graph/functions.ts';
import { meanSquaredError } from '../lib/graph/losses.ts';
import {
  addDecayedWeights,
  adamw,
  chain,
  clipByGlobalNorm,
  type GradientTransform,
  scaleByAdam,
  scaleBySchedule,
} from '../lib/graph/optimizer.ts';
import {
  type TrainingProgram,
  type TrainingProgramOptions,
  nextOf,
  trainingProgram,
} from '../lib/graph/program.ts';
import {
  type Schedule,
  constantSchedule,
  cosineSchedule,
  linearSchedule,
} from '../lib/graph/schedule.ts';
import type { Tensor } from '../lib/graph/types.ts';
import { input, parameter, scalar } from '../lib/graph/value.ts';
import { compile, graphOf, numbers, runGraph, tensor, uniform } from './support/engine.ts';

const weights = { w1: [16, 4], b1: [16], w2: [1, 16] } as const;
const w1 = parameter('w1', weights.w1);
const b1 = parameter('b1', weights.b1);
const w2 = parameter('w2', weights.w2);
const rows = 8;

/** A two-layer perceptron with dropout learns a smooth function of four numbers. */
const perceptron = (changes: Partial<TrainingProgramOptions> = {}): TrainingProgramOptions => ({
  inputs: {
    x: { dtype: 'float32', shape: ['rows', 4] },
    target: { dtype: 'float32', shape: ['rows', 1] },
  },
  forward: ({ x, target }, key) => {
    if (!x || !target) throw new RangeError('no batch');
    const hidden = dropout(o.Tanh(linear(x, w1, b1)), 0.1, key);
    return { loss: meanSquaredError(linear(hidden, w2), target) };
  },
  trainable: [w1, b1, w2],
  optimizer: adamw({
    learningRate: () => constantSchedule(1e-2),
    weightDecay: () => 0.01,
    maxNorm: 1,
  }),
  ...changes,
});

function data(microBatches: number, seed = 3): Record<string, Tensor> {
  const random = uniform(seed);
  const x = Array.from({ length: microBatches * rows * 4 }, random);
  const target = Array.from({ length: microBatches * rows }, (_, i) => {
    const [a = 0, b = 0, c = 0, d = 0] = x.slice(4 * i, 4 * i + 4);
    return Math.sin(2 * a) + b * c - d;
  });
  return {
    x: tensor(x, [microBatches, rows, 4]),
    target: tensor(target, [microBatches, rows, 1]),
  };
}

type State = Record<string, Tensor>;

function initialState({ carried }: TrainingProgram, seed = 5): State {
  const random = uniform(seed);
  return Object.fromEntries(
    carried.map(({ name, dtype, shape, initial }) => {
      const size = shape.reduce((product, dim) => product * dim, 1);
      const values = Array.from({ length: size }, () => initial ?? random() * 0.5);
      return [name, tensor(values, shape, dtype)];
    }),
  );
}

const stateAfter = ({ carried }: TrainingProgram, results: State): State =>
  Object.fromEntries(carried.map(({ name }) => [name, results[nextOf(name)] as Tensor]));

const controls = (steps: number): State => ({
  steps: tensor([steps], [], 'int64'),
  seed: tensor([11], [], 'uint32'),
});

const slice = (stack: Tensor, from: number, count: number): Tensor => {
  const each = stack.data.length / (stack.shape[0] ?? 1);
  return tensor(
    numbers(stack).slice(from * each, (from + count) * each),
    [count, ...stack.shape.slice(1)],
    stack.dtype,
  );
};

test('a loop of K steps is K separate runs, bit for bit on one thread', async (t) => {
  const accumulation = 2;
  const program = trainingProgram(perceptron({ accumulation }));
  const session = await compile(program.graph);
  t.teardown(() => session.release());
  const [steps, batches] = [6, data(6 * accumulation)];
  const together = await session.run({ ...controls(steps), ...batches, ...initialState(program) });

  let state = initialState(program);
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    const batch = Object.fromEntries(
      Object.entries(batches).map(([name, stack]) => [
        name,
        slice(stack, step * accumulation, accumulation),
      ]),
    );
    const results = await session.run({ ...controls(1), ...batch, ...state });
    losses.push(...numbers(results['losses']));
    state = stateAfter(program, results);
  }
  t.deepEqual(losses, numbers(together['losses']));
  t.deepEqual(state, stateAfter(program, together));
});

test('training lowers the loss and reports a finite gradient norm for every step', async (t) => {
  const program = trainingProgram(perceptron());
  const steps = 300;
  const results = await runGraph(program.graph, {
    ...controls(steps),
    ...data(steps),
    ...initialState(program),
  });
  const losses = numbers(results['losses']);
  const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
  t.true(mean(losses.slice(-20)) < 0.5 * mean(losses.slice(0, 20)));
  t.is(losses.length, steps);
  t.true(numbers(results['gradientNorms']).every((norm) => norm > 0 && Number.isFinite(norm)));
  t.deepEqual(numbers(results[nextOf('step')]), [steps]);
});

test('accumulating micro-batches gives the step of the joined batch', async (t) => {
  // Dropout draws per micro-batch, so it is left out here.
  const plain: Partial<TrainingProgramOptions> = {
    forward: ({ x, target }) => {
      if (!x || !target) throw new RangeError('no batch');
      const loss = meanSquaredError(linear(o.Tanh(linear(x, w1, b1)), w2), target);
      return { loss, metrics: { double: o.Mul(loss, 2) } };
    },
    metrics: ['double'],
  };
  const split = trainingProgram(perceptron({ ...plain, accumulation: 4 }));
  const whole = trainingProgram(perceptron(plain));
  const batches = data(4);
  const joined = {
    x: tensor(numbers(batches['x']), [1, 4 * rows, 4]),
    target: tensor(numbers(batches['target']), [1, 4 * rows, 1]),
  };
  const a = await runGraph(split.graph, { ...controls(1), ...batches, ...initialState(split) });
  const b = await runGraph(whole.graph, { ...controls(1), ...joined, ...initialState(whole) });
  for (const name of ['losses', 'gradientNorms', 'metrics.double', nextOf('adam.first.w1')]) {
    numbers(a[name]).forEach((value, i) => {
      t.true(Math.abs(value - (numbers(b[name])[i] ?? Number.NaN)) < 1e-5, `${name}[${i}]`);
    });
  }
});

test('mixed precision reaches the loss of float32 within 5 percent', async (t) => {
  const steps = 200;
  const losses: number[] = [];
  for (const lossScale of [undefined, { initial: 1024, growthInterval: 50 }]) {
    const program = trainingProgram(perceptron(lossScale ? { lossScale } : {}));
    const results = await runGraph(program.graph, {
      ...controls(steps),
      ...data(steps),
      ...initialState(program),
    });
    const last = numbers(results['losses']).slice(-20);
    losses.push(last.reduce((a, b) => a + b, 0) / last.length);
    if (lossScale) t.deepEqual(numbers(results[nextOf('lossScale')]), [1024 * 2 ** 4]);
    t.true(numbers(results['finite']).every((finite) => finite === 1));
  }
  const [full = 0, half = 0] = losses;
  t.true(Math.abs(half - full) < 0.05 * full, `float32 ${full}, mixed ${half}`);
});

test('a step with an infinite gradient is skipped, halves the scale, and training goes on', async (t) => {
  const lossScale = { initial: 64, growthInterval: 1000 };
  const program = trainingProgram(perceptron({ lossScale }));
  const batches = data(3);
  const poisoned = numbers(batches['x']);
  poisoned[rows * 4] = Infinity;
  const feeds = { ...batches, x: tensor(poisoned, [3, rows, 4]) };
  const results = await runGraph(program.graph, {
    ...controls(3),
    ...feeds,
    ...initialState(program),
  });
  t.deepEqual(numbers(results['finite']), [1, 0, 1]);
  t.deepEqual(numbers(results[nextOf('lossScale')]), [32]);
  t.deepEqual(numbers(results[nextOf('step')]), [2]);
  t.true(numbers(results[nextOf('w1')]).every(Number.isFinite));

  const alone = await runGraph(program.graph, {
    ...controls(1),
    x: slice(feeds.x, 1, 1),
    target: slice(batches['target'] as Tensor, 1, 1),
    ...initialState(program),
  });
  const before = initialState(program);
  for (const name of ['w1', 'b1', 'w2', 'adam.first.w1', 'adam.second.w2']) {
    t.deepEqual(alone[nextOf(name)], before[name], name);
  }
});

test('running statistics are carried as buffers and follow the batches', async (t) => {
  const scale = parameter('bn.weight', [2]);
  const bias = parameter('bn.bias', [2]);
  const runningMean = parameter('bn.running_mean', [2]);
  const runningVariance = parameter('bn.running_var', [2]);
  const program = trainingProgram({
    inputs: { x: { dtype: 'float32', shape: ['n', 2, 2, 2] } },
    forward: ({ x }) => {
      if (!x) throw new RangeError('no batch');
      const result = batchNormTraining(x, { scale, bias, runningMean, runningVariance });
      return {
        loss: o.ReduceMean(o.Mul(result.y, o.Sub(result.y, 1))),
        buffers: new Map([
          [runningMean, result.runningMean],
          [runningVariance, result.runningVariance],
        ]),
      };
    },
    trainable: [scale, bias],
    buffers: [runningMean, runningVariance],
    optimizer: adamw({ learningRate: () => constantSchedule(0) }),
    accumulation: 2,
  });
  const x = Array.from({ length: 2 * 3 * 8 }, uniform(1));
  const state = {
    ...initialState(program),
    'bn.running_mean': tensor([0, 0], [2]),
    'bn.running_var': tensor([1, 1], [2]),
  };
  const results = await runGraph(program.graph, {
    ...controls(1),
    x: tensor(x, [2, 3, 2, 2, 2]),
    ...state,
  });

  const [mean, variance] = [
    [0, 0],
    [1, 1],
  ];
  for (let batch = 0; batch < 2; batch++) {
    for (let channel = 0; channel < 2; channel++) {
      const seen = x.filter(
        (_, i) => Math.floor(i / 24) === batch && Math.floor(i / 4) % 2 === channel,
      );
      const average = seen.reduce((a, b) => a + b, 0) / seen.length;
      const unbiased = seen.reduce((a, b) => a + (b - average) ** 2, 0) / (seen.length - 1);
      mean[channel] = 0.9 * (mean[channel] ?? 0) + 0.1 * average;
      variance[channel] = 0.9 * (variance[channel] ?? 0) + 0.1 * unbiased;
    }
  }
  const close = (a: number[], b: number[]): boolean =>
    a.every((v, i) => Math.abs(v - (b[i] ?? 0)) < 1e-6);
  t.true(close(numbers(results[nextOf('bn.running_mean')]), mean));
  t.true(close(numbers(results[nextOf('bn.running_var')]), variance));
});

test('a frozen parameter is read but gets no state and no gradient', (t) => {
  const program = trainingProgram(perceptron({ trainable: [w2] }));
  t.deepEqual(
    program.carried.map(({ name }) => name),
    ['step', 'lossScale', 'stableSteps', 'w2', 'adam.first.w2', 'adam.second.w2'],
  );
});

test('schedules give the rates of their formulas', async (t) => {
  const rates = async (schedule: Schedule, steps: readonly number[]): Promise<number[]> => {
    const step = input('step', 'float32', []);
    const session = await compile(
      graphOf([step], { rate: o.Add(schedule(step), scalar(0, 'float32')) }),
    );
    t.teardown(() => session.release());
    const results = steps.map(
      async (n) => numbers((await session.run({ step: tensor([n], []) }))['rate'])[0] ?? 0,
    );
    return Promise.all(results);
  };
  const near = (got: readonly number[], expected: readonly number[]): void =>
    got.forEach((value, i) =>
      t.true(Math.abs(value - (expected[i] ?? Number.NaN)) < 1e-6, `${i}: ${value}`),
    );
  near(await rates(constantSchedule(0.5), [0, 9]), [0.5, 0.5]);
  near(await rates(linearSchedule(1, 0.2, 4), [0, 2, 4, 9]), [1, 0.6, 0.2, 0.2]);
  const cosine = cosineSchedule({ peak: 1, floor: 0.1, warmupSteps: 2, totalSteps: 6 });
  near(await rates(cosine, [0, 1, 2, 4, 6, 9]), [0.5, 1, 1, 0.55, 0.1, 0.1]);
});

test('dropout keeps its share, scales what it keeps, and depends on its key only', async (t) => {
  const key = input('key', 'uint32', []);
  const x = input('x', 'float32', ['n', 'm']);
  const session = await compile(graphOf([x, key], { y: dropout(x, 0.25, key) }));
  t.teardown(() => session.release());
  const ones = tensor(
    Array.from({ length: 20000 }, () => 1),
    [200, 100],
  );
  const draw = async (value: number): Promise<number[]> =>
    numbers((await session.run({ x: ones, key: tensor([value], [], 'uint32') }))['y']);
  const [first, again, other] = [await draw(1), await draw(1), await draw(2)];
  t.deepEqual(first, again);
  t.notDeepEqual(first, other);
  t.deepEqual([...new Set(first.map((value) => value.toFixed(4)))].sort(), ['0.0000', '1.3333']);
  const kept = first.filter((value) => value > 0).length / first.length;
  t.true(Math.abs(kept - 0.75) < 0.015, `kept ${kept}`);
});

/** The state after two steps with an optimizer, and how far the first step moved the parameters. */
async function trained(optimizer: GradientTransform): Promise<{ state: State; moved: number }> {
  const program = trainingProgram(perceptron({ optimizer }));
  const before = initialState(program);
  const step = async (state: State): Promise<State> =>
    stateAfter(program, await runGraph(program.graph, { ...controls(1), ...data(1), ...state }));
  const once = await step(before);
  let square = 0;
  for (const name of Object.keys(weights)) {
    const was = numbers(before[name]);
    for (const [i, value] of numbers(once[name]).entries()) square += (value - (was[i] ?? 0)) ** 2;
  }
  return { state: await step(once), moved: Math.sqrt(square) };
}

test('adamw is its transforms in a chain, and others make other optimizers', async (t) => {
  const rate = () => constantSchedule(1e-2);
  const whole = await trained(
    adamw({ learningRate: rate, weightDecay: () => 0.01, maxNorm: 1e-3 }),
  );
  const parts = await trained(
    chain(
      clipByGlobalNorm(1e-3),
      scaleByAdam(),
      addDecayedWeights(() => 0.01),
      scaleBySchedule(rate),
    ),
  );
  t.deepEqual(parts.state, whole.state);
  // Clipped gradient descent moves by rate times norm, whatever the gradient.
  const { moved } = await trained(chain(clipByGlobalNorm(1e-3), scaleBySchedule(rate)));
  t.true(Math.abs(moved / 1e-5 - 1) < 0.01, `moved ${moved}`);
});

test('muon updates matrices by near-orthogonal steps, and adam the rest', async (t) => {
  const program = trainingProgram(
    perceptron({
      optimizer: adamw({
        learningRate: () => constantSchedule(1e-2),
        muon: (name) => name === 'w1',
      }),
    }),
  );
  t.deepEqual(
    program.carried.slice(6).map(({ name }) => name),
    ['muon.w1', 'adam.first.b1', 'adam.first.w2', 'adam.second.b1', 'adam.second.w2'],
  );
  const before = initialState(program);
  const results = await runGraph(program.graph, { ...controls(1), ...data(1), ...before });
  const [was, is] = [numbers(before['w1']), numbers(results[nextOf('w1')])];
  const step = is.map((value, i) => (value - (was[i] ?? 0)) / (1e-2 * 0.2 * 4));
  // [16, 4]: its four columns have length near 1 and are near orthogonal.
  for (let a = 0; a < 4; a++) {
    for (let b = 0; b <= a; b++) {
      let dot = 0;
      for (let row = 0; row < 16; row++) dot += (step[row * 4 + a] ?? 0) * (step[row * 4 + b] ?? 0);
      // Five iterations leave singular values between 0.7 and 1.2.
      t.true(Math.abs(dot - (a === b ? 0.95 : 0)) < 0.5, `columns ${a} and ${b}: ${dot}`);
    }
  }
  const long = await runGraph(program.graph, { ...controls(300), ...data(300), ...before });
  const losses = numbers(long['losses']);
  const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
  t.true(mean(losses.slice(-20)) < 0.5 * mean(losses.slice(0, 20)));
});
