import type { OpName } from './attributes.ts';
import { apply, o } from './build.ts';
import { rewrite } from './rewrite.ts';
import { type Graph, type Value, isFloat } from './value.ts';

/** Where the time goes and float16 is safe: products with float32 accumulation inside the engine. */
const half: ReadonlySet<OpName> = new Set(['MatMul', 'Gemm', 'Conv']);
/** Sums over many elements, and functions that leave float16's range (65504) or precision. */
const full: ReadonlySet<OpName> = new Set([
  'Softmax',
  'LogSoftmax',
  'LayerNormalization',
  'BatchNormalization',
  'ReduceSum',
  'ReduceMean',
  'ReduceSumSquare',
  'Exp',
  'Log',
  'Pow',
  'Sqrt',
  'Reciprocal',
  'Erf',
  'Gelu',
  'Softplus',
  'Sigmoid',
  'Tanh',
  'Div',
  'ScatterElements',
  'MaxPool',
  'AveragePool',
]);

const castTo = (value: Value, to: 'float16' | 'float32'): Value =>
  value.dtype === 'float16' || value.dtype === 'float32' ? o.Cast(value, to) : value;

/**
 * Mixed precision: rewrites a forward graph so that matrix products and convolutions compute in
 * float16 while parameters, sums and the loss stay float32 (Micikevicius et al. 2018). Parameters are
 * cast inside the graph, so gradients arrive at the float32 master weights. Other operators compute in
 * the widest dtype they are given, where a scalar constant takes the dtype of what it meets.
 */
export function mixedPrecision(graph: Graph): Graph {
  const mixed = rewrite(graph, (node, inputs) => {
    const floats = inputs.filter(({ dtype }) => dtype === 'float16' || dtype === 'float32');
    if (floats.length === 0 || node.op === 'Cast') return undefined;
    const decisive = floats.filter(
      ({ source, shape }) => !(source.kind === 'constant' && shape.length === 0),
    );
    const allHalf = decisive.length > 0 && decisive.every(({ dtype }) => dtype === 'float16');
    const target = half.has(node.op) || (allHalf && !full.has(node.op)) ? 'float16' : 'float32';
    return apply<OpName>(
      node.op,
      inputs.map((value) => castTo(value, target)),
      node.attributes,
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
