import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { printTable } from '../../cli/table.ts';
import { type Mutation, mutationsOf } from './mutations.ts';
import { root, runTest } from './run.ts';
import { Tests } from './tests.ts';

/*
 * Mutation runs: changes one place of one source file at a time and runs the tests that load the
 * file. A mutant that no test fails on survives: nothing pins that place.
 *
 * StrykerJS is not used: its command runner starts the same command for every mutant, all the
 * tests that is, and it changes neither numbers nor codes, which decide here.
 */

const usage = `Mutation runs: which changes of the code fail no test.

  npm run mutants -- [options]

  --files GLOB       source files to mutate, repeatable
                     (default: lib/inference/**, lib/runtime/**, services/gateway/**)
  --sample N         mutants drawn from all of them (default: 200; 0 for all)
  --seed S           of the draw (default: 1)
  --minutes M        stop after this time; what ran is still a fair sample (default: 30)
  --patience S       seconds of tests, as they take unmutated, that one mutant gets (default: 120)
  --survivors FILE   write the survivors there too
  --list             print the mutants and run nothing
`;

const { values } = parseArgs({
  options: {
    files: { type: 'string', multiple: true },
    sample: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '30' },
    patience: { type: 'string', default: '120' },
    survivors: { type: 'string' },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

/** A mutated run gets this many times what the unmutated one took, and a bit: to start, to close. */
const limitFactor = 10;
const limitExtraMs = 30_000;

interface Result {
  readonly mutation: Mutation;
  readonly end: 'killed' | 'timed out' | 'survived' | 'no test';
  /** Test files that ran, and those that would have taken too long. */
  readonly ran: number;
  readonly skipped: number;
}

/** Mulberry32: numbers from 0 to below 1. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function draw(globs: readonly string[], count: number, seed: number): Mutation[] {
  const files = globs
    .flatMap((glob) => globSync(glob, { cwd: root }))
    .filter((file) => file.endsWith('.ts'));
  const all = [...new Set(files)]
    .sort()
    .flatMap((file) => mutationsOf(file, readFileSync(join(root, file), 'utf8')));
  const random = randomOf(seed);
  const keyed = all.map((mutation) => ({ mutation, key: random() }));
  const drawn = keyed.sort((a, b) => a.key - b.key).map(({ mutation }) => mutation);
  process.stderr.write(`${all.length} mutants of ${new Set(files).size} files\n`);
  return count > 0 ? drawn.slice(0, count) : drawn;
}

const print = ({ file, line, original, replacement }: Mutation): string => {
  const short = (text: string): string => text.replaceAll(/\s+/g, ' ').slice(0, 70);
  return `${file}:${line}  ${short(original)}  ->  ${short(replacement)}`;
};

async function examine(mutation: Mutation, tests: Tests, patienceMs: number): Promise<Result> {
  let [spentMs, ran, skipped] = [0, 0, 0];
  for (const test of tests.candidates(mutation.file)) {
    if (ran > 0 && spentMs + tests.expectedMs(test) > patienceMs) {
      skipped++;
      continue;
    }
    const { files, durationMs } = await tests.baseline(test);
    if (!files.includes(mutation.file)) continue;
    spentMs += durationMs;
    ran++;
    const run = await runTest(test, mutation, durationMs * limitFactor + limitExtraMs);
    if (!run.applied && run.outcome === 'passed')
      throw new Error(`${test} did not load ${mutation.file}`);
    if (run.outcome === 'failed') return { mutation, end: 'killed', ran, skipped };
    if (run.outcome === 'timed out') return { mutation, end: 'timed out', ran, skipped };
  }
  return { mutation, end: ran === 0 ? 'no test' : 'survived', ran, skipped };
}

const isKilled = ({ end }: Result): boolean => end === 'killed' || end === 'timed out';

function summary(results: readonly Result[]): string {
  const row = (name: string, of: readonly Result[]): (string | number)[] => {
    const killed = of.filter(isKilled).length;
    const late = of.filter(({ end }) => end === 'timed out').length;
    return [name, of.length, killed, late, `${((100 * killed) / of.length).toFixed(1)} %`];
  };
  const byFolder = Map.groupBy(results, ({ mutation }) => dirname(mutation.file));
  const rows = [...byFolder].map(([folder, of]) => row(folder, of));
  const head = ['folder', 'mutants', 'killed', 'by time', 'share'];
  return printTable([head, ...rows, row('all', results)]);
}

async function main(): Promise<void> {
  const globs = values.files ?? ['lib/inference/**', 'lib/runtime/**', 'services/gateway/**'];
  const mutations = draw(globs, Number(values.sample), Number(values.seed));
  if (values.list) {
    process.stdout.write(`${mutations.map(print).join('\n')}\n`);
    return;
  }
  const tests = new Tests((test) => process.stderr.write(`unmutated: ${test}\n`));
  const endMs = performance.now() + Number(values.minutes) * 60_000;
  const results: Result[] = [];
  for (const mutation of mutations) {
    if (performance.now() > endMs) break;
    const result = await examine(mutation, tests, Number(values.patience) * 1000);
    results.push(result);
    const progress = `${results.length}/${mutations.length}`;
    process.stderr.write(`${progress} ${result.end} (${result.ran}): ${print(mutation)}\n`);
  }
  const survivors = results
    .filter((result) => !isKilled(result))
    .map(({ mutation, end, ran, skipped }) => {
      const why = end === 'no test' ? end : `${ran} of ${ran + skipped} test files`;
      return `${print(mutation)}  (${why})`;
    })
    .sort();
  if (values.survivors !== undefined) writeFileSync(values.survivors, `${survivors.join('\n')}\n`);
  process.stdout.write(`${['Survivors:', ...survivors].join('\n')}\n\n${summary(results)}`);
}

if (values.help) process.stdout.write(usage);
else await main();
