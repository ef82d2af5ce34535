import { type Node, childrenOf, nameOf, parse } from '../../docs/syntax-tree.ts';

/** One change of a source file: `replacement` instead of the text from `start` to `end`. */
export interface Mutation {
  /** Relative to the root of the repository. */
  readonly file: string;
  readonly start: number;
  readonly end: number;
  readonly original: string;
  readonly replacement: string;
  readonly line: number;
}

type Change = readonly [start: number, end: number, replacement: string];

/** Each operator with its mutants. A comparison moves its boundary and is turned round. */
const operators: Readonly<Record<string, readonly string[]>> = {
  '<': ['<=', '>='],
  '<=': ['<', '>'],
  '>': ['>=', '<='],
  '>=': ['>', '<'],
  '===': ['!=='],
  '!==': ['==='],
  '+': ['-'],
  '-': ['+'],
  '*': ['/'],
  '/': ['*'],
  '%': ['*'],
  '**': ['*'],
  '<<': ['>>'],
  '>>': ['<<'],
  '>>>': ['<<'],
  '&': ['|'],
  '|': ['&'],
  '^': ['&'],
  '&&': ['||'],
  '||': ['&&'],
  '+=': ['-='],
  '-=': ['+='],
  '*=': ['/='],
  '/=': ['*='],
  '??=': ['='],
  '||=': ['='],
  '&&=': ['='],
  '++': ['--'],
  '--': ['++'],
};

/** Methods that stand for each other. */
const swaps: Readonly<Record<string, string>> = {
  some: 'every',
  every: 'some',
  find: 'findLast',
  findLast: 'find',
  findIndex: 'findLastIndex',
  indexOf: 'lastIndexOf',
  push: 'unshift',
  unshift: 'push',
  shift: 'pop',
  pop: 'shift',
  min: 'max',
  max: 'min',
  floor: 'ceil',
  ceil: 'floor',
  round: 'floor',
  startsWith: 'endsWith',
  endsWith: 'startsWith',
  toUpperCase: 'toLowerCase',
  toLowerCase: 'toUpperCase',
};

/** Methods that give something like what they are called on: the call is left out. */
const dropped = new Set(
  ['abs', 'filter', 'flat', 'reverse', 'slice', 'sort', 'subarray', 'toReversed'].concat([
    'toSorted',
    'trim',
    'trimEnd',
    'trimStart',
    'catch',
    'finally',
  ]),
);

const relational = new Set(['<', '<=', '>', '>=']);
const equality = new Set(['===', '!==']);
/** TypeScript that holds an expression; all else of it is types. */
const wrappers = new Set(['TSAsExpression', 'TSNonNullExpression', 'TSSatisfiesExpression']);
/** Names of what people read: messages, help, documentation. */
const prose = new Set(['message', 'help', 'doc', 'description', 'cause']);
/** Constructors of errors, by the number of arguments before the message. */
const errorMakers: Readonly<Record<string, number>> = {
  DomainError: 2,
  invalidArgument: 2,
  RangeError: 0,
  TypeError: 0,
  Error: 0,
};

const field = (node: Node, name: string): Node => node[name] as Node;

/** The mutations of one file, in the order of the source. */
export function mutationsOf(file: string, source: string): Mutation[] {
  const program = parse(file, source);
  if (!program) throw new Error(`${file} does not parse`);
  const changes: Change[] = [];
  collect(program, undefined, source, changes);
  const lines = lineStarts(source);
  return changes
    .filter(([start, end, text]) => parse(file, source.slice(0, start) + text + source.slice(end)))
    .map(([start, end, replacement]) => ({
      file,
      start,
      end,
      original: source.slice(start, end),
      replacement,
      line: lines.findLastIndex((at) => at <= start) + 1,
    }))
    .sort((a, b) => a.start - b.start);
}

function lineStarts(source: string): number[] {
  return [0, ...[...source.matchAll(/\n/g)].map(({ index }) => index + 1)];
}

