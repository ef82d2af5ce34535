import test, { type ExecutionContext } from 'ava';
import { backward } from '../lib/graph/backward.ts';
import { o } from '../lib/graph/build.ts';
import { optimize } from '../lib/graph/passes.ts';
import { type OpName, table } from '../lib/graph/table.ts';
import type { Dtype, Tensor } from '../lib/graph/types.ts';
import { GraphError, type Value, input, isFloat } from '../lib/graph/value.ts';
import {
  type TestSession,
  compile,
  graphOf,
  numbers,
  runGraph,
  tensor,
  uniform,
} from './support/engine.ts';
import { type OperandSpec, type OperatorCase, operatorCases } from './support/operator-cases.ts';

/**
 * One random direction v and one random cotangent u per row: <u, J v> by central differences must be
 * <J^T u, v> by the rule. Relative tolerances per dtype; float32's is what differencing leaves.
 */
const check = {
  float64: { step: 1e-5, tolerance: 1e-7 },
  float32: { step: 1e-2, tolerance: 5e-3 },
} as const;
const scatterRepeats = 20;

const names = Object.keys(table) as OpName[];
const size = (shape: readonly number[]): number => shape.reduce((product, dim) => product * dim, 1);

const isGiven = (spec: OperandSpec): boolean => spec.dtype !== undefined;

function draw(spec: OperandSpec, dtype: Dtype, random: () => number): Tensor {
  const [low, high] = spec.range ?? [-1, 1];
  const values =
    spec.values ??
    Array.from({ length: size(spec.shape) }, () => low + ((random() + 1) / 2) * (high - low));
  return tensor(
    values,
    spec.shape,
    isGiven(spec) && !isFloat(spec.dtype ?? dtype) ? spec.dtype : dtype,
  );
}

interface Prepared {
  readonly x: readonly Value[];
  readonly y: Value;
  readonly feeds: Record<string, Tensor>;
  /** Which inputs are differentiated. */
  readonly wrt: readonly number[];
}

function prepare(operator: OperatorCase, dtype: Dtype, random: () => number): Prepared {
  const feeds: Record<string, Tensor> = {};
  const x = operator.inputs.map((spec, i) => {
    const drawn = draw(spec, dtype, random);
    feeds[`x${i}`] = drawn;
    return input(`x${i}`, drawn.dtype, drawn.shape);
  });
  const wrt = operator.inputs.flatMap((spec, i) => (isGiven(spec) ? [] : [i]));
  return { x, y: operator.build(x), feeds, wrt };
}

for (const name of names) {
  test(`${name} has the dtype and shape that ONNX Runtime gives it`, async (t) => {
    const { x, y, feeds } = prepare(operatorCases[name], 'float32', uniform(1));
    const result = (await runGraph(graphOf(x, { y }), feeds))['y'];
    t.is(result?.dtype, y.dtype);
    t.deepEqual(result?.shape, y.shape);
  });

  if (table[name].vjp) {
    test(`the gradient of ${name} is that of its difference quotient`, (t) =>
      checkGradient(t, name, 1));
    test(`the gradient of ${name} is right on two threads`, (t) => checkGradient(t, name, 2));
  } else {
    test(`a gradient through ${name} is refused with the operator's name, or stops at integers`, (t) => {
      const { x, y, wrt } = prepare(operatorCases[name], 'float32', uniform(1));
      if (wrt.length === 0) {
        t.true(x.every((value) => !isFloat(value.dtype)) || name.startsWith('Is'));
        return;
      }
      const loss = o.ReduceSum(o.Mul(y, y));
      const error = t.throws(() => backward(loss, [x[0] as Value]), { instanceOf: GraphError });
      t.regex(error.message, new RegExp(`${name}|does not depend`));
    });
  }
}

test('every row of the operator table has a case, and every case a row', (t) => {
  t.deepEqual(Object.keys(operatorCases).sort(), [...names].sort());
});

async function checkGradient(t: ExecutionContext, name: OpName, threads: number): Promise<void> {
  const operator = operatorCases[name];
  const dtype = operator.float32 ? 'float32' : 'float64';
  const seed = 7;
  const random = uniform(seed);
  const { x, y, feeds, wrt } = prepare(operator, dtype, random);
  const u = input('u', y.dtype, y.shape);
  feeds['u'] = draw({ shape: y.shape as number[] }, y.dtype, random);
  const loss = o.ReduceSum(o.Mul(u, y));
  const gradients = backward(
    loss,
    wrt.map((i) => x[i] as Value),
  );
  const outputs = Object.fromEntries(gradients.map((value, i) => [`g${wrt[i]}`, value]));
  const session = await compile(optimize(graphOf([...x, u], { ...outputs, loss })), { threads });
  t.teardown(() => session.release());

  const directions = wrt.map((i) => draw({ shape: x[i]?.shape as number[] }, dtype, random));
  const results = await session.run(feeds);
  const byRule = wrt.reduce((sum, i, k) => sum + dot(results[`g${i}`], directions[k]), 0);
  const { step, tolerance } = check[dtype];
  const move = async (factor: number): Promise<number> => {
    const moved = { ...feeds };
    wrt.forEach((i, k) => (moved[`x${i}`] = add(feeds[`x${i}`], directions[k], factor)));
    return numbers((await session.run(moved))['loss'])[0] ?? Number.NaN;
  };
  const byDifference = ((await move(step)) - (await move(-step))) / (2 * step);
  const scale = Math.max(1, Math.abs(byRule), Math.abs(byDifference));
  const error = Math.abs(byRule - byDifference) / scale;
  t.true(error < tolerance, `seed ${seed}, ${dtype}: rule ${byRule}, difference ${byDifference}`);
  if (operator.scatters) await checkRepeats(t, session, feeds, results);
}

/** A race shows as a result that changes between runs. */
async function checkRepeats(
  t: ExecutionContext,
  session: TestSession,
  feeds: Record<string, Tensor>,
  first: Record<string, Tensor>,
): Promise<void> {
  for (let i = 0; i < scatterRepeats; i++) t.deepEqual(await session.run(feeds), first);
}

const dot = (a: Tensor | undefined, b: Tensor | undefined): number => {
  const other = numbers(b);
  return numbers(a).reduce((sum, value, i) => sum + value * (other[i] ?? Number.NaN), 0);
};

function add(a: Tensor | undefined, b: Tensor | undefined, factor: number): Tensor {
  const other = numbers(b);
  return tensor(
    numbers(a).map((value, i) => value + factor * (other[i] ?? Number.NaN)),
    a?.shape ?? [],
    a?.dtype,
  );
}
