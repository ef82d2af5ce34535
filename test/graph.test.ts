import test from 'ava';
import { backward } from '../lib/graph/backward.ts';
import { o } from '../lib/graph/build.ts';
import { addDims, multiplyDims, subtractDims } from '../lib/graph/dim.ts';
import { linear } from '../lib/graph/functions.ts';
import { binaryCrossEntropy, softmaxCrossEntropy } from '../lib/graph/losses.ts';
import { optimize } from '../lib/graph/passes.ts';
import { mixedPrecision } from '../lib/graph/precision.ts';
import { printGraph } from '../lib/graph/print.ts';
import { GraphError, type Value, input, parameter, scalar, sortNodes } from '../lib/graph/value.ts';
import { compile, graphOf, numbers, runGraph, tensor, uniform } from './support/engine.ts';

const x = input('x', 'float32', ['batch', 3]);
const weight = parameter('weight', [4, 3]);
const bias = parameter('bias', [4]);
const count = (value: Value, op: string): number =>
  sortNodes([value]).filter((node) => node.op === op).length;

test('symbolic dimensions are equal when they are computed in different ways', (t) => {
  t.is(multiplyDims('batch', 12), '12*batch');
  t.is(
    multiplyDims(multiplyDims('sequence', 'batch'), 2),
    multiplyDims('batch', multiplyDims(2, 'sequence')),
  );
  t.is(addDims('past', 1), 'past + 1');
  t.is(subtractDims(addDims('past', 'batch'), 'batch'), 'past');
  t.is(subtractDims('past', 'past'), 0);
  t.is(multiplyDims(addDims('past', 1), 2), '2*past + 2');
});

test('a graph and its backward graph print as stable text', (t) => {
  const loss = o.ReduceMean(o.Gelu(linear(x, weight, bias)));
  const [dWeight] = backward(loss, [weight]);
  t.snapshot(printGraph(optimize(graphOf([x, weight, bias], { loss, dWeight: dWeight as Value }))));
});

test('a loop prints its body, and what does not depend on the iteration stands outside', (t) => {
  const { carried } = o.Loop(3, [weight], (_, [w]) => {
    const invariant = o.Exp(bias);
    return { carried: [o.Add(w ?? weight, o.Unsqueeze(invariant, [1]))] };
  });
  t.snapshot(printGraph(graphOf([weight, bias], { y: carried[0] as Value })));
});

test('shapes that do not fit are refused with the operator and both shapes', (t) => {
  t.throws(() => o.MatMul(x, weight), {
    instanceOf: GraphError,
    message:
      'MatMul(float32[batch,3], float32[4,3]): cannot multiply [batch,3] by [4,3]: 3 is not 4',
  });
  t.throws(() => o.Add(x, bias), { message: /float32\[batch,3\], float32\[4\].*do not broadcast/ });
  t.throws(() => o.Reshape(weight, [5]), { message: /cannot reshape \[4,3\] to \[5\]/ });
});

test('a gradient through an operator without one names the node and its path to the loss', (t) => {
  const loss = o.ReduceSum(o.Exp(o.Floor(o.Mul(weight, 2))));
  t.throws(() => backward(loss, [weight]), {
    instanceOf: GraphError,
    message: 'no gradient through Floor [4,3], on the path Floor -> Exp -> ReduceSum',
  });
});

test('a gradient for a value the loss does not use is refused by name', (t) => {
  t.throws(() => backward(o.ReduceSum(weight), [bias]), {
    message: 'the loss does not depend on bias [4]',
  });
});

test('nothing is computed past a frozen parameter', (t) => {
  const gain = parameter('gain', [4]);
  const loss = o.ReduceSum(o.Mul(o.Tanh(linear(x, weight)), gain));
  const [frozen] = backward(loss, [gain]);
  t.is(count(frozen as Value, 'Gemm'), 1, 'only the forward product is there');
});

test('equal nodes are computed once, neutral operations not at all, constants beforehand', (t) => {
  const twice = o.Add(o.Exp(o.Mul(x, 1)), o.Exp(x));
  const scaled = o.Mul(o.Mul(twice, scalar(2, 'float32')), o.Add(scalar(1, 'float32'), 2));
  const {
    outputs: [output],
  } = optimize(graphOf([x], { y: scaled }));
  t.deepEqual(
    sortNodes([output?.value as Value]).map(({ op }) => op),
    ['Exp', 'Add', 'Mul'],
  );
});

