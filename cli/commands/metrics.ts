import { type Command, Option } from 'commander';
import { z } from 'zod';
import type { Measured } from '../../lib/text/metrics/bootstrap.ts';
import { type Evaluation, evaluateReports } from '../../lib/text/metrics/evaluate.ts';
import { type Pair, splitAtSpaces, wordsOf } from '../../lib/text/metrics/pairs.ts';
import { wholeNumber } from '../args.ts';
import { checkLine, readLines } from '../json-lines.ts';
import { printTable } from '../table.ts';

interface MetricsOptions {
  readonly uncertain: 'positive' | 'negative';
  readonly tokenized?: true;
  readonly samples: number;
  readonly seed: number;
  readonly json?: true;
}

const one = z.object({ candidate: z.string(), reference: z.string() });
const several = z.object({
  candidate: z.string(),
  references: z.tuple([z.string()], z.string()),
});
const pairLine = z
  .union([one, several], { error: 'expected "candidate", and "reference" or "references"' })
  .transform((line): Pair => ({
    candidate: line.candidate,
    references: 'reference' in line ? [line.reference] : line.references,
  }));

/** `radscribe metrics FILE`: how good generated reports are. */
export function registerMetrics(program: Command): void {
  program
    .command('metrics')
    .description('measure generated reports against their references')
    .argument('<file>', 'JSON lines {"candidate", "reference"} or {"candidate", "references": […]}')
    .addOption(
      new Option('--uncertain <as>', 'what an uncertain observation counts as, in both reports')
        .choices(['positive', 'negative'])
        .default('positive'),
    )
    .option('--tokenized', 'texts are tokenized: split at spaces only, keep the case')
    .option(
      '--samples <n>',
      'bootstrap resamples of the 95 % intervals; 0 for none',
      wholeNumber,
      1000,
    )
    .option('--seed <n>', 'of the bootstrap', wholeNumber, 1)
    .option('--json', 'print JSON')
    .action(async (file: string, options: MetricsOptions) => {
      const pairs: Pair[] = [];
      for await (const line of readLines(file)) pairs.push(checkLine(line, pairLine));
      const evaluation = evaluateReports(pairs, {
        uncertainAs: options.uncertain,
        tokenize: options.tokenized ? splitAtSpaces : wordsOf,
        samples: options.samples,
        seed: options.seed,
      });
      process.stdout.write(
        options.json ? `${JSON.stringify(evaluation)}\n` : describe(evaluation, options.samples),
      );
    });
}

function describe(evaluation: Evaluation, samples: number): string {
  const { pairs, language, clinical14, clinical5, uncertainAs } = evaluation;
  const interval = samples > 0 ? `, with 95 % intervals of ${samples} resamples` : '';
  return [
    `${pairs} pairs${interval}\n\nwords\n`,
    rows(language, samples),
    `\nclinical efficacy over 14 observations, uncertain counted as ${uncertainAs}\n`,
    rows(clinical14, samples),
    '\nclinical efficacy over 5 observations\n',
    rows(clinical5, samples),
    '\nF1 of each observation\n',
    printTable(
      Object.entries(evaluation.observations).map(([name, { f1 }]) => [name, f1.toFixed(4)]),
      { indent: 2 },
    ),
  ].join('');
}

function rows(figures: Readonly<Record<string, Measured>>, samples: number): string {
  const cells = Object.entries(figures).map(([name, { value, low, high }]) => [
    spelt(name),
    value.toFixed(4),
    samples > 0 ? `${low.toFixed(4)} to ${high.toFixed(4)}` : '',
  ]);
  return printTable(cells, { indent: 2 });
}

/** "microF1" as "micro F1". */
const spelt = (name: string) =>
  ({ rougeL: 'ROUGE-L', meteor: 'METEOR', cider: 'CIDEr' })[name] ??
  name
    .replace(/^bleu/, 'BLEU-')
    .replace(/(?<=[a-z])(?=[A-Z])/g, ' ')
    .replace(/ [PR]/, (letter) => letter.toLowerCase());
