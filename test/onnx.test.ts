import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import onnxProto, { type onnx } from 'onnx-proto';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { o } from '../lib/graph/build.ts';
import { linear } from '../lib/graph/functions.ts';
import { GraphError, type Value, input, parameter, scalar } from '../lib/graph/value.ts';
import { emitModel, opset } from '../lib/onnx/emit.ts';
import { graphOf } from './support/engine.ts';

const x = input('x', 'float32', ['batch', 3]);
const weight = parameter('layer.weight', [4, 3]);

/** Every name that a graph reads must be made before: by an input, an initializer or an earlier node. */
function checkOrder(graph: onnx.IGraphProto, outer: ReadonlySet<string>, problems: string[]): void {
  const known = new Set(outer);
  const define = (name: string): void => {
    if (known.has(name)) problems.push(`${name} is defined twice`);
    known.add(name);
  };
  for (const { name } of [...(graph.input ?? []), ...(graph.initializer ?? [])]) define(name ?? '');
  for (const node of graph.node ?? []) {
    for (const name of node.input ?? [])
      if (name && !known.has(name)) problems.push(`${name} is read too early`);
    for (const { g } of node.attribute ?? []) if (g?.node) checkOrder(g, known, problems);
    for (const name of node.output ?? []) if (name) define(name);
  }
  for (const { name } of graph.output ?? [])
    if (!known.has(name ?? '')) problems.push(`${name} is never made`);
}

test('another ONNX reader finds the pinned opset, names in order, and symbolic dimensions', (t) => {
  const { carried, scans } = o.Loop(
    2,
    [weight],
    (_, [w]) => {
      const next = o.Mul(w ?? weight, 0.5);
      const [chosen] = o.If(
        o.Greater(o.ReduceSum(next), 0),
        [next],
        ([v]) => [o.Exp(v ?? next)],
        ([v]) => [v ?? next],
      );
      return {
        carried: [chosen ?? next],
        scans: [o.ReduceSum(o.MatMul(x, o.Transpose(weight, [1, 0])))],
      };
    },
    [weight],
  );
  const graph = graphOf([x, weight], {
    weight: carried[0] as Value,
    sums: scans[0] as Value,
    same: x,
  });
  const model = onnxProto.onnx.ModelProto.decode(emitModel(graph, { name: 'structure' }));
  t.is(Number(model.opsetImport[0]?.version), opset);
  t.is(Number(model.irVersion), 10);
  const problems: string[] = [];
  checkOrder(model.graph as onnx.IGraphProto, new Set(), problems);
  t.deepEqual(problems, []);
  t.is(model.graph?.input?.[0]?.type?.tensorType?.shape?.dim?.[0]?.dimParam, 'batch');
  t.deepEqual(
    model.graph?.output?.map(({ name }) => name),
    ['weight', 'sums', 'same'],
  );
});

test('parameters may be in a file beside the model, at their offset', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const values = Float32Array.from({ length: 12 }, (_, i) => i);
  await writeFile(
    join(folder, 'weights.bin'),
    Buffer.concat([Buffer.alloc(64), Buffer.from(values.buffer)]),
  );
  const model = emitModel(graphOf([x], { y: linear(x, weight) }), {
    name: 'external',
    weights: (name) =>
      name === 'layer.weight'
        ? { location: 'weights.bin', byteOffset: 64, byteLength: 48 }
        : undefined,
  });
  await writeFile(join(folder, 'model.onnx'), model);
  const session = await InferenceSession.create(join(folder, 'model.onnx'));
  t.teardown(() => session.release());
  const { y } = await session.run({ x: new Tensor('float32', Float32Array.of(1, 0, 2), [1, 3]) });
  t.deepEqual(Array.from(y?.data as Float32Array), [4, 13, 22, 31]);
});

test('a parameter without weights, or with too few bytes, is refused by name', (t) => {
  const graph = graphOf([x], { y: linear(x, weight) });
  t.throws(() => emitModel(graph, { name: 'a' }), {
    instanceOf: GraphError,
    message: 'no weights for parameter layer.weight [4,3]',
  });
  t.throws(() => emitModel(graph, { name: 'a', weights: () => new Uint8Array(44) }), {
    message: 'parameter layer.weight needs 48 bytes, its weights hold 44',
  });
});

test('an input that the graph does not declare is refused by name', (t) => {
  t.throws(() => emitModel(graphOf([], { y: o.Add(x, scalar(1, 'float32')) }), { name: 'a' }), {
    message: /input x \[batch,3\] is read but not among the graph's inputs/,
  });
});

test('rows of a stored parameter are stored as rows, wherever its bytes are', async (t) => {
  const table = parameter('table', [4, 3]);
  const [first, last] = [o.Slice(table, [0], [1], [0]), o.Slice(table, [2], [4], [0])];
  const graph = graphOf([x], {
    first: linear(x, first),
    last: linear(x, last),
    rows: last,
    looked: o.ReduceSum(table, [1]),
  });
  const data = Float32Array.from({ length: 12 }, (_, i) => i);
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-'));
  t.teardown(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'weights'), new Uint8Array(data.buffer));
  const path = join(folder, 'model.onnx');
  const beside = { location: 'weights', byteOffset: 0, byteLength: data.byteLength };
  await writeFile(path, emitModel(graph, { name: 'rows', weights: () => beside }));
  const within = emitModel(graph, { name: 'rows', weights: () => new Uint8Array(data.buffer) });
  const { graph: written } = onnxProto.onnx.ModelProto.decode(within);
  t.deepEqual(
    written?.initializer?.map(({ name, dims }) => [name, dims?.map(Number)]).slice(0, 3),
    [
      ['table[0:1]', [1, 3]],
      ['table[2:4]', [2, 3]],
      ['table', [4, 3]],
    ],
  );
  t.false(written?.node?.some(({ opType }) => opType === 'Slice'));
  for (const model of [path, within]) {
    const session = await InferenceSession.create(model as string);
    const results = await session.run({ x: new Tensor(new Float32Array([1, 1, 1]), [1, 3]) });
    const valuesOf = (name: string): number[] => Array.from(results[name]?.data ?? [], Number);
    t.deepEqual(valuesOf('first'), [3]);
    t.deepEqual(valuesOf('last'), [21, 30]);
    t.deepEqual(valuesOf('rows'), [6, 7, 8, 9, 10, 11]);
    t.deepEqual(valuesOf('looked'), [3, 12, 21, 30]);
    await session.release();
  }
});
