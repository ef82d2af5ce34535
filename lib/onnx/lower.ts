import { reshapeTarget } from '../graph/build.ts';
import { type Shape, isStatic, printShape } from '../graph/dim.ts';
import type { None } from '../graph/ops/row.ts';
import type { AttributesOf, OpName } from '../graph/table.ts';
import { type Node, GraphError } from '../graph/value.ts';
import { type AttributeProto, dataTypes } from './schema.ts';

const int = (name: string, i: number): AttributeProto => ({ name, type: 2, i });
const ints = (name: string, values: readonly number[]): AttributeProto => ({
  name,
  type: 7,
  ints: values,
});
const float = (name: string, f: number): AttributeProto => ({ name, type: 1, f });
const text = (name: string, s: string): AttributeProto => ({ name, type: 3, s: Buffer.from(s) });

/** How an operator is written in the pinned opset. */
interface Lowered {
  readonly attributes: readonly AttributeProto[];
  /** Of operators that are not ONNX's own. */
  readonly domain?: string;
  /** Small integers that the opset takes as inputs; they follow the node's own inputs. */
  readonly indices?: readonly (readonly number[])[];
}
type Lowering<K extends OpName> = (attributes: AttributesOf<K>, node: Node) => Lowered;

const plain = (): Lowered => ({ attributes: [] });
const onAxis = ({ axis }: { readonly axis: number }): Lowered => ({
  attributes: [int('axis', axis)],
});
const reduction = ({ axes, keepdims }: AttributesOf<'ReduceSum'>): Lowered => ({
  attributes: [int('keepdims', Number(keepdims))],
  indices: [axes],
});
const axesInput = ({ axes }: { readonly axes: readonly number[] }): Lowered => ({
  attributes: [],
  indices: [axes],
});
const epsilon = (attributes: { readonly epsilon: number }): Lowered => ({
  attributes: [float('epsilon', attributes.epsilon)],
});
const pool = ({ kernel_shape, strides, pads }: AttributesOf<'MaxPool'>): Lowered => ({
  attributes: [ints('kernel_shape', kernel_shape), ints('strides', strides), ints('pads', pads)],
});

const hasShapeInput = (node: Node): boolean => node.inputs.length > 1;

function requireTarget(target: readonly number[] | undefined, shape: Shape): readonly number[] {
  if (!target) throw new GraphError(`the shape ${printShape(shape)} must be given as an input`);
  return target;
}

type WithoutAttributes = { [K in OpName]: AttributesOf<K> extends None ? K : never }[OpName];

/** Operators with attributes; the others are written as they are. */
const lowering: { readonly [K in Exclude<OpName, WithoutAttributes>]: Lowering<K> } = {
  Cast: ({ to }) => ({ attributes: [int('to', dataTypes[to])] }),
  BitShift: ({ direction }) => ({ attributes: [text('direction', direction)] }),
  Reshape: ({ shape }, node) => {
    if (hasShapeInput(node)) return plain();
    const target = reshapeTarget(node.inputs[0]?.shape ?? [], shape);
    return { attributes: [], indices: [requireTarget(target, shape)] };
  },
  Expand: ({ shape }, node) => {
    if (hasShapeInput(node)) return plain();
    return { attributes: [], indices: [requireTarget(isStatic(shape) ? shape : undefined, shape)] };
  },
  Squeeze: axesInput,
  Unsqueeze: axesInput,
  Transpose: ({ perm }) => ({ attributes: [ints('perm', perm)] }),
  Concat: onAxis,
  Slice: ({ starts, ends, axes, steps }) => ({
    attributes: [],
    indices: [starts, ends, axes, steps],
  }),
  Split: onAxis,
  Pad: ({ pads }) => ({ attributes: [], indices: [pads] }),
  Gather: onAxis,
  GatherElements: onAxis,
  ScatterElements: ({ axis }) => ({ attributes: [int('axis', axis), text('reduction', 'add')] }),
  ArgMax: ({ axis }) => ({ attributes: [int('axis', axis), int('keepdims', 0)] }),
  TopK: ({ axis, k }) => ({ attributes: [int('axis', axis)], indices: [[k]] }),
  ReduceSum: reduction,
  ReduceMean: reduction,
  ReduceMax: reduction,
  ReduceSumSquare: reduction,
  Softmax: onAxis,
  LogSoftmax: onAxis,
  Gemm: ({ transA, transB }) => ({
    attributes: [int('transA', Number(transA)), int('transB', Number(transB))],
  }),
  // Accuracy level 4 lets it compute in 8 bits, 30 times as fast as the default.
  MatMulNBits: ({ block_size }, { inputs }) => ({
    domain: 'com.microsoft',
    attributes: [
      int('K', Number(inputs[0]?.shape.at(-1))),
      int('N', Number(inputs[1]?.shape[0])),
      int('bits', 8),
      int('block_size', block_size),
      int('accuracy_level', 4),
    ],
  }),
  Conv: ({ strides, pads, dilations }) => ({
    attributes: [ints('strides', strides), ints('pads', pads), ints('dilations', dilations)],
  }),
  ConvTranspose: ({ strides, pads, output_padding }) => ({
    attributes: [
      ints('strides', strides),
      ints('pads', pads),
      ints('output_padding', output_padding),
    ],
  }),
  MaxPool: pool,
  AveragePool: pool,
  BatchNormalization: epsilon,
  LayerNormalization: epsilon,
  Range: plain,
  // Bodies are written by the emitter, which knows the names around them.
  Loop: plain,
  If: plain,
};

/** Writes a node's attributes for the pinned opset. */
export function lower(node: Node): Lowered {
  const rule = (lowering as Readonly<Record<string, Lowering<OpName>>>)[node.op];
  return rule ? rule(node.attributes as never, node) : plain();
}
