import { type Shape, isStatic, printShape } from './dim.ts';
import type { Dtype, DtypeArray, Tensor } from './types.ts';

/** An error in how a graph is built: shapes that do not fit, a missing gradient. */
export class GraphError extends Error {
  override readonly name = 'GraphError';
}

export interface Type {
  readonly dtype: Dtype;
  readonly shape: Shape;
}

/**
 * A value of the computation. There is no graph object while building: a value knows the node that
 * makes it, and a graph is what its outputs reach. Dead nodes therefore do not exist.
 */
export interface Value extends Type {
  readonly source:
    | { readonly kind: 'input'; readonly name: string }
    | { readonly kind: 'parameter'; readonly name: string }
    | { readonly kind: 'constant'; readonly data: DtypeArray[Dtype] }
    | { readonly kind: 'node'; readonly node: Node; readonly index: number };
}

/** Of any operator; `isNode` (table.ts) tells which, and so the type of its attributes. */
export interface Node {
  readonly op: string;
  readonly inputs: readonly Value[];
  readonly attributes: object;
  readonly outputs: readonly Value[];
}

/**
 * A closed computation. `inputs` are leaves: inputs, or parameters that are fed rather than stored
 * (training feeds what serving stores). In the body of a Loop or If, a value that does not depend on `inputs`
 * belongs to the enclosing graph and is computed once.
 */
export interface Graph {
  readonly inputs: readonly Value[];
  readonly outputs: readonly { readonly name: string; readonly value: Value }[];
}

export const input = (name: string, dtype: Dtype, shape: Shape): Value => ({
  dtype,
  shape,
  source: { kind: 'input', name },
});

/** A weight, found by name in a .safetensors file or fed by name while training. */
export const parameter = (
  name: string,
  shape: readonly number[],
  dtype: Dtype = 'float32',
): Value => ({
  dtype,
  shape,
  source: { kind: 'parameter', name },
});

export function constant(tensor: Tensor): Value {
  const size = tensor.shape.reduce((product, dim) => product * dim, 1);
  if (tensor.data.length !== size) {
    throw new GraphError(
      `constant of shape ${printShape(tensor.shape)} needs ${size} values, got ${tensor.data.length}`,
    );
  }
  return {
    dtype: tensor.dtype,
    shape: tensor.shape,
    source: { kind: 'constant', data: tensor.data },
  };
}

const arrays: { readonly [D in Dtype]: (values: readonly number[]) => DtypeArray[D] } = {
  float64: (values) => Float64Array.from(values),
  float32: (values) => Float32Array.from(values),
  float16: (values) => Float16Array.from(values),
  bfloat16: () => {
    throw new GraphError('bfloat16 constants are not supported; use float32 and Cast');
  },
  int64: (values) => BigInt64Array.from(values, BigInt),
  int32: (values) => Int32Array.from(values),
  int8: (values) => Int8Array.from(values),
  uint8: (values) => Uint8Array.from(values),
  uint32: (values) => Uint32Array.from(values),
  bool: (values) => Uint8Array.from(values),
};

/** A constant from plain numbers; `shape` defaults to one axis. */
export const constantOf = (
  values: readonly number[],
  dtype: Dtype,
  shape: readonly number[] = [values.length],
): Value => constant({ dtype, shape, data: arrays[dtype](values) });

export const scalar = (value: number, dtype: Dtype): Value => constantOf([value], dtype, []);

/** The data of a constant, or undefined. */
export function constantData(value: Value): Tensor | undefined {
  if (value.source.kind !== 'constant' || !isStatic(value.shape)) return undefined;
  return { dtype: value.dtype, shape: value.shape, data: value.source.data };
}

export const isFloat = (dtype: Dtype): boolean =>
  dtype === 'float32' || dtype === 'float16' || dtype === 'float64';

interface Scope {
  /** The body's own nodes, in order. */
  readonly nodes: readonly Node[];
  /** Values of the graph around it that the body reads. */
  readonly captures: readonly Value[];
}
const scopes = new WeakMap<Graph, Scope>();

/** Splits the nodes that a body's outputs need into the body's own and values of the outer graph. */
export function scopeOf(body: Graph): Scope {
  const known = scopes.get(body);
  if (known) return known;
  const own = new Set<Value>(body.inputs);
  const free = new Set<Value>();
  const results = body.outputs.map(({ value }) => value);
  const nodes = sortNodes(results).filter((node) => {
    const reads = operands(node);
    if (!reads.some((value) => own.has(value))) return false;
    for (const output of node.outputs) own.add(output);
    for (const value of reads) if (!own.has(value)) free.add(value);
    return true;
  });
  for (const value of results) if (!own.has(value)) free.add(value);
  const scope = { nodes, captures: [...free] };
  scopes.set(body, scope);
  return scope;
}

/** The graphs among a node's attributes, by attribute name. */
export const bodiesOf = (node: Node): readonly (readonly [string, Graph])[] =>
  node.op === 'Loop' || node.op === 'If'
    ? Object.entries(node.attributes).filter((entry): entry is [string, Graph] => isGraph(entry[1]))
    : [];

const isGraph = (attribute: unknown): attribute is Graph =>
  typeof attribute === 'object' && attribute !== null && 'outputs' in attribute;

/** All values that a node reads: its inputs, and those that the bodies among its attributes capture. */
export const operands = (node: Node): readonly Value[] => [
  ...node.inputs,
  ...bodiesOf(node).flatMap(([, body]) => scopeOf(body).captures),
];

/** The nodes that `values` need, each after those it reads. */
export function sortNodes(values: readonly Value[]): Node[] {
  const order: Node[] = [];
  const visited = new Set<Node>();
  // An explicit stack: a paper-size training graph is deeper than the call stack.
  const stack: { node: Node; reads: readonly Value[]; next: number }[] = [];
  const enter = ({ source }: Value): void => {
    if (source.kind !== 'node' || visited.has(source.node)) return;
    visited.add(source.node);
    stack.push({ node: source.node, reads: operands(source.node), next: 0 });
  };
  for (const value of values) {
    enter(value);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const read = top.reads[top.next++];
      if (read !== undefined) {
        enter(read);
      } else {
        order.push(top.node);
        stack.pop();
      }
    }
  }
  return order;
}