function collect(node: Node, parent: Node | undefined, source: string, changes: Change[]): void {
  if (isSkipped(node, source)) return;
  changes.push(...changesOf(node, parent, source));
  const read = proseOf(node);
  for (const child of childrenOf(node))
    if (!read.includes(child)) collect(child, node, source, changes);
}

/** Types, imports, and calls that log or describe. */
function isSkipped(node: Node, source: string): boolean {
  if (node.type.startsWith('TS')) return !wrappers.has(node.type);
  if (node.type === 'ImportDeclaration' || node.type === 'ExportAllDeclaration') return true;
  if (node.type === 'ExportNamedDeclaration') return node['source'] !== null;
  if (node.type !== 'CallExpression') return false;
  const callee = source.slice(field(node, 'callee').start, field(node, 'callee').end);
  return /\b(log|logger|stdout|stderr)\??\.\w+$|\.(describe|setAttributes?)$/.test(callee);
}

/** What below a node is text for people. */
function proseOf(node: Node): readonly Node[] {
  if (node.type === 'CallExpression' || node.type === 'NewExpression') {
    const before = errorMakers[nameOf(node['callee'])];
    return before === undefined ? [] : (node['arguments'] as Node[]).slice(before, before + 1);
  }
  const [name, value] =
    node.type === 'Property'
      ? [node['key'], node['value']]
      : node.type === 'VariableDeclarator'
        ? [node['id'], node['init']]
        : [undefined, undefined];
  return prose.has(nameOf(name)) && value ? [value as Node] : [];
}

function changesOf(node: Node, parent: Node | undefined, source: string): Change[] {
  switch (node.type) {
    case 'BinaryExpression':
    case 'LogicalExpression':
    case 'AssignmentExpression':
      return ofOperator(node, parent, source);
    case 'UpdateExpression':
      return [[node.start, node.end, swapped(source.slice(node.start, node.end))]];
    case 'UnaryExpression': {
      const argument = field(node, 'argument');
      const bare = source.slice(argument.start, argument.end);
      return node['operator'] === '!' || node['operator'] === '-'
        ? [[node.start, node.end, bare]]
        : [];
    }
    case 'IfStatement':
    case 'ConditionalExpression':
      return ['true', 'false'].map((text) => inPlaceOf(field(node, 'test'), text));
    case 'WhileStatement':
      return [inPlaceOf(field(node, 'test'), 'false')];
    case 'Literal':
      return ofLiteral(node, parent);
    case 'CallExpression':
      return ofCall(node, source);
    case 'MemberExpression':
      return node['optional'] === true ? ofOptional(node, source) : [];
    case 'ExpressionStatement':
      return isWholeBranch(node, parent) ? [] : ofStatement(node);
    case 'ReturnStatement':
      return node['argument'] === null && !isWholeBranch(node, parent)
        ? [[node.start, node.end, ';']]
        : [];
    case 'ThrowStatement':
    case 'BreakStatement':
    case 'ContinueStatement':
      return isWholeBranch(node, parent) ? [] : [[node.start, node.end, ';']];
    default:
      return [];
  }
}

const inPlaceOf = ({ start, end }: Node, text: string): Change => [start, end, text];
const swapped = (text: string): string =>
  text.includes('++') ? text.replace('++', '--') : text.replace('--', '++');

/** Alone below an `if`: the condition that is always false leaves it out. */
const isWholeBranch = (node: Node, parent: Node | undefined): boolean =>
  (parent?.type === 'IfStatement' && parent['alternate'] === null) ||
  (parent?.type === 'BlockStatement' && (parent['body'] as Node[]).length === 1);

const isTest = (node: Node, parent: Node | undefined): boolean =>
  (parent?.type === 'IfStatement' || parent?.type === 'ConditionalExpression') &&
  parent['test'] === node;

const isText = (node: Node): boolean =>
  node.type === 'TemplateLiteral' || (node.type === 'Literal' && typeof node['value'] === 'string');

