import test from 'ava';
import { o } from '../lib/graph/build.ts';
import { optimize } from '../lib/graph/passes.ts';
import type { Dtype } from '../lib/graph/types.ts';
import {
  type Value,
  constantData,
  constantOf,
  input,
  scalar,
  sortNodes,
} from '../lib/graph/value.ts';

const x = input('x', 'float32', [2, 3]);
const row = input('row', 'float32', [3]);
const second = input('second', 'float32', [3]);
const column = input('column', 'float32', [2, 1]);
const deep = input('deep', 'float32', [2, 3, 1]);
const s = input('s', 'float32', []);
const other = input('other', 'float32', []);

const optimized = (value: Value): Value => {
  const inputs = [x, row, second, column, deep, s, other];
  const { outputs } = optimize({ inputs, outputs: [{ name: 'y', value }] });
  return outputs[0]?.value as Value;
};
const operators = (value: Value): string[] => sortNodes([value]).map(({ op }) => op);
const producer = (value: Value) => (value.source.kind === 'node' ? value.source.node : undefined);
const float = (value: number): Value => scalar(value, 'float32');

/** Equal to x, so that nothing is left. */
const neutral: Readonly<Record<string, () => Value>> = {
  'x + 0': () => o.Add(x, float(0)),
  '0 + x': () => o.Add(float(0), x),
  'x - 0': () => o.Sub(x, float(0)),
  'x * 1': () => o.Mul(x, float(1)),
  '1 * x': () => o.Mul(float(1), x),
  'x / 1': () => o.Div(x, float(1)),
  'x ^ 1': () => o.Pow(x, float(1)),
  '-(-x)': () => o.Neg(o.Neg(x)),
  'x reshaped and back': () => o.Reshape(o.Reshape(x, [6]), [2, 3]),
  'x transposed twice': () => o.Transpose(o.Transpose(x, [1, 0]), [1, 0]),
};
for (const [name, build] of Object.entries(neutral)) {
  test(`${name} is x`, (t) => t.is(optimized(build()), x));
}

const kept: Readonly<Record<string, readonly [() => Value, readonly string[]]>> = {
  '0 - x': [() => o.Sub(float(0), x), ['Sub']],
  '1 / x': [() => o.Div(float(1), x), ['Div']],
  '1 ^ x': [() => o.Pow(float(1), x), ['Pow']],
  'x + 1': [() => o.Add(x, float(1)), ['Add']],
  'x * 0': [() => o.Mul(x, float(0)), ['Mul']],
  'a product by 1 that adds an axis': [
    () => o.Mul(row, constantOf([1], 'float32', [1, 1])),
    ['Mul'],
  ],
  'a reshape to a third shape': [
    () => o.Reshape(o.Reshape(x, [6]), [3, 2]),
    ['Reshape', 'Reshape'],
  ],
};
for (const [name, [build, expected]] of Object.entries(kept)) {
  test(`${name} is kept`, (t) => t.deepEqual(operators(optimized(build())), expected));
}

test('two transpositions become one, in the order of both', (t) => {
  const y = optimized(o.Transpose(o.Transpose(deep, [1, 2, 0]), [1, 0, 2]));
  t.deepEqual(operators(y), ['Transpose']);
  t.deepEqual(producer(y)?.attributes, { perm: [2, 1, 0] });
  t.deepEqual(y.shape, [1, 3, 2]);
});

const constants: readonly (readonly [string, Value, readonly number[]])[] = [
  ['a sum', o.Add(constantOf([1, 2], 'float32'), float(3)), [4, 5]],
  ['a difference', o.Sub(float(1), constantOf([1, 2], 'float32')), [0, -1]],
  ['a quotient', o.Div(float(-7), float(2)), [-3.5]],
  ['a quotient of integers, cut', o.Div(scalar(-7, 'int64'), scalar(2, 'int64')), [-3]],
  ['a power', o.Pow(float(2), float(5)), [32]],
  ['a minimum of vectors', o.Min(constantOf([1, 5], 'int32'), constantOf([4, 2], 'int32')), [1, 2]],
  ['a root', o.Sqrt(float(9)), [3]],
  ['a reciprocal', o.Reciprocal(float(4)), [0.25]],
  ['an exponential', o.Exp(float(0)), [1]],
  ['a cast', o.Cast(constantOf([2, 3], 'float32'), 'int64'), [2, 3]],
  ['a new axis', o.Unsqueeze(constantOf([2, 3], 'float32'), [0]), [2, 3]],
  ['a shape', o.Shape(deep), [2, 3, 1]],
];
for (const [name, value, expected] of constants) {
  test(`${name} of constants is computed when the graph is written`, (t) => {
    const tensor = constantData(optimized(value));
    t.deepEqual(Array.from(tensor?.data ?? [], Number), expected);
    t.is(tensor?.dtype, value.dtype);
    t.deepEqual(tensor?.shape, value.shape as number[]);
  });
}

