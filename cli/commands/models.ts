import type { Command } from 'commander';
import { countFlops, countParameters, publishedCounts } from '../../lib/models/counts.ts';
import { type Preset, loadPreset } from '../../lib/models/preset.ts';
import { variantNames } from '../../lib/models/variants.ts';
import { printTable } from '../table.ts';

const grouped = (count: number): string => count.toLocaleString('en-US');
const giga = (flops: number): string => (flops / 1e9).toPrecision(3);

/** `radscribe models`: parameters and operations of the six variants. */
export function registerModels(program: Command): void {
  program
    .command('models')
    .description(
      'Print the parameters of the six variants and the operations of their stages; for the paper ' +
        'preset, beside the published counts of their parts.',
    )
    .option('--preset <name|file>', 'sizes: paper, demo or a JSON file', 'paper')
    .action(({ preset: name }: { readonly preset: string }) => {
      const preset = loadPreset(name);
      process.stdout.write(variantTable(preset));
      if (preset.name === 'paper') process.stdout.write(`\n${publishedTable(preset)}`);
    });
}

function variantTable(preset: Preset): string {
  const rows = [
    [
      `preset ${preset.name}`,
      'vision',
      'labeler',
      'encoder',
      '+ fusion',
      'decoder',
      'parameters',
      'GFLOP: image',
      'encoder',
      'token',
    ],
  ];
  for (const variant of variantNames) {
    const { vision, labeler, encoder, fusion, decoder, total } = countParameters(variant, preset);
    const counts = [vision, labeler, encoder, fusion, decoder, total].map(grouped);
    const flops = countFlops(variant, preset);
    const costs = [flops.vision, flops.encoder, flops.decoder].map(giga);
    rows.push([variant, ...counts, ...costs]);
  }
  return printTable(rows, { right: [1, 2, 3, 4, 5, 6, 7, 8, 9] });
}

function publishedTable(preset: Preset): string {
  const rows = publishedCounts(preset).map(
    ({ model: { name, total, differences }, ours, expected }) => [
      name,
      grouped(ours),
      grouped(total),
      differences
        .map(([what, count]) => `${count < 0 ? '-' : '+'} ${what} ${grouped(Math.abs(count))}`)
        .join(', '),
      ours === expected ? 'equal' : `DIFFERS by ${grouped(ours - expected)}`,
    ],
  );
  return printTable([['part', 'ours', 'published', 'difference', ''], ...rows], { right: [1, 2] });
}