function ofOperator(node: Node, parent: Node | undefined, source: string): Change[] {
  const operator = node['operator'] as string;
  const [left, right] = [field(node, 'left'), field(node, 'right')];
  if (operator === '??') {
    const sides = isForTypes(left, right) ? [right] : [left, right];
    return sides.map((side) => inPlaceOf(node, source.slice(side.start, side.end)));
  }
  // Joins texts.
  if (operator === '+' && (isText(left) || isText(right))) return [];
  const at = source.indexOf(operator, left.end);
  let texts = operators[operator] ?? [];
  // A condition becomes true and false by itself.
  if (isTest(node, parent) && relational.has(operator)) texts = texts.slice(0, 1);
  if (isTest(node, parent) && equality.has(operator)) texts = [];
  return texts.map((text) => [at, at + operator.length, text]);
}

/** `row[i] ?? 0`: the number is there for the type checker, `i` is within the row. */
function isForTypes(left: Node, right: Node): boolean {
  const inner = left.type === 'ChainExpression' ? field(left, 'expression') : left;
  return isElement(inner) && right.type === 'Literal' && typeof right['value'] === 'number';
}

/** `row[i]`, and what hangs on it: `row[i]?.weight`. */
const isElement = (node: Node): boolean =>
  node.type === 'MemberExpression' &&
  (node['computed'] === true || isElement(field(node, 'object')));

function ofLiteral(node: Node, parent: Node | undefined): Change[] {
  const { value } = node;
  if (parent?.type === 'Property' && parent['key'] === node) return [];
  if (parent?.type === 'LogicalExpression' && isForTypes(field(parent, 'left'), node)) return [];
  if (parent?.type === 'BinaryExpression' && equality.has(parent['operator'] as string))
    if (typeof value !== 'number') return [];
  if (typeof value === 'boolean') return [inPlaceOf(node, String(!value))];
  if (typeof value === 'number')
    return [inPlaceOf(node, String(value > 0 && value < 1 ? value * 100 : value + 1))];
  // Codes, reasons, names of options; what has a space is for people.
  if (typeof value === 'string' && /^[\w.-]*$/.test(value)) return [inPlaceOf(node, `'${value}~'`)];
  return [];
}

function ofCall(node: Node, source: string): Change[] {
  const callee = field(node, 'callee');
  if (callee.type !== 'MemberExpression')
    return node['optional'] === true ? ofOptional(node, source) : [];
  const property = field(callee, 'property');
  const name = nameOf(property);
  const object = field(callee, 'object');
  if (dropped.has(name)) {
    const [only] = node['arguments'] as Node[];
    const kept = nameOf(object) === 'Math' && only ? only : object;
    return [inPlaceOf(node, source.slice(kept.start, kept.end))];
  }
  const swap = Object.hasOwn(swaps, name) ? swaps[name] : undefined;
  return swap === undefined ? [] : [inPlaceOf(property, swap)];
}

/** `a?.b` becomes `a.b`, `a?.(b)` becomes `a(b)`. */
function ofOptional(node: Node, source: string): Change[] {
  // As above: the element is there.
  if (node.type === 'MemberExpression' && isElement(field(node, 'object'))) return [];
  const before = field(node, node.type === 'CallExpression' ? 'callee' : 'object');
  const at = source.indexOf('?.', before.end);
  const next = source[at + 2];
  return [[at, at + 2, next === '(' || next === '[' ? '' : '.']];
}

/** A statement that only does something is left out; a directive stays. */
function ofStatement(node: Node): Change[] {
  const expression = field(node, 'expression');
  const inner = expression.type === 'AwaitExpression' ? field(expression, 'argument') : expression;
  if (!['CallExpression', 'AssignmentExpression'].includes(inner.type)) return [];
  return field(inner, 'callee')?.type === 'Super' ? [] : [[node.start, node.end, ';']];
}