test('optimizing a graph keeps its results', async (t) => {
  const random = uniform(2);
  const draw = (shape: readonly number[]) =>
    tensor(Array.from({ length: shape.reduce((a, b) => a * b, 1) }, random), shape);
  const labels = input('labels', 'int64', ['batch']);
  const loss = softmaxCrossEntropy(linear(o.Gelu(x), weight, bias), labels);
  const [dWeight, dBias] = backward(loss, [weight, bias], scalar(3, 'float32'));
  const graph = graphOf([x, labels, weight, bias], {
    loss,
    dWeight: dWeight as Value,
    dBias: dBias as Value,
  });
  const feeds = {
    x: draw([5, 3]),
    labels: tensor([0, 3, -100, 1, 2], [5], 'int64'),
    weight: draw([4, 3]),
    bias: draw([4]),
  };
  const plain = await runGraph(graph, feeds, { level: 'disabled' });
  const optimized = await runGraph(optimize(graph), feeds);
  for (const name of ['loss', 'dWeight', 'dBias']) {
    numbers(plain[name]).forEach((value, i) =>
      t.true(Math.abs(value - (numbers(optimized[name])[i] ?? 0)) < 1e-6, `${name}[${i}]`),
    );
  }
});

test('mixed precision multiplies in float16 and keeps sums, parameters and loss in float32', (t) => {
  const loss = o.ReduceMean(
    o.Softmax(linear(o.Relu(linear(x, weight, bias)), parameter('out', [2, 4]))),
  );
  const mixed = mixedPrecision(graphOf([x], { loss }));
  const value = mixed.outputs[0]?.value as Value;
  t.is(value.dtype, 'float32');
  const products = sortNodes([value]).filter(({ op }) => op === 'Gemm');
  t.deepEqual(
    products.map(({ outputs }) => outputs[0]?.dtype),
    ['float16', 'float16'],
  );
  const softmax = sortNodes([value]).find(({ op }) => op === 'Softmax');
  t.is(softmax?.outputs[0]?.dtype, 'float32');
  t.is(backward(value, [weight])[0]?.dtype, 'float32');
});

test('ignored positions count neither in the cross-entropy nor in its gradient', async (t) => {
  const logits = input('logits', 'float32', ['n', 3]);
  const labels = input('labels', 'int64', ['n']);
  const loss = softmaxCrossEntropy(logits, labels);
  const [gradient] = backward(loss, [logits]);
  const session = await compile(graphOf([logits, labels], { loss, gradient: gradient as Value }));
  t.teardown(() => session.release());
  const values = [1, 2, 3, 0, 0, 0, -1, 5, 2];
  const feeds = { logits: tensor(values, [3, 3]), labels: tensor([2, -100, 1], [3], 'int64') };
  const results = await session.run(feeds);
  const logSumExp = (row: number[]): number =>
    Math.log(row.reduce((sum, v) => sum + Math.exp(v), 0));
  const expected = (logSumExp([1, 2, 3]) - 3 + logSumExp([-1, 5, 2]) - 5) / 2;
  t.true(Math.abs((numbers(results['loss'])[0] ?? 0) - expected) < 1e-6);
  t.deepEqual(numbers(results['gradient']).slice(3, 6).map(Math.abs), [0, 0, 0]);
  const none = await session.run({ ...feeds, labels: tensor([-100, -1, -100], [3], 'int64') });
  t.is(Math.abs(numbers(none['loss'])[0] ?? 1), 0);
});

test('the binary cross-entropy weighs positives, leaves out what does not count, and never overflows', async (t) => {
  const logits = input('logits', 'float32', ['n', 2]);
  const targets = input('targets', 'float32', ['n', 2]);
  const counted = input('counted', 'float32', ['n', 2]);
  const loss = binaryCrossEntropy(logits, targets, {
    positiveWeights: parameter('w', [2]),
    counted,
  });
  const graph = graphOf([logits, targets, counted, parameter('unused', [1])].slice(0, 3), { loss });
  const results = await runGraph(
    graph,
    {
      logits: tensor([2, -1000, 0.5, 1000], [2, 2]),
      targets: tensor([1, 0, 0, 0], [2, 2]),
      counted: tensor([1, 1, 1, 0], [2, 2]),
    },
    { weights: () => new Uint8Array(Float32Array.of(3, 1).buffer) },
  );
  const softplus = (value: number): number => Math.log1p(Math.exp(value));
  const expected = (3 * softplus(-2) + 0 + softplus(0.5)) / 3;
  t.true(Math.abs((numbers(results['loss'])[0] ?? 0) - expected) < 1e-6);
});

test('gathering with many duplicate rows has the same gradient on every run of two threads', async (t) => {
  const table = parameter('table', [64, 128]);
  const ids = input('ids', 'int64', ['n']);
  const [gradient] = backward(o.ReduceSum(o.Mul(o.Gather(table, ids), 0.5)), [table]);
  const session = await compile(graphOf([ids, table], { gradient: gradient as Value }), {
    threads: 2,
  });
  t.teardown(() => session.release());
  const feeds = {
    ids: tensor(
      Array.from({ length: 4096 }, (_, i) => i % 3),
      [4096],
      'int64',
    ),
    table: tensor(
      Array.from({ length: 64 * 128 }, () => 0),
      [64, 128],
    ),
  };
  for (let run = 0; run < 20; run++) {
    const sums = new Set(numbers((await session.run(feeds))['gradient']));
    t.deepEqual(
      [...sums].sort((a, b) => a - b),
      [0, 682.5, 683],
    );
  }
});
