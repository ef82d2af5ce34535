import { malformed, unsafe } from './foreign.ts';
import type { ByteReader } from './reader.ts';

/** A name that a pickle would import. It is only recorded: nothing is ever imported or called. */
export class PickledName {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

/** `name(*args)`, recorded instead of called. */
export class PickledCall {
  readonly name: string;
  readonly args: readonly unknown[];

  constructor(name: string, args: readonly unknown[]) {
    this.name = name;
    this.args = args;
  }
}

/** Collections that are read as Maps. */
const dictNames = new Set(['collections.OrderedDict', 'collections.defaultdict']);

const mark = Symbol('mark');
/** Far above what weights need; the time for a longer number grows with its square. */
const maxNumberBytes = 64;

type Step = (machine: Machine, reader: ByteReader) => void;

const pushLong = (machine: Machine, reader: ByteReader, length: number): void => {
  if (length > maxNumberBytes) throw machine.broken(`a number of ${length} bytes`);
  const bytes = reader.bytes(length);
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i] as number);
  if (length > 0 && (bytes[length - 1] as number) >= 0x80) value -= 1n << BigInt(8 * length);
  const small = Number(value);
  machine.push(Number.isSafeInteger(small) ? small : value);
};
const pushText = (machine: Machine, reader: ByteReader, length: number): void =>
  machine.push(Buffer.from(reader.bytes(length)).toString('utf8'));
const pushLatin = (machine: Machine, reader: ByteReader, length: number): void =>
  machine.push(Buffer.from(reader.bytes(length)).toString('latin1'));
const pushBytes = (machine: Machine, reader: ByteReader, length: number): void =>
  machine.push(Uint8Array.from(reader.bytes(length)));
const pushNumberLine: Step = (machine, reader) => {
  const line = reader.line().replace(/L$/, '');
  if (line === '00' || line === '01') return machine.push(line === '01');
  const value = Number(line);
  if (line === '' || Number.isNaN(value)) throw machine.broken('an invalid number');
  return machine.push(value);
};
const tuple =
  (size: number): Step =>
  (machine) =>
    machine.push(machine.popMany(size));

/**
 * What each opcode does (Python's pickletools, protocols 0 to 5). Others are refused: the extension
 * registry, buffers outside of the pickle, and opcodes that make instances directly.
 */
