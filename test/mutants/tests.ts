import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { type Node, childrenOf, parse } from '../../docs/syntax-tree.ts';
import { root, runTest } from './run.ts';

/** What the unmutated run of one test file took and which source files it loaded. */
interface Baseline {
  readonly durationMs: number;
  readonly files: readonly string[];
  /** Of the files' contents: the run is repeated when one has changed. */
  readonly digest: string;
}

const cacheFile = join(root, 'node_modules/.cache/radscribe-mutants.json');
/** What a module of an unmeasured test file is taken to cost, to order them. */
const msPerModule = 100;

/** The test files: which of them load a source file, in which order to run them. */
export class Tests {
  /** Of each test file: what it may load, by how many imports away it is. */
  readonly #closures = new Map<string, ReadonlyMap<string, number>>();
  readonly #mentions = new Map<string, readonly string[]>();
  readonly #baselines: Record<string, Baseline>;
  readonly #fresh = new Set<string>();
  readonly #onBaseline: (test: string) => void;

  constructor(onBaseline: (test: string) => void) {
    this.#onBaseline = onBaseline;
    this.#baselines = existsSync(cacheFile)
      ? (JSON.parse(readFileSync(cacheFile, 'utf8')) as Record<string, Baseline>)
      : {};
    for (const test of globSync('test/**/*.test.ts', { cwd: root }))
      this.#closures.set(test, this.#closureOf(test));
  }

  /**
   * Test files that may load `file`, by how many imports away it is, then by how many modules they
   * load: the first is the one about it, and cheap.
   */
  candidates(file: string): string[] {
    const distance = (test: string): number => this.#closures.get(test)?.get(file) ?? Infinity;
    const size = (test: string): number => this.#closures.get(test)?.size ?? 0;
    return [...this.#closures.keys()]
      .filter((test) => this.#baselines[test]?.files.includes(file) ?? distance(test) < Infinity)
      .sort((a, b) => distance(a) - distance(b) || size(a) - size(b));
  }

  /** What an unmutated run takes: as measured, or guessed from the modules that it may load. */
  expectedMs(test: string): number {
    return this.#baselines[test]?.durationMs ?? msPerModule * (this.#closures.get(test)?.size ?? 0);
  }

  /** Runs a test file unmutated where its last figures are out of date. Throws where it fails. */
  async baseline(test: string): Promise<Baseline> {
    const known = this.#baselines[test];
    if (known && (this.#fresh.has(test) || known.digest === digestOf(known.files))) {
      this.#fresh.add(test);
      return known;
    }
    this.#onBaseline(test);
    const { outcome, durationMs, loaded, output } = await runTest(test, undefined, undefined);
    if (outcome !== 'passed') throw new Error(`${test} fails without a mutation:\n${output}`);
    const baseline = { durationMs, files: loaded, digest: digestOf(loaded) };
    this.#baselines[test] = baseline;
    this.#fresh.add(test);
    mkdirSync(dirname(cacheFile), { recursive: true });
    writeFileSync(cacheFile, JSON.stringify(this.#baselines));
    return baseline;
  }

  /** A file with every file that it mentions, and those that they mention. */
  #closureOf(file: string): ReadonlyMap<string, number> {
    const found = new Map([[file, 0]]);
    for (const [one, distance] of found)
      for (const other of this.#mentionsOf(one))
        if (!found.has(other)) found.set(other, distance + 1);
    return found;
  }

  /**
   * Every text that ends in `.ts` counts: imports, and what is started as a process or a thread. A
   * pattern of more than one `*` is a search.
   */
  #mentionsOf(file: string): readonly string[] {
    const known = this.#mentions.get(file);
    if (known) return known;
    const program = parse(file, readFileSync(join(root, file), 'utf8'));
    const patterns = program
      ? textsOf(program).filter((text) => /^[^*]+(\*[^*]+)?\.ts$/.test(text))
      : [];
    const mentions = patterns
      .flatMap((pattern) => [normalize(join(dirname(file), pattern)), pattern])
      .flatMap((pattern) => globSync(pattern, { cwd: root }))
      .filter((path) => !path.startsWith('..') && !path.startsWith('/'));
    this.#mentions.set(file, mentions);
    return mentions;
  }
}

/** The texts of a file; what is computed in a template is `*`. */
function textsOf(node: Node): string[] {
  const own: string[] = [];
  if (node.type === 'Literal' && typeof node['value'] === 'string') own.push(node['value']);
  if (node.type === 'TemplateLiteral') {
    const quasis = node['quasis'] as readonly { readonly value: { readonly cooked: string } }[];
    own.push(quasis.map(({ value }) => value.cooked).join('*'));
  }
  return [...own, ...childrenOf(node).flatMap(textsOf)];
}

function digestOf(files: readonly string[]): string {
  const hash = createHash('sha256');
  for (const file of files) {
    const path = join(root, file);
    hash.update(existsSync(path) ? readFileSync(path) : '');
  }
  return hash.digest('hex');
}
