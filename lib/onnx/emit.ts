import { type Shape, isStatic, printShape } from '../graph/dim.ts';
import { type OpName, isNode } from '../graph/table.ts';
import { bytesPerElement } from '../graph/types.ts';
import {
  type Graph,
  type Node,
  type Type,
  type Value,
  GraphError,
  bodiesOf,
  scopeOf,
  operands,
  sortNodes,
} from '../graph/value.ts';
import { lower } from './lower.ts';
import {
  type GraphProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
  dataTypes,
  encodeModel,
} from './schema.ts';

/** The version of ONNX that every model file is written for; it is pinned here only. */
export const opset = 21;
const irVersion = 10;

/** Where a parameter's bytes are: in a file beside the model (ONNX external data), or given here. */
export type WeightSource =
  | { readonly location: string; readonly byteOffset: number; readonly byteLength: number }
  | Uint8Array;

export interface EmitOptions {
  readonly name: string;
  /** Finds a parameter that the graph stores rather than takes as input. */
  readonly weights?: (name: string, type: Type) => WeightSource | undefined;
}

/** Turns a graph into the bytes of an ONNX model. Throws GraphError for a parameter without weights. */
export function emitModel(graph: Graph, options: EmitOptions): Uint8Array {
  const writer = new Writer(options);
  const written = writer.main(graph);
  return encodeModel({
    irVersion,
    producerName: 'radscribe',
    opsetImport: [
      { domain: '', version: opset },
      ...[...writer.domains].map((domain) => ({ domain, version: 1 })),
    ],
    graph: written,
  });
}

const maxInt64 = 2n ** 63n - 1n;

/** Slices run to the end or to before the start: ONNX writes both as the largest integers. */
function indexBytes(values: readonly number[]): Uint8Array {
  const big = values.map((value) =>
    value === Infinity ? maxInt64 : value === -Infinity ? -maxInt64 : BigInt(value),
  );
  return new Uint8Array(BigInt64Array.from(big).buffer);
}

const bytesOf = (data: NodeJS.TypedArray): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

/** Operators whose second and third outputs are optional in ONNX, and not computed unless read. */
const mayDrop: ReadonlySet<string> = new Set<OpName>(['MaxPool', 'LayerNormalization']);

/** Rows of a stored parameter, along its first axis. */
interface Rows {
  readonly name: string;
  readonly table: Value;
  readonly from: number;
  readonly to: number;
}

/** The names that can be read: a body reads those around it and shadows them with its own. */
type Scope = Map<Value, string>;

class Writer {
  readonly #options: EmitOptions;
  readonly #initializers = new Map<string, TensorProto>();
  /** Names of small constants by content, so that each is written once. */
  readonly #shared = new Map<string, string>();
  /** How often each name was claimed. */
  readonly #taken = new Map<string, number>();
  readonly #parameters = new Map<string, string>();
  /** Outputs that are read; the others stay unnamed and are not computed. */
  readonly #read = new Set<Value>();

  /** Domains of operators that are not ONNX's own. */
  readonly domains = new Set<string>();

  constructor(options: EmitOptions) {
    this.#options = options;
  }

