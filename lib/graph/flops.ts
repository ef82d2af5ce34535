import { type Dim, evaluateDim } from './dim.ts';
import { isNode } from './table.ts';
import { type Graph, GraphError, type Node, bodiesOf, scopeOf, sortNodes } from './value.ts';

/**
 * Floating-point operations of one run, counting a multiplication and an addition as two. Only matrix
 * products and convolutions, which dominate, are counted. `symbols` gives the symbolic dimensions, `trips` of
 * a Loop among them. Throws GraphError for a symbol that is not given.
 */
export function flopsOf(graph: Graph, symbols: Readonly<Record<string, number>> = {}): number {
  const nodes = sortNodes(graph.outputs.map(({ value }) => value));
  return total(nodes, symbols);
}

const total = (nodes: readonly Node[], symbols: Readonly<Record<string, number>>): number =>
  nodes.reduce((sum, node) => sum + flopsOfNode(node, symbols), 0);

function flopsOfNode(node: Node, symbols: Readonly<Record<string, number>>): number {
  const count = (dim: Dim = 1): number => {
    const value = evaluateDim(dim, symbols);
    if (value === undefined) throw new GraphError(`${node.op}: the size of ${dim} is not given`);
    return value;
  };
  const elements = (shape: readonly Dim[] = []): number =>
    shape.reduce<number>((product, dim) => product * count(dim), 1);
  const [x, w] = node.inputs.map(({ shape }) => shape);
  const y = node.outputs[0]?.shape;
  if (isNode(node, 'MatMul')) return 2 * elements(y) * count(x?.at(-1));
  if (isNode(node, 'Gemm')) return 2 * elements(y) * count(x?.at(node.attributes.transA ? 0 : 1));
  if (isNode(node, 'Conv')) return 2 * elements(y) * elements(w?.slice(1));
  // Every element of the input meets every position of its channel's kernels.
  if (isNode(node, 'ConvTranspose')) return 2 * elements(x) * elements(w?.slice(1));
  // Values that a body captures belong to the graph around it and are counted there, once.
  const bodies = bodiesOf(node).map(([, body]) => total(scopeOf(body).nodes, symbols));
  const trips = isNode(node, 'Loop') ? count(node.attributes.trips) : 1;
  return trips * Math.max(0, ...bodies);
}
