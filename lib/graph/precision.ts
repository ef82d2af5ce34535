import { o, reapply } from './build.ts';
import { rewrite } from './rewrite.ts';
import { type OpName, isNode } from './table.ts';
import { type Graph, type Value, isFloat } from './value.ts';

/** Most of the time goes here, and float16 is safe: ONNX Runtime accumulates products in float32. */
const products: ReadonlySet<string> = new Set<OpName>(['MatMul', 'Gemm', 'Conv']);
/**
 * Operators that move, select or combine few values, and so stay within float16's range (65504) and
 * precision where their inputs do. Every other one, sums over many elements above all, is not listed.
 */
const narrow: ReadonlySet<string> = new Set<OpName>([
  'Add',
  'Sub',
  'Mul',
  'Max',
  'Min',
  'Neg',
  'Abs',
  'Relu',
  'Floor',
  'Where',
  'Equal',
  'Greater',
  'Less',
  'IsNaN',
  'IsInf',
  'Reshape',
  'Expand',
  'Squeeze',
  'Unsqueeze',
  'Transpose',
  'Concat',
  'Slice',
  'Split',
  'Pad',
  'Shape',
  'Gather',
  'GatherElements',
  'ReduceMax',
  'ArgMax',
  'TopK',
]);

const castTo = (value: Value, to: 'float16' | 'float32'): Value =>
  value.dtype === 'float16' || value.dtype === 'float32' ? o.Cast(value, to) : value;

/**
 * Mixed precision: rewrites a forward graph so that matrix products and convolutions compute in
 * float16 while parameters, sums and the loss stay float32 (Micikevicius et al. 2018). Parameters are
 * cast inside the graph, so gradients arrive at the float32 master weights. Operators of `narrow` compute
 * in the widest dtype of their inputs, where a scalar constant takes the dtype of the other operand.
 */
export function mixedPrecision(graph: Graph): Graph {
  const mixed = rewrite(graph, (node, inputs) => {
    const floats = inputs.filter(({ dtype }) => dtype === 'float16' || dtype === 'float32');
    if (floats.length === 0 || isNode(node, 'Cast')) return undefined;
    const decisive = floats.filter(
      ({ source, shape }) => !(source.kind === 'constant' && shape.length === 0),
    );
    const allHalf = decisive.length > 0 && decisive.every(({ dtype }) => dtype === 'float16');
    const target =
      products.has(node.op) || (allHalf && narrow.has(node.op)) ? 'float16' : 'float32';
    return reapply(
      node,
      inputs.map((value) => castTo(value, target)),
    );
  });
  return {
    inputs: mixed.inputs,
    outputs: mixed.outputs.map(({ name, value }, index) => {
      const wanted = graph.outputs[index]?.value.dtype;
      return { name, value: wanted && isFloat(wanted) ? o.Cast(value, wanted) : value };
    }),
  };
}