test('large constants, and those that broadcast both ways, are left to the engine', (t) => {
  const large = (dtype: Dtype) =>
    constantOf(
      Array.from({ length: 4097 }, () => 1),
      dtype,
    );
  t.deepEqual(operators(optimized(o.Add(large('float32'), float(2)))), ['Add']);
  const both = o.Add(constantOf([1, 2], 'float32', [2, 1]), constantOf([1, 2, 3], 'float32'));
  t.deepEqual(operators(optimized(both)), ['Add']);
});

test('an operand is expanded only if no other operand has the full shape', (t) => {
  const wide = (value: Value) => o.Expand(value, [2, 3]);
  t.deepEqual(operators(optimized(o.Add(x, wide(row)))), ['Add']);
  t.deepEqual(operators(optimized(o.Mul(wide(row), wide(column)))), ['Mul']);
  t.deepEqual(operators(optimized(o.Add(wide(row), wide(second)))), ['Expand', 'Add']);
  t.deepEqual(operators(optimized(o.Exp(wide(row)))), ['Expand', 'Exp']);
});

for (const op of ['Add', 'Sub', 'Mul', 'Div', 'Max', 'Min'] as const) {
  test(`${op} needs no expanded operand, and a scalar of its rank`, (t) => {
    t.deepEqual(operators(optimized(o[op](x, o.Expand(row, [2, 3])))), [op]);
    t.deepEqual(producer(optimized(o[op](deep, float(3))))?.inputs[1]?.shape, [1, 1, 1]);
  });
}

test('Where needs no expanded operand', (t) => {
  const y = o.Where(o.Less(x, s), o.Expand(row, [2, 3]), x);
  t.deepEqual(operators(optimized(y)), ['Less', 'Where']);
});

test('scale factors are multiplied with each other, not with the data', (t) => {
  const y = optimized(o.Mul(o.Mul(s, x), other));
  t.deepEqual(operators(y), ['Mul', 'Mul']);
  const [data, factor] = producer(y)?.inputs ?? [];
  t.is(data, x);
  t.deepEqual(factor?.shape, []);
  const known = producer(optimized(o.Mul(o.Mul(x, float(2)), float(3))));
  t.is(Number(constantData(known?.inputs[1] as Value)?.data[0]), 6);
  const vector = producer(optimized(o.Mul(o.Mul(x, row), s)));
  t.not(vector?.inputs[0], x, 'a vector is not a scale factor');
});

test('a scalar that meets a shape ending in 1 gets the same rank', (t) => {
  const constant = producer(optimized(o.Mul(deep, float(2))));
  t.deepEqual(constant?.inputs[1]?.shape, [1, 1, 1]);
  t.deepEqual(operators(optimized(o.Add(deep, s))), ['Reshape', 'Add']);
  t.deepEqual(operators(optimized(o.Add(s, column))), ['Reshape', 'Add']);
  t.deepEqual(operators(optimized(o.Add(x, s))), ['Add']);
});

test('equal nodes are one node, and nodes that differ in anything are not', (t) => {
  const count = (a: Value, b: Value) => operators(optimized(o.Concat([a, b], 0))).length - 1;
  const bias = () => o.Add(x, constantOf([1, 2, 3], 'float32'));
  t.is(count(bias(), bias()), 1, 'equal constants');
  t.is(count(o.Exp(o.Neg(x)), o.Exp(o.Neg(x))), 2, 'equal inputs');
  t.is(count(bias(), o.Add(x, constantOf([1, 2, 4], 'float32'))), 2, 'another constant');
  t.is(count(o.Sub(x, row), o.Sub(row, x)), 2, 'another order');
  const slice = (end: number) => o.Slice(x, [2], [end], [1], [-1]);
  t.is(count(o.Transpose(slice(-Infinity), [1, 0]), o.Transpose(slice(Infinity), [1, 0])), 4);
});
