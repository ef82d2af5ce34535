import { join, resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { DomainError, invalidArgument } from '../../lib/errors.ts';
import { createTracing } from '../../lib/telemetry/tracing.ts';
import { variantNames } from '../../lib/models/variants.ts';
import { openStore } from '../../lib/releases/store/open.ts';
import {
  type JsonObject,
  type TrainingConfig,
  mergeConfigs,
  parseConfig,
  parseSetting,
  readConfigFile,
  trainingPreset,
} from '../../lib/training/config.ts';
import { tokenizerFiles } from '../../lib/training/data/texts.ts';
import { createDisplay, printDuration } from '../../lib/training/progress.ts';
import { executeRun } from '../../lib/training/run.ts';
import { type Run, RunDatabase } from '../../lib/training/database.ts';
import type { Reporter } from '../../lib/training/run-context.ts';

interface TrainOptions {
  readonly config?: string;
  readonly variant?: string;
  readonly preset?: string;
  readonly data?: string;
  readonly seed?: number;
  readonly threads?: number;
  readonly set: readonly JsonObject[];
  readonly store?: string;
  readonly channel?: string;
  readonly parent?: string;
  readonly runs: string;
  readonly cache: string;
  readonly resume?: string;
  readonly printConfig?: true;
  readonly json?: true;
}

/** `radscribe train`: a run, from its start or from where it was stopped. */
export function registerTrain(program: Command): void {
  program
    .command('train')
    .description('train a variant, evaluate it and release it')
    .option('--config <file>', 'a JSON file of the fields that differ from their defaults')
    .addOption(new Option('--variant <name>', 'what to train').choices([...variantNames]))
    .option('--preset <name>', 'paper, demo, or a JSON file of sizes')
    .option('--data <place>', 'mimic:FOLDER, iu:FOLDER or phantom:N')
    .option('--seed <n>', 'decides everything that is random', whole)
    .option('--threads <n>', 'of the engine; another number may round differently', whole)
    .option('--set <field=value>', 'one field of the config; may be repeated', setting, [])
    .option('--store <url>', 'where the release goes; without it, into the folder of the run')
    .option('--channel <name>', 'promote the release to this channel of the store')
    .option('--parent <release>', 'start from the weights and tokenizers of a release of the store')
    .option('--runs <folder>', 'holds the runs and their database', 'runs')
    .option('--cache <folder>', 'keeps prepared datasets', 'cache')
    .option('--resume <run>', 'go on with a run that was stopped or killed')
    .option('--print-config', 'print the whole config and stop')
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

Ctrl-C stops after the step under way and writes a checkpoint; a killed run loses no more than the
steps since the last one. Exit codes: 0 done, 1 failed, 2 wrong input, 130 interrupted.`,
    )
    .action(trainCommand);
}

async function trainCommand(options: TrainOptions): Promise<void> {
  if (options.printConfig) {
    process.stdout.write(`${JSON.stringify(await configOf(options), undefined, 2)}\n`);
    return;
  }
  using database = new RunDatabase(options.runs);
  const run =
    options.resume === undefined ? await create(database, options) : database.get(options.resume);
  const display = createDisplay(process.stderr);
  const stop = new AbortController();
  const onSignal = (): void => {
    display.say('stopping after this step; again to stop at once');
    process.removeListener('SIGINT', onSignal);
    stop.abort(new DomainError('CANCELLED', 'INTERRUPTED', `run ${run.id} was interrupted`));
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  display.say(`run ${run.id}: ${run.config.variant}, ${run.config.preset}, ${run.config.data}`);
  const tracing = createTracing({
    service: 'trainer-run',
    // A command has no main.ts: it is where the environment is read.
    endpoint: process.env['OTEL_EXPORTER_OTLP_ENDPOINT'],
  });
  const startedAt = performance.now();
  try {
    const done = await executeRun(run.id, {
      database,
      cache: options.cache,
      reporter: reporterOn(display),
      tracer: tracing.tracer,
      signal: stop.signal,
      command: ['radscribe', ...process.argv.slice(2)].join(' '),
    });
    display.close();
    const { state, release } = done;
    if (options.json) process.stdout.write(`${JSON.stringify({ run: run.id, state, release })}\n`);
    else {
      const time = printDuration((performance.now() - startedAt) / 1000);
      process.stdout.write(
        `run ${run.id} ${state}${release ? `: release ${release}` : ''} (${time})\n`,
      );
    }
  } catch (error) {
    display.close();
    if (!stop.signal.aborted) throw error;
    process.stderr.write(`run ${run.id} interrupted; radscribe train --resume ${run.id} goes on\n`);
    process.exitCode = 130;
  } finally {
    await tracing.close();
    process.removeListener('SIGINT', onSignal).removeListener('SIGTERM', onSignal);
  }
}

async function configOf(options: TrainOptions): Promise<TrainingConfig> {
  const file = options.config === undefined ? {} : readConfigFile(options.config);
  const { variant, preset, data, seed, threads } = options;
  const flags = Object.entries({ variant, preset, data, seed, threads }).filter(
    (entry): entry is [string, string | number] => entry[1] !== undefined,
  );
  const parent = options.parent === undefined ? {} : await parentOf(options.parent, options.store);
  const layers = [file, Object.fromEntries(flags), ...options.set];
  const own = layers.reduce(mergeConfigs, parent);
  return parseConfig(mergeConfigs(trainingPreset(own['preset'], own['variant']), own));
}

/** What a config says to go on from a release: its weights, and the tokenizers that they know. */
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

async function create(database: RunDatabase, options: TrainOptions): Promise<Run> {
  const { store = null, channel = null } = options;
  return database.create({ config: await configOf(options), store, channel });
}

function reporterOn(display: ReturnType<typeof createDisplay>): Reporter {
  return {
    progress: (progress) => display.show(progress),
    event: (kind, data) => {
      if (kind === 'checkpoint') return;
      const facts = Object.entries(data).filter(([, value]) => typeof value !== 'object');
      const print = (value: unknown): string =>
        typeof value === 'number' && !Number.isInteger(value) ? value.toFixed(4) : String(value);
      display.say(`${kind}: ${facts.map(([name, value]) => `${name} ${print(value)}`).join(', ')}`);
    },
  };
}

const setting = (text: string, before: readonly JsonObject[]): readonly JsonObject[] => [
  ...before,
  parseSetting(text),
];

function whole(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('Expected a whole number.');
  return Number(text);
}
