import { isStatic } from './dim.ts';
import { type OpName, isNode } from './table.ts';
import { type Node, type Value, constantData, constantOf } from './value.ts';

/** Larger constants are left to the engine, which folds them when the session is made. */
const maxElements = 4096;

const binary: Partial<Record<OpName, (a: number, b: number) => number>> = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  Max: Math.max,
  Min: Math.min,
  Pow: (a, b) => a ** b,
};
const unary: Partial<Record<OpName, (x: number) => number>> = {
  Neg: (x) => -x,
  Sqrt: Math.sqrt,
  Reciprocal: (x) => 1 / x,
  Exp: Math.exp,
};
/** These change how data is read, not the data. */
const views: ReadonlySet<string> = new Set<OpName>(['Reshape', 'Squeeze', 'Unsqueeze']);

const numbers = (value: Value): number[] | undefined => {
  const tensor = constantData(value);
  return tensor && tensor.data.length <= maxElements ? Array.from(tensor.data, Number) : undefined;
};

/** Integer division truncates in ONNX. */
function divide(dtype: Value['dtype']): (a: number, b: number) => number {
  return dtype.startsWith('float') ? (a, b) => a / b : (a, b) => Math.trunc(a / b);
}

/**
 * Constant folding, a rule for `rewrite`: the value of a small node that reads constants only, and
 * the shape of a value whose shape is known. Arithmetic is done in float64 and rounded once.
 */
export function fold(node: Node, inputs: readonly Value[]): readonly Value[] | undefined {
  const [result] = node.outputs;
  const [first, second] = inputs;
  if (!result || !first) return undefined;
  if (isNode(node, 'Shape') && isStatic(first.shape)) return [constantOf(first.shape, 'int64')];
  if (!isStatic(result.shape) || result.dtype === 'bfloat16') return undefined;
  const a = numbers(first);
  if (!a) return undefined;
  if (views.has(node.op) || isNode(node, 'Cast')) {
    return [constantOf(a, result.dtype, result.shape)];
  }
  const one = unary[node.op as OpName];
  if (one && inputs.length === 1) return [constantOf(a.map(one), result.dtype, result.shape)];
  const two = isNode(node, 'Div') ? divide(result.dtype) : binary[node.op as OpName];
  const b = second && numbers(second);
  // Scalars and equal shapes only: other broadcasting is rare among constants.
  if (!two || !b || (a.length !== 1 && b.length !== 1 && a.length !== b.length)) return undefined;
  const data = Array.from({ length: Math.max(a.length, b.length) }, (_, i) =>
    two(a[a.length === 1 ? 0 : i] ?? Number.NaN, b[b.length === 1 ? 0 : i] ?? Number.NaN),
  );
  return [constantOf(data, result.dtype, result.shape)];
}
