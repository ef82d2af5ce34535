import { type Command, InvalidArgumentError, Option } from 'commander';
import { type Dataset, splitNames } from '../../lib/data/dataset.ts';
import { inspectDataset, type Inspection, type SplitInspection } from '../../lib/data/inspect.ts';
import { openIu } from '../../lib/data/iu.ts';
import { openMimic, paperSubset } from '../../lib/data/mimic.ts';
import { openPhantom } from '../../lib/data/phantom/dataset.ts';
import { type Observation, observations } from '../../lib/text/labels/observations.ts';
import { registerPhantomCommands } from './data-sheet.ts';

interface InspectOptions {
  readonly source: keyof typeof sources;
  readonly views: 'frontal' | 'all';
  readonly seed: number;
  readonly size: number;
  readonly reports?: string;
  readonly labels: 'chexpert' | 'negbio' | 'extracted';
  readonly paperSubset?: true;
  readonly decode: boolean;
  readonly json?: true;
}

const sources = {
  mimic: (path: string, { views, seed, reports, labels, paperSubset: drawn }: InspectOptions) =>
    openMimic(path, {
      views,
      seed,
      labels,
      ...(reports !== undefined && { reports }),
      ...(drawn && { subset: paperSubset }),
    }),
  iu: (path: string, { views, seed }: InspectOptions) => openIu(path, { views, seed }),
  phantom: async (path: string, { views, seed, size }: InspectOptions) =>
    openPhantom({ count: whole(path), seed, size, views }),
} satisfies Readonly<Record<string, (path: string, options: InspectOptions) => Promise<Dataset>>>;

/** `radscribe data …`: look at the datasets, and make synthetic ones. */
export function registerData(program: Command): void {
  const data = program.command('data').description('inspect datasets and make synthetic ones');
  data
    .command('inspect')
    .description('read a whole dataset: splits, views, labels, what is missing or corrupt')
    .argument('<path>', 'its folder; phantom: the number of its studies')
    .addOption(
      new Option('--source <name>', 'what it is')
        .choices(Object.keys(sources))
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--views <which>', 'the frontal image of a study, or all of its images')
        .choices(['frontal', 'all'])
        .default('frontal'),
    )
    .option(
      '--seed <n>',
      'of the split (iu), the subset (mimic) or the studies (phantom)',
      whole,
      0,
    )
    .option('--size <pixels>', 'phantom: edge length of the images', whole, 256)
    .option('--reports <path>', 'mimic: the reports, a folder or mimic-cxr-reports.zip')
    .addOption(
      new Option('--labels <labeler>', 'mimic: whose labels')
        .choices(['chexpert', 'negbio', 'extracted'])
        .default('chexpert'),
    )
    .option('--paper-subset', 'mimic: 10,000 studies to train on and 500 to validate')
    .option('--no-decode', 'read the reports only: faster, but finds no missing or corrupt images')
    .option('--json', 'print JSON')
    .action(inspect);
  registerPhantomCommands(data);
}

async function inspect(path: string, options: InspectOptions): Promise<void> {
  const dataset = await sources[options.source](path, options);
  try {
    const found = await inspectDataset(dataset, {
      decode: options.decode,
      onProgress: ({ split, done }, total) => {
        if (done % 500 === 0 || done === total) {
          process.stderr.write(`${split}: ${done}/${total} studies\n`);
        }
      },
    });
    process.stdout.write(options.json ? `${JSON.stringify(found)}\n` : describe(found));
  } finally {
    await dataset.close();
  }
}

/** Damaged studies that the text names. */
const mostNamed = 20;

/** What is said of a split, a line each. */
const facts: Readonly<Record<string, (split: SplitInspection) => string>> = {
  studies: ({ studies }) => `${studies}`,
  usable: ({ usable }) => `${usable}`,
  'empty reports': ({ empty }) => `${empty}`,
  missing: ({ skipped }) => `${skipped.filter(({ kind }) => kind === 'missing').length}`,
  corrupt: ({ skipped }) => `${skipped.filter(({ kind }) => kind === 'corrupt').length}`,
  images: ({ views }) => counted(views),
  labels: ({ labelsFrom }) => counted(labelsFrom),
};

function describe({ name, fingerprint, leftOut, splits }: Inspection): string {
  const all = splitNames.map((split) => splits[split]);
  const row = (title: string, cell: (split: SplitInspection) => string) =>
    [title].concat(all.map(cell));
  const damage = all.flatMap(({ skipped }) => skipped);
  return [
    `${name}, fingerprint ${fingerprint}\n`,
    `left out of the index: ${counted(leftOut)}\n\n`,
    table([['', ...splitNames], ...Object.entries(facts).map(([title, cell]) => row(title, cell))]),
    '\npositive / uncertain / negative, of the usable studies\n',
    table(observations.map((observation) => row(observation, prevalence(observation)))),
    damage.length > 0 ? '\n' : '',
    table(damage.slice(0, mostNamed).map(({ kind, id, message }) => [kind, id, message])),
    damage.length > mostNamed ? `and ${damage.length - mostNamed} more, named by --json\n` : '',
  ].join('');
}

const prevalence = (observation: Observation) => (split: SplitInspection) => {
  const { positive, uncertain, negative } = split.labels[observation];
  return [positive, uncertain, negative].map((count) => percent(count, split.usable)).join(' / ');
};

function counted(counts: Readonly<Record<string, number>>): string {
  const named = Object.entries(counts).filter(([, count]) => count > 0);
  return named.map(([what, count]) => `${count} ${what}`).join(', ') || 'none';
}

function percent(part: number, whole: number): string {
  return whole === 0 ? '-' : `${((100 * part) / whole).toFixed(1)}%`;
}

/** Columns padded to the widest cell. */
function table(rows: readonly (readonly string[])[]): string {
  const widths =
    rows[0]?.map((_, at) => Math.max(...rows.map((row) => row[at]?.length ?? 0))) ?? [];
  return rows
    .map((row) =>
      row
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}

function whole(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('Expected a whole number.');
  return Number(text);
}
