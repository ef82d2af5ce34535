import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { invalidArgument } from '../../lib/errors.ts';
import { openStore } from '../../lib/releases/store/open.ts';
import {
  type JsonObject,
  type TrainingConfig,
  completeConfig,
  mergeConfigs,
} from '../../lib/training/config.ts';
import { tokenizerFiles } from '../../lib/training/data/texts.ts';
import { type Run, RunDatabase } from '../../lib/training/database.ts';
import { trainInProcess } from '../../lib/training/worker.ts';
import { createDisplay, printDuration, reporterOn } from '../progress.ts';
import { type ConfigFlags, configOptions, givenConfig } from './train-options.ts';

export interface TrainHereFlags {
  readonly runs: string;
  readonly cache: string;
  readonly json?: true;
}

interface TrainFlags extends ConfigFlags, TrainHereFlags {
  readonly store?: string;
  readonly channel?: string;
  readonly parent?: string;
  readonly resume?: string;
  readonly printConfig?: true;
}

/** `radscribe train`: creates a run, or resumes one, and trains it in this process. */
export function registerTrain(program: Command): void {
  configOptions(program.command('train'))
    .description('train a variant on this machine, evaluate it and publish its release')
    .option('--store <url>', 'store that gets the release; default: the folder of the run')
    .option('--channel <name>', 'promote the release to this channel of the store')
    .option('--parent <release>', 'start from the weights and tokenizers of a release of the store')
    .option('--runs <folder>', 'folder of the runs and their database', 'runs')
    .option('--cache <folder>', 'folder of prepared datasets', 'cache')
    .option('--resume <run>', 'resume a run that failed, or was stopped or killed')
    .option('--print-config', 'print the whole config and exit')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Examples:
  radscribe train --variant vit-label --preset demo --data phantom:4000 --store file:///srv/store
  radscribe train --config run.json --set stage2.epochs=4
  radscribe train --variant vit --preset demo --data phantom:4000 --store file:///srv/store \\
    --parent rs-0123456789abcdef01234567 --set labels.epochs=0
  radscribe train --resume run-1b2c3d4e

Ctrl-C stops after the step under way and writes a checkpoint; a killed run loses only the steps since
its last checkpoint. Exit codes: 0 done, 1 failed, 2 wrong input, 130 interrupted.`,
    )
    .action(trainCommand);
}

async function trainCommand(flags: TrainFlags): Promise<void> {
  if (flags.printConfig) {
    process.stdout.write(`${JSON.stringify(await configOf(flags), undefined, 2)}\n`);
    return;
  }
  using database = new RunDatabase(flags.runs);
  const run =
    flags.resume === undefined ? await create(database, flags) : database.get(flags.resume);
  await trainHere(database, run, flags);
}

/** Trains a run in this process, showing its progress, and prints how it ended. */
export async function trainHere(
  database: RunDatabase,
  { id, config }: Run,
  { cache, json }: TrainHereFlags,
): Promise<void> {
  const display = createDisplay(process.stderr);
  display.print(`run ${id}: ${config.variant}, ${config.preset}, ${config.data}`);
  const startedAt = performance.now();
  try {
    const { state, release } = await trainInProcess(id, {
      database,
      cache,
      reporter: reporterOn(display),
      command: ['radscribe', ...process.argv.slice(2)].join(' '),
      // A command is the entry of a process: it may read the environment.
      tracesEndpoint: process.env['OTEL_EXPORTER_OTLP_ENDPOINT'],
      onStopping: () => display.print('stopping after this step; again to stop at once'),
    });
    display.close();
    if (state === 'interrupted') {
      process.stderr.write(`run ${id} interrupted; radscribe train --resume ${id} goes on\n`);
      process.exitCode = 130;
    } else if (json) process.stdout.write(`${JSON.stringify({ run: id, state, release })}\n`);
    else {
      const time = printDuration((performance.now() - startedAt) / 1000);
      const published = release === null ? '' : `: release ${release}`;
      process.stdout.write(`run ${id} ${state}${published} (${time})\n`);
    }
  } finally {
    display.close();
  }
}

async function configOf(flags: TrainFlags): Promise<TrainingConfig> {
  const parent = flags.parent === undefined ? {} : await parentOf(flags.parent, flags.store);
  return completeConfig(mergeConfigs(parent, givenConfig(flags)));
}

/** The fields of a config that starts from a release: its weights, and the tokenizers they belong to. */
async function parentOf(name: string, url: string | undefined): Promise<JsonObject> {
  if (url === undefined) {
    throw invalidArgument('STORE_MISSING', '--parent', 'needs --store, which holds the release');
  }
  const store = openStore(url);
  try {
    const { manifest, folder } = await store.open(await store.resolve(name));
    const at = resolve(folder);
    const tokenizers = Object.entries(tokenizerFiles).map(([which, file]) => [
      which,
      join(at, file),
    ]);
    return {
      parent: manifest.id,
      initialWeights: at,
      tokenizers: Object.fromEntries(tokenizers) as JsonObject,
    };
  } finally {
    store.close();
  }
}

async function create(database: RunDatabase, flags: TrainFlags): Promise<Run> {
  const { store = null, channel = null } = flags;
  return database.create({ config: await configOf(flags), store, channel });
}
