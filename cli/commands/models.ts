import type { Command } from 'commander';
import { countFlops, countParameters, publishedCounts } from '../../lib/models/counts.ts';
import { type Preset, loadPreset } from '../../lib/models/preset.ts';
import { variantNames } from '../../lib/models/variants.ts';

/** Columns, those of `left` to the left, numbers to the right. */
function table(rows: readonly (readonly string[])[], left: readonly number[]): string {
  const widths = (rows[0] ?? []).map((_, i) =>
    Math.max(...rows.map((cells) => cells[i]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => {
        const width = widths[i] ?? 0;
        return left.includes(i) ? cell.padEnd(width) : cell.padStart(width);
      })
      .join('  ')
      .trimEnd();
  return `${rows.map(line).join('\n')}\n`;
}

const whole = (count: number): string => count.toLocaleString('en-US');
const giga = (flops: number): string => (flops / 1e9).toPrecision(3);

/** `radscribe models`: what the six variants weigh and cost. */
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
    const counts = [vision, labeler, encoder, fusion, decoder, total].map(whole);
    const flops = countFlops(variant, preset);
    const costs = [flops.vision, flops.encoder, flops.decoder].map(giga);
    rows.push([variant, ...counts, ...costs]);
  }
  return table(rows, [0]);
}

function publishedTable(preset: Preset): string {
  const rows = publishedCounts(preset).map(
    ({ model: { name, total, differences }, ours, expected }) => [
      name,
      whole(ours),
      whole(total),
      differences
        .map(([what, count]) => `${count < 0 ? '-' : '+'} ${what} ${whole(Math.abs(count))}`)
        .join(', '),
      ours === expected ? 'equal' : `DIFFERS by ${whole(ours - expected)}`,
    ],
  );
  return table([['part', 'ours', 'published', 'between them', ''], ...rows], [0, 3, 4]);
}
