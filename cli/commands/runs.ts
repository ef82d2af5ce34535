import type { Command } from 'commander';
import { align } from '../../lib/training/evaluation/print.ts';
import { printDuration } from '../../lib/training/progress.ts';
import { type Run, type RunEvent, RunDatabase, hasEnded } from '../../lib/training/database.ts';

interface RunsOptions {
  readonly runs: string;
  readonly json?: true;
  readonly after?: string;
}

/** `radscribe runs …`: what was trained, what is being trained. */
export function registerRuns(program: Command): void {
  const runs = program.command('runs').description('list, follow and cancel training runs');
  shared(runs.command('list'))
    .description('all runs, the newest first')
    .action((options: RunsOptions) => withRuns(options, list));
  shared(runs.command('show'))
    .argument('<run>')
    .description('one run: its config, its state, where it stands')
    .action((id: string, options: RunsOptions) => withRuns(options, (db) => show(db, id)));
  shared(runs.command('watch'))
    .argument('<run>')
    .option('--after <sequence>', 'only events after this one', '0')
    .description('the events of a run as they come, until it ends')
    .action((id: string, options: RunsOptions) =>
      withRuns(options, (db) => watch(db, id, Number(options.after), options.json === true)),
    );
  shared(runs.command('cancel'))
    .argument('<run>')
    .description('end a run for good; one that trains ends after its step')
    .action((id: string, options: RunsOptions) =>
      withRuns(options, (db) => {
        const run = db.requestCancel(id);
        say(run.state === 'running' ? `${id} ends after its step` : `${id} is ${run.state}`);
      }),
    );
}

const shared = (command: Command): Command =>
  command
    .option('--runs <folder>', 'holds the runs and their database', 'runs')
    .option('--json', 'print JSON');

const say = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

async function withRuns(
  options: RunsOptions,
  work: (database: RunDatabase, options: RunsOptions) => void | Promise<void>,
): Promise<void> {
  using database = new RunDatabase(options.runs);
  await work(database, options);
}

function list(database: RunDatabase, { json }: RunsOptions): void {
  const runs = database.list({ limit: 1000 });
  if (json) return say(JSON.stringify(runs));
  const rows = runs.map((run) => [
    run.id,
    stateOf(database, run),
    run.config.variant,
    run.config.preset,
    run.config.data,
    where(run),
    run.release ?? '',
  ]);
  const head = ['run', 'state', 'variant', 'preset', 'data', 'where', 'release'];
  return say(align([head, ...rows]).trimEnd());
}

/** A run whose trainer was killed says `running` until it is resumed; this tells the difference. */
const stateOf = (database: RunDatabase, { id, state }: Run): string =>
  state === 'running' && !database.isHeld(id) ? 'killed' : state;

function where({ progress, error, state }: Run): string {
  if (error) return error.reason;
  if (!progress || hasEnded(state)) return '';
  const { stage, step, totalSteps, etaSeconds } = progress;
  const left = etaSeconds === null ? '' : `, ${printDuration(etaSeconds)} left`;
  return `${stage} ${step}/${totalSteps}${left}`;
}

function show(database: RunDatabase, id: string): void {
  const run = database.get(id);
  say(JSON.stringify({ ...run, state: stateOf(database, run) }, undefined, 2));
}

const pollMs = 500;

async function watch(
  database: RunDatabase,
  id: string,
  after: number,
  json: boolean,
): Promise<void> {
  let last = after;
  for (;;) {
    const { state } = database.get(id);
    for (const event of database.events(id, last)) {
      say(json ? JSON.stringify(event) : describe(event));
      last = event.sequence;
    }
    if (hasEnded(state) && database.events(id, last).length === 0) return;
    await new Promise((done) => setTimeout(done, pollMs));
  }
}

function describe({ sequence, at, kind, data }: RunEvent): string {
  const facts = Object.entries(data)
    .filter(([, value]) => typeof value !== 'object')
    .map(([name, value]) => `${name} ${String(value)}`);
  return `${sequence} ${at} ${kind}: ${facts.join(', ')}`;
}
