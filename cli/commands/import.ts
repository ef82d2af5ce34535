import { type Command, Option } from 'commander';
import { loadPreset } from '../../lib/models/preset.ts';
import { type VariantName, variantNames } from '../../lib/models/variants.ts';
import { titleOf } from '../../lib/checkpoints/architectures.ts';
import {
  type ImportablePart,
  type PartReport,
  architectureOf,
  importVariant,
} from '../../lib/checkpoints/variant.ts';
import { wholeNumber } from '../args.ts';

interface Options {
  readonly variant: VariantName;
  readonly preset: string;
  readonly vision?: string;
  readonly encoder?: string;
  readonly decoder?: string;
  readonly seed: number;
  readonly output: string;
  readonly all?: true;
}

/** `radscribe import`: published checkpoints become the weights that a variant's training starts from. */
export function registerImport(program: Command): void {
  program
    .command('import')
    .description(
      'Turn published checkpoints (.safetensors, PyTorch .pth/.bin, Flax .msgpack) into the weights ' +
        'that the training of a variant starts from. Nothing in a checkpoint is ever executed.',
    )
    .addOption(
      new Option('--variant <name>', 'variant').choices([...variantNames]).makeOptionMandatory(),
    )
    .option('--preset <name|file>', 'sizes: paper, demo or a JSON file', 'paper')
    .option('--vision <file>', 'DenseNet121/CheXNet, ResNet101 or ViT, as the variant has it')
    .option('--encoder <file>', 'BERT')
    .option('--decoder <file>', 'T5 (Clinical T5)')
    .option('--seed <number>', 'seed of the parameters that no checkpoint gives', wholeNumber, 0)
    .requiredOption('--output <file>', 'the .safetensors file to write')
    .option('--all', 'list every name, not the first ten')
    .action(async (options: Options) => {
      const preset = loadPreset(options.preset);
      const { variant, seed, output } = options;
      const checkpoints: Partial<Record<ImportablePart, string>> = {};
      for (const part of ['vision', 'encoder', 'decoder'] as const) {
        const path = options[part];
        if (path !== undefined) checkpoints[part] = path;
      }
      const reports = await importVariant({ variant, preset, checkpoints, seed, output });
      const limit = options.all ? Infinity : 10;
      for (const report of reports) process.stdout.write(describe(report, variant, limit));
      process.stdout.write(`${output}: initial weights of ${variant}, preset ${preset.name}\n`);
    });
}

/** Counters and index tables that frameworks save beside the weights. */
const isBookkeeping = (name: string): boolean =>
  /(^|\.)(num_batches_tracked|position_ids)$/.test(name);

function describe(report: PartReport, variant: VariantName, limit: number): string {
  const { part, path, format, matched, initial, unused, notes } = report;
  const title = titleOf(architectureOf(part, variant));
  const list = (what: string, names: readonly string[]): string[] => [
    `  ${what}: ${names.length}`,
    ...names.slice(0, limit).map((name) => `    ${name}`),
    ...(names.length > limit ? [`    ... and ${names.length - limit} more (--all)`] : []),
  ];
  const counters = unused.filter(isBookkeeping).length;
  const lines = [
    `${part}: ${path} (${format}) as ${title}`,
    `  matched: ${matched.length}`,
    ...notes.map((note) => `    ${note}`),
    ...list('left at their initial values', initial),
    ...list(
      'unused',
      unused.filter((name) => !isBookkeeping(name)),
    ),
    ...(counters > 0 ? [`  counters that are no weights: ${counters}`] : []),
  ];
  return `${lines.join('\n')}\n`;
}