const opcodes: Readonly<Record<string, Step>> = {
  '\x80': (machine, reader) => {
    const version = reader.byte();
    if (version > 5) throw machine.broken(`pickle protocol ${version}, known are 0 to 5`);
  },
  '\x95': (_, reader) => void reader.bytes(8),
  '(': (machine) => machine.push(mark),
  '0': (machine) => void machine.pop(),
  '1': (machine) => void machine.popToMark(),
  '2': (machine) => machine.push(machine.top()),
  N: (machine) => machine.push(null),
  '\x88': (machine) => machine.push(true),
  '\x89': (machine) => machine.push(false),
  I: pushNumberLine,
  L: pushNumberLine,
  F: pushNumberLine,
  J: (machine, reader) => machine.push(reader.int32()),
  K: (machine, reader) => machine.push(reader.byte()),
  M: (machine, reader) => machine.push(reader.uint16()),
  '\x8a': (machine, reader) => pushLong(machine, reader, reader.byte()),
  '\x8b': (machine, reader) => pushLong(machine, reader, reader.uint32()),
  G: (machine, reader) => machine.push(reader.float64BigEndian()),
  S: (machine, reader) => machine.push(reader.line().replace(/^(['"])(.*)\1$/, '$2')),
  T: (machine, reader) => pushLatin(machine, reader, reader.uint32()),
  U: (machine, reader) => pushLatin(machine, reader, reader.byte()),
  V: (machine, reader) => machine.push(reader.line()),
  X: (machine, reader) => pushText(machine, reader, reader.uint32()),
  '\x8c': (machine, reader) => pushText(machine, reader, reader.byte()),
  '\x8d': (machine, reader) => pushText(machine, reader, reader.uint64()),
  B: (machine, reader) => pushBytes(machine, reader, reader.uint32()),
  C: (machine, reader) => pushBytes(machine, reader, reader.byte()),
  '\x8e': (machine, reader) => pushBytes(machine, reader, reader.uint64()),
  ']': (machine) => machine.push([]),
  ')': (machine) => machine.push([]),
  '}': (machine) => machine.push(new Map()),
  '\x8f': (machine) => machine.push([]),
  l: (machine) => machine.push(machine.popToMark()),
  t: (machine) => machine.push(machine.popToMark()),
  '\x91': (machine) => machine.push(machine.popToMark()),
  d: (machine) => machine.setItems(new Map(), machine.popToMark(), true),
  '\x85': tuple(1),
  '\x86': tuple(2),
  '\x87': tuple(3),
  a: (machine) => machine.append([machine.pop()]),
  e: (machine) => machine.append(machine.popToMark()),
  '\x90': (machine) => machine.append(machine.popToMark()),
  s: (machine) => {
    const pair = machine.popMany(2);
    machine.setItems(machine.top(), pair, false);
  },
  u: (machine) => {
    const pairs = machine.popToMark();
    machine.setItems(machine.top(), pairs, false);
  },
  g: (machine, reader) => machine.recall(Number(reader.line())),
  h: (machine, reader) => machine.recall(reader.byte()),
  j: (machine, reader) => machine.recall(reader.uint32()),
  p: (machine, reader) => machine.remember(Number(reader.line())),
  q: (machine, reader) => machine.remember(reader.byte()),
  r: (machine, reader) => machine.remember(reader.uint32()),
  '\x94': (machine) => machine.remember(undefined),
  c: (machine, reader) => machine.name(reader.line(), reader.line()),
  '\x93': (machine) => {
    const [module, name] = machine.popMany(2);
    machine.name(module, name);
  },
  R: (machine) => {
    const [callee, args] = machine.popMany(2);
    machine.call(callee, args);
  },
  '\x81': (machine) => {
    const [callee, args] = machine.popMany(2);
    machine.call(callee, args);
  },
  // Attributes of an object (such as a state dict's _metadata) hold no weights.
  b: (machine) => void machine.pop(),
  P: (machine, reader) => machine.push(machine.persistent(reader.line())),
  Q: (machine) => machine.push(machine.persistent(machine.pop())),
};

class Machine {
  readonly #path: string;
  readonly #allowed: (name: string) => boolean;
  /** Resolves a reference to an object outside of the pickle. */
  readonly persistent: (id: unknown) => unknown;
  readonly #stack: unknown[] = [];
  readonly #memo = new Map<number, unknown>();

  constructor(path: string, { allowed, persistent }: UnpickleOptions) {
    this.#path = path;
    this.#allowed = allowed;
    this.persistent = persistent;
  }

  broken(what: string): Error {
    return malformed(this.#path, `its pickle holds ${what}`);
  }

  push(value: unknown): void {
    this.#stack.push(value);
  }

  pop(): unknown {
    if (this.#stack.length === 0) throw this.broken('an opcode that takes from an empty stack');
    return this.#stack.pop();
  }

  popMany(count: number): unknown[] {
    if (this.#stack.length < count) throw this.broken('an opcode that takes from an empty stack');
    return this.#stack.splice(-count, count);
  }

  popToMark(): unknown[] {
    const at = this.#stack.lastIndexOf(mark);
    if (at < 0) throw this.broken('an opcode without its mark');
    const values = this.#stack.splice(at);
    return values.slice(1);
  }

  top(): unknown {
    return this.#stack.at(-1);
  }

  remember(index: number | undefined): void {
    this.#memo.set(index ?? this.#memo.size, this.top());
  }

  recall(index: number): void {
    if (!this.#memo.has(index)) throw this.broken(`a reference to memo ${index}, which is empty`);
    this.push(this.#memo.get(index));
  }

  append(values: readonly unknown[]): void {
    const list = this.top();
    if (!Array.isArray(list)) throw this.broken('an append to a value that is not a list');
    for (const value of values) list.push(value);
  }

  setItems(target: unknown, pairs: readonly unknown[], isNew: boolean): void {
    if (!(target instanceof Map) || pairs.length % 2 !== 0) {
      throw this.broken('an item for a value that is not a dictionary');
    }
    for (let i = 0; i < pairs.length; i += 2) target.set(pairs[i], pairs[i + 1]);
    if (isNew) this.push(target);
  }

  /** A name is refused as soon as it is read, long before it could be called. */
  name(module: unknown, name: unknown): void {
    if (typeof module !== 'string' || typeof name !== 'string') {
      throw this.broken('a name that is not text');
    }
    const full = `${module}.${name}`;
    if (!this.#allowed(full) && !dictNames.has(full)) {
      throw unsafe(
        this.#path,
        `its pickle names ${JSON.stringify(full)}, which weights do not need; nothing was run. ` +
          'Save a state_dict, or .safetensors, instead of a whole object',
      );
    }
    this.push(new PickledName(full));
  }

  call(callee: unknown, args: unknown): void {
    if (!(callee instanceof PickledName) || !Array.isArray(args)) {
      throw this.broken('a call of a value that is not a name');
    }
    if (!dictNames.has(callee.name)) return this.push(new PickledCall(callee.name, args));
    // OrderedDict() or, as Python 2 wrote it, OrderedDict([[key, value], ...]).
    const pairs = args.find((arg) => Array.isArray(arg)) as unknown[] | undefined;
    return this.push(
      new Map((pairs ?? []).filter(Array.isArray).map(([key, value]) => [key, value])),
    );
  }
}

interface UnpickleOptions {
  /** Whether the pickle may hold a name. */
  readonly allowed: (name: string) => boolean;
  /** Resolves a reference to an object outside of the pickle. */
  readonly persistent: (id: unknown) => unknown;
}

/**
 * Reads one pickle without running anything: names stay names, calls are recorded. Dictionaries become
 * Maps; lists, tuples and sets become arrays. Throws INVALID_ARGUMENT for a name that is not allowed and
 * for data that is not a pickle.
 */
export function unpickle(path: string, reader: ByteReader, options: UnpickleOptions): unknown {
  const machine = new Machine(path, options);
  for (;;) {
    const code = String.fromCharCode(reader.byte());
    if (code === '.') return machine.pop();
    const step = Object.hasOwn(opcodes, code) ? opcodes[code] : undefined;
    if (!step) throw machine.broken(`opcode 0x${code.charCodeAt(0).toString(16)}`);
    step(machine, reader);
  }
}
