import { o } from './build.ts';
import { rewrite } from './rewrite.ts';
import { type NodeOf, isNode } from './table.ts';
import { type Graph, type Node, type Value, parameter, sortNodes } from './value.ts';

/** A weight that a quantized graph reads as 8-bit codes with a scale for every block of a row. */
export interface QuantizedWeight {
  /** The float32 weight, [rows, columns]. */
  readonly name: string;
  readonly blockSize: number;
  /** uint8 [rows, columns / blockSize, blockSize]; 128 stands for 0. */
  readonly codes: string;
  /** float32 [rows, columns / blockSize] */
  readonly scales: string;
}

/** Columns that share a scale: the largest size that divides a row. Up to 256 were no faster, and are coarser. */
const blockSizes = [64, 32, 16];
const zeroCode = 128;

const nameOf = (value: Value | undefined): string | undefined =>
  value?.source.kind === 'parameter' ? value.source.name : undefined;

/** A stored weight, or rows of one, which are contiguous in its codes as well. */
interface LinearWeight {
  readonly weight: Value;
  readonly rows: NodeOf<'Slice'> | undefined;
}

/** The weight of a linear layer, all of which are written as x by the transpose of a weight. */
function linearWeight(node: Node): LinearWeight | undefined {
  if (!isNode(node, 'Gemm')) return undefined;
  const { transA, transB } = node.attributes;
  const [, factor] = node.inputs;
  if (transA || !transB || !factor) return undefined;
  if (nameOf(factor)) return { weight: factor, rows: undefined };
  const { source } = factor;
  const rows = source.kind === 'node' ? source.node : undefined;
  if (!isNode(rows, 'Slice')) return undefined;
  const [weight] = rows.inputs;
  return weight && nameOf(weight) && rows.attributes.axes.join() === '0'
    ? { weight, rows }
    : undefined;
}

interface Leaves {
  readonly weight: QuantizedWeight;
  readonly codes: Value;
  readonly scales: Value;
}

function quantizedLeaves(value: Value): Leaves | undefined {
  const name = nameOf(value);
  const [rows, columns] = value.shape.map(Number);
  const blockSize = blockSizes.find((size) => Number(columns) % size === 0);
  if (!name || !rows || !columns || !blockSize) return undefined;
  const weight = { name, blockSize, codes: `${name}.int8`, scales: `${name}.scales` };
  const blocks = columns / blockSize;
  return {
    weight,
    codes: parameter(weight.codes, [rows, blocks, blockSize], 'uint8'),
    scales: parameter(weight.scales, [rows, blocks]),
  };
}

/** Rows of a quantized table, where an embedding is tied to a linear layer. */
function gatherRows({ codes, scales }: Leaves, table: Value, indices: Value): Value {
  const centred = o.Sub(o.Cast(o.Gather(codes, indices), 'float32'), zeroCode);
  const scale = o.Unsqueeze(o.Gather(scales, indices), [indices.shape.length + 1]);
  return o.Reshape(o.Mul(centred, scale), [...indices.shape, table.shape[1] ?? 1]);
}

/**
 * 8-bit weights for the matrix products of a graph that is served: every linear layer whose rows can
 * be cut into blocks reads codes and scales instead of its float32 weight, and so does an embedding
 * that shares the weight. Products of two computed values, and all other operators, stay float32.
 */
export function quantizeWeights(graph: Graph): {
  readonly graph: Graph;
  readonly weights: readonly QuantizedWeight[];
} {
  const leaves = new Map<Value, Leaves>();
  for (const node of sortNodes(graph.outputs.map(({ value }) => value))) {
    const weight = linearWeight(node)?.weight;
    const found = weight && !leaves.has(weight) && quantizedLeaves(weight);
    if (found) leaves.set(weight, found);
  }
  const rewritten = rewrite(graph, (node, inputs) => {
    const linear = linearWeight(node);
    const quantized = linear && leaves.get(linear.weight);
    if (quantized) {
      const [x, , bias] = inputs;
      const [codes, scales] = [quantized.codes, quantized.scales].map((value) => {
        if (!linear.rows) return value;
        const { starts, ends, axes, steps } = linear.rows.attributes;
        return o.Slice(value, starts, ends, axes, steps);
      }) as [Value, Value];
      const product = o.MatMulNBits(x as Value, codes, scales);
      return [bias ? o.Add(product, bias) : product];
    }
    const [table, indices] = inputs;
    const tied = table && leaves.get(table);
    const isRows = tied && isNode(node, 'Gather') && node.attributes.axis === 0;
    return isRows && indices ? [gatherRows(tied, table, indices)] : undefined;
  });
  return { graph: rewritten, weights: [...leaves.values()].map(({ weight }) => weight) };
}
