import { writeFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type SplitName, splitNames } from '../../lib/data/dataset.ts';
import { invalidArgument } from '../../lib/errors.ts';
import { openStore } from '../../lib/releases/store/open.ts';
import type { ReleaseStore } from '../../lib/releases/store/store.ts';
import { type Evaluated, printTables } from '../../lib/training/evaluation/print.ts';
import { newestReleases } from '../../lib/releases/list.ts';
import { evaluateRelease } from '../../lib/training/evaluation/release.ts';
import { createDisplay, simpleProgress } from '../../lib/training/progress.ts';

interface EvaluateOptions {
  readonly store: string;
  readonly all?: true;
  readonly tables?: true;
  readonly recorded?: true;
  readonly data?: string;
  readonly split?: SplitName;
  readonly studies?: number;
  readonly samples: number;
  readonly threads: number;
  readonly cache: string;
  readonly reports?: string;
  readonly json?: true;
}

/** `radscribe evaluate`: the paper's tables IV to VII of releases, beside both baselines. */
export function registerEvaluate(program: Command): void {
  program
    .command('evaluate')
    .description('judge releases beside the best constant report and the nearest neighbour')
    .argument('[releases...]', 'ids, tags or channels of the store')
    .requiredOption('--store <url>', 'holds the releases')
    .option('--all', 'the newest release of each variant of the store')
    .addOption(new Option('--tables', 'as --all').hideHelp())
    .option('--recorded', 'what was measured when they were released; computes nothing')
    .option(
      '--data <place>',
      'mimic:FOLDER, iu:FOLDER or phantom:N; what it was trained on, unless told',
    )
    .addOption(new Option('--split <name>', 'the test split, unless told').choices([...splitNames]))
    .option('--studies <n>', 'at most so many', whole)
    .option('--samples <n>', 'resamples for the confidence intervals, 0 for none', whole, 1000)
    .option('--threads <n>', 'of the engine; 0 takes all cores', whole, 0)
    .option('--cache <folder>', 'keeps prepared datasets', 'cache')
    .option(
      '--reports <file>',
      'writes what was generated as JSON lines {"release", "id", "report"}',
    )
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Examples:
  radscribe evaluate --store releases --all --recorded
  radscribe evaluate --store releases --all --data 'phantom:1000?seed=7'
  radscribe evaluate --store file:///srv/store stable --studies 100`,
    )
    .action(evaluateCommand);
}

async function evaluateCommand(names: readonly string[], options: EvaluateOptions): Promise<void> {
  const store = openStore(options.store);
  try {
    const evaluated = await judge(store, names, options);
    if (options.json) {
      const lines = evaluated.map(({ manifest: { id, variant }, tables }) => ({
        id,
        variant,
        tables,
      }));
      process.stdout.write(`${JSON.stringify(lines)}\n`);
    } else process.stdout.write(printTables(evaluated));
  } finally {
    store.close();
  }
}

async function judge(
  store: ReleaseStore,
  names: readonly string[],
  options: EvaluateOptions,
): Promise<Evaluated[]> {
  const isAll = options.all ?? options.tables ?? false;
  const manifests = isAll
    ? await newestReleases(store)
    : await Promise.all(names.map(async (name) => store.manifest(await store.resolve(name))));
  if (manifests.length === 0) {
    const message = isAll ? `${store.url} holds none` : 'name some, or say --all';
    throw invalidArgument('RELEASES_MISSING', 'releases', message);
  }
  if (options.recorded) {
    return manifests.map((manifest) => ({ manifest, tables: manifest.evaluation }));
  }
  const display = createDisplay(process.stderr);
  const evaluated: Evaluated[] = [];
  const reports: string[] = [];
  for (const { id, variant } of manifests) {
    display.say(`${variant}: release ${id}`);
    const result = await evaluateRelease({
      ...options,
      store,
      release: id,
      onProgress: (what, step, totalSteps) => display.show(simpleProgress(what, step, totalSteps)),
    });
    evaluated.push(result);
    for (const report of result.reports) {
      reports.push(JSON.stringify({ release: id, id: report.id, report: report.report }));
    }
  }
  display.close();
  if (options.reports !== undefined) {
    await writeFile(options.reports, reports.map((line) => `${line}\n`).join(''));
  }
  return evaluated;
}

function whole(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('Expected a whole number.');
  return Number(text);
}
