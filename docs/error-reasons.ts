import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Node, childrenOf, nameOf, parse } from './syntax-tree.ts';

/** A reason that an error can have, and where the sources give it. */
export interface ErrorReason {
  readonly reason: string;
  /** Codes that stand beside it, e.g. `INVALID_ARGUMENT`; empty where the code is computed. */
  readonly codes: readonly string[];
  /** Source files, relative to the root of the repository. */
  readonly files: readonly string[];
}

/** Reasons that are computed, by the template that makes them. */
const computed: Readonly<Record<string, readonly string[]>> = {
  '*_UNKNOWN': ['RELEASE_UNKNOWN', 'CHANNEL_UNKNOWN', 'VARIANT_UNKNOWN'],
  // The status of a server that gives no reason.
  'RPC_*': ['RPC_UNAVAILABLE', 'RPC_UNIMPLEMENTED', 'RPC_INTERNAL'],
};

/** A function or constructor with a parameter `reason`, and with a parameter `code`. */
interface Maker {
  readonly reasonAt: number;
  readonly codeAt: number;
  /** The code that the function itself gives. */
  readonly code: string | undefined;
}

interface Source {
  readonly file: string;
  readonly program: Node;
}

interface Found {
  readonly reason: string;
  readonly code: string | undefined;
  readonly file: string;
}

const root = join(import.meta.dirname, '..');

/** Every reason of the sources, in alphabetical order. Throws for a computed one that it cannot tell. */
export function errorReasons(): ErrorReason[] {
  const sources = globSync('{lib,services,cli}/**/*.ts', { cwd: root })
    .sort()
    .map((file) => {
      const program = parse(file, readFileSync(join(root, file), 'utf8'));
      if (!program) throw new Error(`${file} does not parse`);
      return { file, program };
    });
  const makers = new Map(sources.flatMap(({ program }) => makersOf(program)));
  const image = makers.get('ImageRefused');
  // `refusal` of lib/image/limits.ts makes it one.
  if (image) makers.set('ImageRefused', { ...image, code: 'INVALID_ARGUMENT' });
  const found = sources.flatMap((source) => reasonsOf(source.program, source, makers));
  const unique = (values: readonly (string | undefined)[]): string[] =>
    [...new Set(values)].filter((value) => value !== undefined).sort();
  return [...Map.groupBy(found, ({ reason }) => reason)]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([reason, all]) => ({
      reason,
      codes: unique(all.map(({ code }) => code)),
      files: unique(all.map(({ file }) => file)),
    }));
}

const functions = new Set(['FunctionDeclaration', 'FunctionExpression', 'ArrowFunctionExpression']);

function makersOf(node: Node, name = ''): [string, Maker][] {
  const own: [string, Maker][] = [];
  if (functions.has(node.type)) {
    const names = (node['params'] as Node[]).map(nameOf);
    const maker = nameOf(node['id']) || name;
    const reasonAt = names.indexOf('reason');
    if (maker !== '' && reasonAt >= 0)
      own.push([maker, { reasonAt, codeAt: names.indexOf('code'), code: codeWithin(node) }]);
  }
  // A constructor is called by the name of its class.
  const isNamed = ['VariableDeclarator', 'ClassDeclaration'].includes(node.type);
  const below = isNamed ? nameOf(node['id']) : node.type === 'BlockStatement' ? '' : name;
  return [...own, ...childrenOf(node).flatMap((child) => makersOf(child, below))];
}

/** The code that a maker always gives: `new DomainError('UNAUTHENTICATED', reason, message)`. */
function codeWithin(node: Node): string | undefined {
  if (nameOf(node['callee']) === 'DomainError') return textsOf(argument(node, 0))[0];
  for (const child of childrenOf(node)) {
    const code = codeWithin(child);
    if (code !== undefined) return code;
  }
  return undefined;
}

const argument = (call: Node, at: number): Node | undefined => (call['arguments'] as Node[])[at];

function reasonsOf(node: Node, source: Source, makers: ReadonlyMap<string, Maker>): Found[] {
  const { file } = source;
  const found: Found[] = [];
  const maker = makers.get(nameOf(node['callee']));
  if (maker && Array.isArray(node['arguments'])) {
    const given = argument(node, maker.reasonAt);
    const codes = maker.codeAt < 0 ? [maker.code] : textsOf(argument(node, maker.codeAt));
    for (const reason of given ? reasonsIn(given, source) : [])
      for (const code of codes.length > 0 ? codes : [undefined]) found.push({ reason, code, file });
  }
  if (node.type === 'Property' && nameOf(node['key']) === 'reason')
    for (const reason of textsOf(node['value'] as Node).filter(isReason))
      found.push({ reason, code: undefined, file });
  return [...found, ...childrenOf(node).flatMap((child) => reasonsOf(child, source, makers))];
}

const isReason = (text: string): boolean => /^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$/.test(text);

function reasonsIn(given: Node, { file, program }: Source): readonly string[] {
  if (given.type === 'TemplateLiteral') {
    const quasis = given['quasis'] as readonly { readonly value: { readonly cooked: string } }[];
    const pattern = quasis.map(({ value }) => value.cooked).join('*');
    const reasons = computed[pattern];
    if (!reasons) throw new Error(`${file}: unknown computed reason ${pattern}`);
    return reasons;
  }
  // One of a table of the file, `const [reason, message] = ...`; else another error came with it.
  if (given.type === 'Identifier')
    return takesApart(program, nameOf(given)) ? firstsOf(program).filter(isReason) : [];
  const below = childrenOf(given).filter(({ type }) => type === 'TemplateLiteral');
  return [
    ...textsOf(given).filter(isReason),
    ...below.flatMap((one) => reasonsIn(one, { file, program })),
  ];
}

/** Whether a file takes arrays apart into a variable of this name. */
const takesApart = (node: Node, name: string): boolean =>
  (node.type === 'ArrayPattern' &&
    (node['elements'] as Node[]).some((one) => nameOf(one) === name)) ||
  childrenOf(node).some((child) => takesApart(child, name));

/** The first texts of the arrays of a file. */
function firstsOf(node: Node): string[] {
  const [first] = node.type === 'ArrayExpression' ? (node['elements'] as Node[]) : [];
  return [...(first ? textsOf(first) : []), ...childrenOf(node).flatMap(firstsOf)];
}

/** The texts that an expression can be, those of both branches of a condition. */
function textsOf(node: Node | undefined): string[] {
  if (!node) return [];
  if (node.type === 'Literal') return typeof node['value'] === 'string' ? [node['value']] : [];
  if (node.type === 'ConditionalExpression')
    return [node['consequent'], node['alternate']].flatMap((branch) => textsOf(branch as Node));
  if (node.type === 'TSAsExpression') return textsOf(node['expression'] as Node);
  return [];
}
