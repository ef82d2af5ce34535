import type { Command } from 'commander';
import { invalidArgument } from '../../lib/errors.ts';
import { RunDatabase, type RunEvent, hasEnded } from '../../lib/training/database.ts';
import { wholeNumber } from '../args.ts';
import { type ConnectionFlags, connectionOptions, withClient } from '../client.ts';
import { printDuration, printFacts } from '../progress.ts';
import { printTable } from '../table.ts';
import { type RunSource, type ShownRun, localRuns, remoteRuns } from './run-source.ts';
import { type ConfigFlags, configOptions, givenConfig } from './train-options.ts';
import { trainHere } from './train.ts';
import { trainerAt } from './trainer-server.ts';

interface RunsFlags extends ConnectionFlags {
  readonly server?: string;
  readonly runs: string;
  readonly json?: true;
}

interface CreateFlags extends RunsFlags, ConfigFlags {
  readonly store?: string;
  readonly channel: string;
  readonly requestId: string;
}

/** `radscribe runs …`: the training runs of a folder, or of a trainer service. */
export function registerRuns(program: Command): void {
  const runs = program
    .command('runs')
    .description('create, list, follow, cancel and resume training runs')
    .addHelpText(
      'after',
      `
Without --server the runs are those of a folder of this machine. There, \`create\` only queues a run, for
the trainer service of that folder; \`radscribe train\` creates a run and trains it.

Examples:
  radscribe runs create --server trainer:50055 --variant vit-label --preset demo --data phantom:4000
  radscribe runs watch run-1b2c3d4e --server trainer:50055 --tls-ca ca.pem
  radscribe runs resume run-1b2c3d4e`,
    );
  common(configOptions(runs.command('create')))
    .description('put a new run into the queue')
    .option('--store <url>', 'store that gets the release; a server uses its own')
    .option('--channel <name>', 'promote the release to this channel of the store', '')
    .option('--request-id <id>', 'a repeated call with the same id creates no second run', '')
    .action((flags: CreateFlags) => withRuns(flags, (source) => create(source, flags)));
  common(runs.command('list'))
    .description('list the runs, newest first')
    .action((flags: RunsFlags) => withRuns(flags, (source) => list(source, flags)));
  common(runs.command('show'))
    .argument('<run>')
    .description('print a run: its config, its state, its progress')
    .action((id: string, flags: RunsFlags) =>
      withRuns(flags, async (source) => print(JSON.stringify(await source.get(id), undefined, 2))),
    );
  common(runs.command('watch'))
    .argument('<run>')
    .option('--after <sequence>', 'only events after this one', wholeNumber, 0)
    .description('print the events of a run until it has ended')
    .action((id: string, flags: RunsFlags & { readonly after: number }) =>
      withRuns(flags, (source) => watch(source, id, flags)),
    );
  common(runs.command('cancel'))
    .argument('<run>')
    .description('end a run for good; one that trains ends after the step under way')
    .action((id: string, flags: RunsFlags) =>
      withRuns(flags, async (source) => printChanged(await source.cancel(id), flags)),
    );
  common(runs.command('resume'))
    .argument('<run>')
    .option('--cache <folder>', 'without --server: folder of prepared datasets', 'cache')
    .description(
      'let a run that failed or was interrupted go on; without --server, in this process',
    )
    .action(resume);
}

const common = (command: Command): Command =>
  connectionOptions(command)
    .option('--server <host:port>', 'trainer service whose runs these are')
    .option('--runs <folder>', 'without --server: folder of the runs and their database', 'runs')
    .option('--json', 'print JSON');

const print = (line: string): void => void process.stdout.write(`${line}\n`);

async function withRuns(
  flags: RunsFlags & { readonly store?: string },
  work: (source: RunSource) => Promise<void>,
): Promise<void> {
  const { server, runs, store } = flags;
  if (server === undefined) {
    using database = new RunDatabase(runs);
    return await work(localRuns(database, store ?? null));
  }
  if (store !== undefined) {
    throw invalidArgument(
      'OPTIONS_CONFLICT',
      '--store',
      'not with --server, which has its own store',
    );
  }
  return await withClient(trainerAt(server), flags, (client, call) =>
    work(remoteRuns(client, call)),
  );
}

async function create(source: RunSource, flags: CreateFlags): Promise<void> {
  const { channel, requestId } = flags;
  printChanged(await source.create({ config: givenConfig(flags), channel, requestId }), flags);
}

async function resume(id: string, flags: RunsFlags & { readonly cache: string }): Promise<void> {
  const { server, runs } = flags;
  if (server !== undefined) {
    await withClient(trainerAt(server), flags, async (client, call) =>
      printChanged(await remoteRuns(client, call).resume(id), flags),
    );
    return;
  }
  using database = new RunDatabase(runs);
  await trainHere(database, database.get(id), flags);
}

function printChanged(run: ShownRun, { json }: RunsFlags): void {
  if (json) print(JSON.stringify(run));
  else if (run.cancelRequested && !isOver(run)) print(`${run.id} ends after the step under way`);
  else print(`${run.id} is ${run.state}`);
}

const isOver = ({ state }: ShownRun): boolean => state !== 'killed' && hasEnded(state);

async function list(source: RunSource, { json }: RunsFlags): Promise<void> {
  const runs = await source.list();
  if (json) return print(JSON.stringify(runs));
  const head = ['run', 'state', 'variant', 'preset', 'data', 'progress', 'release'];
  const rows = runs.map((run) => [
    run.id,
    run.state,
    run.config.variant,
    run.config.preset,
    run.config.data,
    progressOf(run),
    run.release ?? '',
  ]);
  return print(printTable([head, ...rows]).trimEnd());
}

function progressOf(run: ShownRun): string {
  const { progress, error } = run;
  if (error) return error.reason;
  if (!progress || isOver(run)) return '';
  const { stage, step, totalSteps, etaSeconds } = progress;
  const left = etaSeconds === null ? '' : `, ${printDuration(etaSeconds)} left`;
  return `${stage} ${step}/${totalSteps}${left}`;
}

async function watch(
  source: RunSource,
  id: string,
  { after, json }: RunsFlags & { readonly after: number },
): Promise<void> {
  for await (const event of source.watch(id, after)) {
    print(json ? JSON.stringify(event) : describe(event));
  }
}

const describe = ({ sequence, at, kind, data }: RunEvent): string =>
  `${sequence} ${at} ${kind}: ${printFacts(data)}`;
