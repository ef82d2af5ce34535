import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Command, Option } from 'commander';
import { z } from 'zod';
import { type LabeledReport, type Score, scoreAgreement } from '../../lib/text/labels/agreement.ts';
import { extractLabels, findMentions, type Reading } from '../../lib/text/labels/extract.ts';
import { type Observation, observations } from '../../lib/text/labels/observations.ts';
import { checkLine, type Line, readLines } from '../json-lines.ts';
import { printTable } from '../table.ts';

interface LabelOptions {
  readonly reading: Reading;
  readonly compare?: true;
  readonly disagreements?: true;
}

const uid = z.union([z.string(), z.number()]);
const textLine = z.object({ uid, text: z.string() });
const comparedLine = z.object({
  uid,
  chexpert_text: z.string(),
  chexpert_positive: z.array(z.enum(observations)),
});

/** `radscribe label FILE`: the 14 observations of every report in a file. */
export function registerLabel(program: Command): void {
  program
    .command('label')
    .description('extract the 14 CheXpert observations from reports')
    .argument('<file>', 'JSON lines {"uid", "text"}; - reads standard input')
    .addOption(
      new Option('--reading <how>', 'what the CheXpert labeler misreads: as it does, or as meant')
        .choices(['chexpert', 'plain'] satisfies Reading[])
        .default('chexpert'),
    )
    .option(
      '--compare',
      'print how far the rules agree with lines {"uid", "chexpert_text", "chexpert_positive"}',
    )
    .option('--disagreements', 'with --compare: print every disagreement and its sentences')
    .addHelpText(
      'after',
      '\nWrites lines {"uid", "labels": {observation: "positive" | "negative" | "uncertain" | null}}.',
    )
    .action(async (file: string, options: LabelOptions) => {
      const lines = readLines(file);
      const out = options.compare ? compare(lines, options) : label(lines, options);
      try {
        await pipeline(Readable.from(out), process.stdout, { end: false });
      } catch (error) {
        // The reader of the pipe, such as `head`, had enough.
        if (!(error instanceof Error && 'code' in error && error.code === 'EPIPE')) throw error;
      }
    });
}

async function* label(
  lines: AsyncIterable<Line>,
  { reading }: LabelOptions,
): AsyncGenerator<string> {
  for await (const line of lines) {
    const { uid, text } = checkLine(line, textLine);
    yield `${JSON.stringify({ uid, labels: extractLabels(text, reading) })}\n`;
  }
}

async function* compare(
  lines: AsyncIterable<Line>,
  { reading, disagreements }: LabelOptions,
): AsyncGenerator<string> {
  const reports: LabeledReport[] = [];
  let others = 0;
  for await (const line of lines) {
    if (!isCompared(line.value)) {
      others += 1;
      continue;
    }
    const { uid, chexpert_text: text, chexpert_positive: positive } = checkLine(line, comparedLine);
    const labels = extractLabels(text, reading);
    const ours = new Set(observations.filter((name) => labels[name] === 'positive'));
    const theirs = new Set(positive);
    reports.push({ ours, theirs });
    if (!disagreements) continue;
    for (const name of observations) {
      if (ours.has(name) === theirs.has(name)) continue;
      const side = ours.has(name) ? 'ours' : 'theirs';
      yield* evidence(text, name, reading).map((found) => `${uid}\t${name}\t${side}\t${found}\n`);
    }
  }
  yield describe(scoreAgreement(reports));
  yield `${reports.length} reports, ${others} lines without chexpert_text left out\n`;
}

const isCompared = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'chexpert_text' in value;

/** The sentences that a label comes from, each with the words found and their state. */
function evidence(text: string, label: Observation, reading: Reading): readonly string[] {
  const found = [...findMentions(text, reading)]
    .filter(({ observation, state }) =>
      label === 'No Finding'
        ? observation !== 'Support Devices' && state !== 'negative'
        : observation === label,
    )
    .map(
      ({ sentence, start, end, state }) => `${state} "${sentence.slice(start, end)}": ${sentence}`,
    );
  return found.length > 0 ? found : ['no mention'];
}

function describe(scores: readonly Score[]): string {
  const print = (value: number) => (Number.isNaN(value) ? '-' : value.toFixed(3));
  const rows = scores.map(({ name, positives, precision, recall, f1 }) => [
    name,
    positives,
    ...[precision, recall, f1].map(print),
  ]);
  const head = ['', 'positives', 'precision', 'recall', 'F1'];
  return printTable([head, ...rows], { right: [1, 2, 3, 4] });
}
