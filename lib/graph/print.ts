import { printShape } from './dim.ts';
import {
  type Graph,
  type Node,
  type Type,
  type Value,
  bodiesOf,
  operands,
  scopeOf,
  sortNodes,
} from './value.ts';

const printType = ({ dtype, shape }: Type): string => `${dtype}${printShape(shape)}`;

/** a, b, ... z, aa, ab, ... */
function letters(index: number): string {
  const last = String.fromCharCode(97 + (index % 26));
  return index < 26 ? last : letters(Math.floor(index / 26) - 1) + last;
}

/** Short constants are written out; of long ones the ends, which is enough to see a change. */
function printConstant(value: Value, data: ArrayLike<number | bigint>): string {
  const number = (i: number): string => String(data[i]);
  if (value.shape.length === 0) return number(0);
  const all = Array.from({ length: data.length }, (_, i) => i);
  const shown =
    all.length <= 8
      ? all.map(number)
      : [...all.slice(0, 3).map(number), '..', ...all.slice(-3).map(number)];
  return `${printType(value)}{${shown.join(',')}}`;
}

function printAttributes(node: Node): string {
  const bodies = new Set(bodiesOf(node).map(([name]) => name));
  const shown = Object.entries(node.attributes)
    .filter(([name]) => !bodies.has(name))
    .map(([name, value]) => `${name}=${Array.isArray(value) ? `[${value.join(',')}]` : value}`);
  return shown.length > 0 ? ` {${shown.join(' ')}}` : '';
}

/**
 * A graph as stable text, a line a node in execution order, for reading and for golden snapshots:
 * `b: float32[2,3] = Add a 2`. Names depend on structure only, not on how the graph was built.
 */
export function printGraph(graph: Graph): string {
  const lines: string[] = [];
  const leaves = new Set<string>();
  let fresh = 0;
  const freshName = (): string => {
    const name = letters(fresh++);
    return leaves.has(name) ? freshName() : name;
  };

  const printScope = (
    scope: Map<Value, string>,
    nodes: readonly Node[],
    graph: Graph,
    indent: string,
  ): void => {
    const nameOf = (value: Value): string => {
      const known = scope.get(value);
      if (known !== undefined) return known;
      const { source } = value;
      if (source.kind === 'constant') return printConstant(value, source.data);
      if (source.kind === 'node') return '?';
      scope.set(value, source.name);
      lines.push(`${indent}${source.name}: ${printType(value)} = ${source.kind}`);
      return source.name;
    };
    for (const node of nodes) {
      const inputs = node.inputs.map(nameOf);
      const names = node.outputs.map((value) => {
        const name = freshName();
        scope.set(value, name);
        return `${name}: ${printType(value)}`;
      });
      lines.push(
        `${indent}${names.join(', ')} = ${[node.op, ...inputs].join(' ')}${printAttributes(node)}`,
      );
      for (const [attribute, body] of bodiesOf(node)) {
        const inner = new Map(scope);
        const heads = body.inputs.map((value) => {
          const name = freshName();
          inner.set(value, name);
          return `${name}: ${printType(value)}`;
        });
        lines.push(`${indent}  ${attribute} (${heads.join(', ')})`);
        printScope(inner, scopeOf(body).nodes, body, `${indent}  `);
      }
    }
    const results = graph.outputs.map(({ name, value }) => `${name}=${nameOf(value)}`);
    lines.push(`${indent}return ${results.join(' ')}`);
  };

  const order = sortNodes(graph.outputs.map(({ value }) => value));
  for (const value of [...graph.inputs, ...order.flatMap(operands)]) {
    if ('name' in value.source) leaves.add(value.source.name);
  }
  const scope = new Map<Value, string>();
  for (const value of graph.inputs) {
    if (value.source.kind === 'input' || value.source.kind === 'parameter') {
      scope.set(value, value.source.name);
      lines.push(`${value.source.name}: ${printType(value)} = input`);
    }
  }
  printScope(scope, order, graph, '');
  return `${lines.join('\n')}\n`;
}