  main(graph: Graph): GraphProto {
    const scope: Scope = new Map();
    for (const value of graph.inputs) {
      const { source } = value;
      if (source.kind !== 'input' && source.kind !== 'parameter') {
        throw new GraphError(`a graph input must be an input or a parameter, got a ${source.kind}`);
      }
      scope.set(value, this.#claim(source.name));
    }
    const nodes = sortNodes(graph.outputs.map(({ value }) => value));
    const written = this.#scope(graph, nodes, scope, this.#options.name);
    return { ...written, initializer: [...this.#initializers.values()] };
  }

  #scope(graph: Graph, all: readonly Node[], scope: Scope, name: string): GraphProto {
    const nodes = all.filter((node) => !storedRows(node, scope));
    this.#markRead(graph, nodes);
    const own = new Set(nodes.flatMap(({ outputs }) => outputs));
    const copies: { readonly from: Value; readonly to: string }[] = [];
    const output = graph.outputs.map(({ name: wanted, value }) => {
      const unique = this.#claim(wanted);
      // An input, or a value that is named already, is copied to the output.
      if (own.has(value) && !scope.has(value)) scope.set(value, unique);
      else copies.push({ from: value, to: unique });
      return valueInfo(unique, value);
    });
    const written = nodes.map((node) => this.#node(node, scope));
    return {
      name,
      input: graph.inputs.map((value) => valueInfo(this.#nameOf(value, scope), value)),
      output,
      node: [...written, ...copies.map(({ from, to }) => identity(this.#nameOf(from, scope), to))],
      initializer: [],
    };
  }

  #markRead(graph: Graph, nodes: readonly Node[]): void {
    for (const { value } of graph.outputs) this.#read.add(value);
    for (const value of nodes.flatMap(operands)) this.#read.add(value);
  }

  #node(node: Node, scope: Scope): NodeProto {
    const { attributes, indices = [], domain = '' } = lower(node);
    if (domain) this.domains.add(domain);
    const input = [
      ...node.inputs.map((value) => this.#nameOf(value, scope)),
      ...indices.map((values) => this.#constant('int64', [values.length], indexBytes(values))),
    ];
    const attribute = [...attributes];
    for (const [name, body] of bodiesOf(node)) {
      attribute.push({ name, type: 5, g: this.#body(node, body, scope) });
    }
    // A Loop has no condition: its trip count alone ends it. An If's branches read its operands by name.
    if (isNode(node, 'Loop')) input.splice(1, 0, '');
    if (isNode(node, 'If')) input.splice(1);
    const output = node.outputs.map((value) => this.#outputName(node, value, scope));
    while (output.at(-1) === '') output.pop();
    return {
      name: this.#claim(node.op),
      opType: node.op,
      domain,
      input,
      output,
      attribute,
    };
  }

  #outputName(node: Node, value: Value, scope: Scope): string {
    const given = scope.get(value);
    if (given !== undefined) return given;
    if (!this.#read.has(value) && mayDrop.has(node.op)) return '';
    const name = this.#claim(`${node.op}_out`);
    scope.set(value, name);
    return name;
  }

  #body(node: Node, body: Graph, around: Scope): GraphProto {
    const scope: Scope = new Map(around);
    const passes = isNode(node, 'Loop');
    body.inputs.forEach((value, index) => {
      const operand = node.inputs[index + 1];
      const name = 'name' in value.source ? value.source.name : 'carried';
      scope.set(value, passes || !operand ? this.#claim(name) : this.#nameOf(operand, around));
    });
    const { nodes } = scopeOf(body);
    for (const value of nodes.flatMap(({ outputs }) => outputs)) scope.delete(value);
    const written = this.#scope(body, nodes, scope, 'body');
    return passes ? written : { ...written, input: [] };
  }

  #nameOf(value: Value, scope: Scope): string {
    const known = scope.get(value);
    if (known !== undefined) return known;
    const { source } = value;
    if (source.kind === 'constant' && isStatic(value.shape)) {
      return this.#constant(value.dtype, value.shape, bytesOf(source.data));
    }
    if (source.kind === 'parameter') return this.#parameter(source.name, value);
    const rows = source.kind === 'node' ? storedRows(source.node, scope) : undefined;
    if (rows) return this.#parameter(rows.name, rows.table, rows);
    const what = source.kind === 'input' ? `input ${source.name}` : `output of ${source.kind}`;
    throw new GraphError(
      `${what} ${printShape(value.shape)} is read but not among the graph's inputs`,
    );
  }

  #constant(dtype: Value['dtype'], shape: readonly number[], rawData: Uint8Array): string {
    const key =
      rawData.length <= 256
        ? `${dtype}${printShape(shape)}${Buffer.from(rawData).toString('hex')}`
        : '';
    const known = key && this.#shared.get(key);
    if (known) return known;
    const name = this.#claim('constant');
    if (key) this.#shared.set(key, name);
    this.#initializers.set(name, { name, dataType: dataTypes[dtype], dims: shape, rawData });
    return name;
  }

  /** A stored parameter, or `rows` of it, which are contiguous and need no copy. */
  #parameter(name: string, value: Value, rows?: Rows): string {
    const wanted = rows ? `${name}[${rows.from}:${rows.to}]` : name;
    const known = this.#parameters.get(wanted);
    if (known !== undefined) return known;
    if (!isStatic(value.shape)) throw new GraphError(`parameter ${name} has a symbolic shape`);
    const found = this.#options.weights?.(name, value);
    if (!found) throw new GraphError(`no weights for parameter ${name} ${printShape(value.shape)}`);
    const expected = value.shape.reduce((size, dim) => size * dim, bytesPerElement[value.dtype]);
    const unique = this.#claim(wanted);
    this.#parameters.set(wanted, unique);
    const length = found instanceof Uint8Array ? found.length : found.byteLength;
    if (length !== expected) {
      throw new GraphError(`parameter ${name} needs ${expected} bytes, its weights hold ${length}`);
    }
    const [count = 1, ...rest] = value.shape;
    const { from, to } = rows ?? { from: 0, to: count };
    const dims = rows ? [to - from, ...rest] : value.shape;
    const [start, end] = [from, to].map((row) => (row * expected) / count) as [number, number];
    const tensor = { name: unique, dataType: dataTypes[value.dtype], dims };
    this.#initializers.set(
      unique,
      found instanceof Uint8Array
        ? { ...tensor, rawData: found.subarray(start, end) }
        : {
            ...tensor,
            dataLocation: 1,
            externalData: [
              { key: 'location', value: found.location },
              { key: 'offset', value: String(found.byteOffset + start) },
              { key: 'length', value: String(end - start) },
            ],
          },
    );
    return unique;
  }

  #claim(wanted: string): string {
    let count = this.#taken.get(wanted) ?? 0;
    let name = count === 0 ? wanted : `${wanted}_${count}`;
    while (name !== wanted && this.#taken.has(name)) name = `${wanted}_${++count}`;
    this.#taken.set(wanted, count + 1);
    if (name !== wanted) this.#taken.set(name, 1);
    return name;
  }
}

/** The rows that a node cuts out of a stored (not fed) parameter: they are stored as such. */
function storedRows(node: Node, scope: Scope): Rows | undefined {
  const [table] = node.inputs;
  const [rows] = node.outputs;
  if (!isNode(node, 'Slice') || table?.source.kind !== 'parameter' || scope.has(table))
    return undefined;
  const { starts, axes, steps } = node.attributes;
  const from = starts[0] ?? 0;
  if (axes.length !== 1 || axes[0] !== 0 || steps[0] !== 1 || from < 0) return undefined;
  return { name: table.source.name, table, from, to: from + Number(rows?.shape[0]) };
}

const dimension = (dim: Shape[number]): object =>
  typeof dim === 'number' ? { dimValue: dim } : { dimParam: dim };

const valueInfo = (name: string, { dtype, shape }: Type): ValueInfoProto => ({
  name,
  type: { tensorType: { elemType: dataTypes[dtype], shape: { dim: shape.map(dimension) } } },
});

const identity = (source: string, output: string): NodeProto => ({
  name: `${output}_identity`,
  opType: 'Identity',
  domain: '',
  input: [source],
  output: [output],
  attribute: [],
});
