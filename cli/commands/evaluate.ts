import { writeFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { type SplitName, splitNames } from '../../lib/data/dataset.ts';
import { invalidArgument } from '../../lib/errors.ts';
import { openStore } from '../../lib/releases/store/open.ts';
import type { ReleaseStore } from '../../lib/releases/store/store.ts';
import { newestReleases } from '../../lib/releases/list.ts';
import { evaluateRelease } from '../../lib/training/evaluation/release.ts';
import { simpleProgress } from '../../lib/training/progress.ts';
import { count, wholeNumber } from '../args.ts';
import { type Evaluated, describeTables } from '../evaluation-tables.ts';
import { createDisplay } from '../progress.ts';

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

/** `radscribe evaluate`: the paper's tables IV to VII for releases, with both baselines. */
export function registerEvaluate(program: Command): void {
  program
    .command('evaluate')
    .description(
      'evaluate releases, with the best constant report and the nearest neighbour as baselines',
    )
    .argument('[releases...]', 'ids, tags or channels of the store')
    .requiredOption('--store <url>', 'store of the releases')
    .option('--all', 'the newest release of each variant of the store')
    .addOption(new Option('--tables', 'as --all').hideHelp())
    .option(
      '--recorded',
      'print the evaluation recorded in each release, without computing it again',
    )
    .option(
      '--data <place>',
      'mimic:FOLDER, iu:FOLDER or phantom:N; default: the dataset of its training',
    )
    .addOption(new Option('--split <name>', 'default: test').choices([...splitNames]))
    .option('--studies <n>', 'at most this many', count)
    .option(
      '--samples <n>',
      'resamples of the confidence intervals; 0: no intervals',
      wholeNumber,
      1000,
    )
    .option('--threads <n>', 'ONNX Runtime threads; 0: all cores', wholeNumber, 0)
    .option('--cache <folder>', 'folder of prepared datasets', 'cache')
    .option(
      '--reports <file>',
      'write the generated reports as JSON lines {"release", "id", "report"}',
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
    const evaluated = await evaluateAll(store, names, options);
    if (options.json) {
      const lines = evaluated.map(({ manifest: { id, variant }, tables }) => ({
        id,
        variant,
        tables,
      }));
      process.stdout.write(`${JSON.stringify(lines)}\n`);
    } else process.stdout.write(describeTables(evaluated));
  } finally {
    store.close();
  }
}

async function evaluateAll(
  store: ReleaseStore,
  names: readonly string[],
  options: EvaluateOptions,
): Promise<Evaluated[]> {
  const isAll = options.all ?? options.tables ?? false;
  const manifests = isAll
    ? await newestReleases(store)
    : await Promise.all(names.map(async (name) => store.manifest(await store.resolve(name))));
  if (manifests.length === 0) {
    const message = isAll ? `${store.url} holds none` : 'expected names, or --all';
    throw invalidArgument('RELEASES_MISSING', 'releases', message);
  }
  if (options.recorded) {
    return manifests.map((manifest) => ({ manifest, tables: manifest.evaluation }));
  }
  const display = createDisplay(process.stderr);
  const evaluated: Evaluated[] = [];
  const reports: string[] = [];
  for (const { id, variant } of manifests) {
    display.print(`${variant}: release ${id}`);
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
