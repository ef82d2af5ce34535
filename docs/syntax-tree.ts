import { parseSync } from 'oxc-parser';

/** A node of a syntax tree (ESTree with TypeScript). */
export interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && typeof (value as Node).type === 'string';

/** The nodes directly below a node, in the order of the source. */
export function childrenOf(node: Node): Node[] {
  const children = Object.values(node).flat().filter(isNode);
  return children.sort((a, b) => a.start - b.start);
}

/** The name of an identifier or a private name; '' for any other node. */
export const nameOf = (node: unknown): string =>
  isNode(node) && typeof node['name'] === 'string' ? node['name'] : '';

/** The syntax tree of a source file; undefined where it has an error. */
export function parse(file: string, source: string): Node | undefined {
  const { program, errors } = parseSync(file, source, { sourceType: 'module' });
  return errors.length === 0 ? (program as unknown as Node) : undefined;
}
