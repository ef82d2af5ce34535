import { writeFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type Observation, observations } from '../../lib/text/labels/observations.ts';
import { contactSheet } from '../../lib/data/phantom/sheet.ts';
import type { PhantomOptions, PhantomView } from '../../lib/data/phantom/study.ts';
import { writePhantom } from '../../lib/data/phantom/write.ts';
import { count, share, wholeNumber } from '../args.ts';

interface Shared {
  readonly seed: number;
  readonly count: number;
  readonly size: number;
  readonly out: string;
  readonly only: readonly Observation[];
  readonly prevalence: Partial<Record<Observation, number>>;
  readonly uncertain: number;
}

/** `radscribe data sheet` and `radscribe data phantom`: draw synthetic studies, and write them. */
export function registerPhantomCommands(data: Command): void {
  shared(data.command('sheet'), { count: 16, size: 320 })
    .description('draw a contact sheet of synthetic chest radiographs, each over its labels')
    .addOption(new Option('--view <view>').choices(['PA', 'lateral']).default('PA'))
    .option('--columns <n>', 'images per row', count, 4)
    .option('--out <file>', 'PNG file to write', 'sheet.png')
    .action(async (options: Shared & { readonly view: PhantomView; readonly columns: number }) => {
      const { view, columns } = options;
      const sheet = await contactSheet({
        ...drawing(options),
        count: options.count,
        columns,
        view,
      });
      await writeFile(options.out, sheet);
      process.stdout.write(
        `${options.out}: ${options.count} ${view} studies, seed ${options.seed}\n`,
      );
    });
  shared(data.command('phantom'), { count: 100, size: 512 })
    .description('write synthetic studies as a folder: images/*.png and reports.jsonl')
    .option('--lateral', 'a lateral view beside each PA view')
    .requiredOption('--out <directory>', 'folder to write')
    .action(async (options: Shared & { readonly lateral?: true }) => {
      await writePhantom(options.out, {
        ...drawing(options),
        count: options.count,
        views: options.lateral ? ['PA', 'lateral'] : ['PA'],
        onProgress: (done, total) => {
          if (done % 100 === 0 || done === total)
            process.stderr.write(`${done}/${total} studies\n`);
        },
      });
    });
}

function shared(
  command: Command,
  { count: studies, size }: { count: number; size: number },
): Command {
  return command
    .option('--seed <n>', 'seed; the same seed gives the same studies', wholeNumber, 1)
    .option('--count <n>', 'number of studies', count, studies)
    .option('--size <pixels>', 'edge length of the images, 32 to 2048', wholeNumber, size)
    .option(
      '--only <observation>',
      'show it in every study, and no other; may be repeated',
      only,
      [],
    )
    .option('--prevalence <observation=share>', 'e.g. Edema=0.3; may be repeated', prevalence, {})
    .option(
      '--uncertain <share>',
      'share of findings that are drawn faint and reported as uncertain',
      share,
      0.1,
    );
}

function drawing({ seed, size, only, prevalence, uncertain }: Shared): PhantomOptions {
  if (only.length === 0) return { seed, size, prevalence, uncertain };
  const chosen = observations.map((name) => [name, only.includes(name) ? 1 : 0]);
  return { seed, size, prevalence: Object.fromEntries(chosen), uncertain };
}

function observation(text: string): Observation {
  const found = observations.find((name) => name.toLowerCase() === text.trim().toLowerCase());
  if (!found) throw new InvalidArgumentError(`Expected one of: ${observations.join(', ')}.`);
  return found;
}

const only = (text: string, before: readonly Observation[]) => [...before, observation(text)];

function prevalence(text: string, before: Shared['prevalence']): Shared['prevalence'] {
  const [name = '', value = ''] = text.split('=');
  return { ...before, [observation(name)]: share(value) };
}
