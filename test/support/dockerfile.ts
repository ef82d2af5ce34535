import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

export interface Stage {
  readonly name: string;
  readonly from: string;
  readonly steps: readonly (readonly [keyword: string, rest: string])[];
}

/** The stages of a Dockerfile, with arguments of the head put in. */
export function readStages(text: string): Stage[] {
  const lines = text
    .split('\n')
    .filter((line) => !line.startsWith('#'))
    .join('\n')
    .replaceAll(/\\\n/g, ' ')
    .split('\n')
    .filter((line) => line.trim() !== '');
  const defaults = new Map<string, string>();
  const stages: { name: string; from: string; steps: [string, string][] }[] = [];
  for (const line of lines) {
    const [, keyword = '', rest = ''] = /^(\w+)\s+(.*)$/.exec(line) ?? [];
    const stage = stages.at(-1);
    if (keyword === 'FROM') {
      const [from = '', , name = ''] = rest.split(/\s+/);
      stages.push({
        name,
        from: from.replace(/^\$\{(\w+)\}$/, (_, arg: string) => defaults.get(arg) ?? ''),
        steps: [],
      });
    } else if (stage) stage.steps.push([keyword, rest]);
    else if (keyword === 'ARG') {
      const [name = '', value = ''] = rest.split('=');
      defaults.set(name, value);
    }
  }
  return stages;
}

const run = promisify(execFile);

/** `-al` makes hard links: a folder of packages has thousands of files. */
const copy = (from: string, to: string, how: '-a' | '-al') => run('cp', [how, from, to]);

/** Whether npm failed because it can get no packages: no network, and no cache that this user may use. */
export const lacksPackages = (error: unknown): boolean =>
  /npm (error|ERR!) code (EACCES|EROFS|ENOTCACHED|ENOTFOUND|EAI_AGAIN|ECONN|ETIMEDOUT|ENETUN)/.test(
    (error as { readonly stderr?: string }).stderr ?? '',
  );

/**
 * Takes the steps of a stage in folders instead of images: each stage's /app is a folder of its own. Base
 * images are this machine. npm keeps its own cache, or every run would download everything anew.
 */
export async function takeSteps(
  stages: readonly Stage[],
  name: string,
  { source, folder }: { readonly source: string; readonly folder: string },
): Promise<string> {
  const stage = stages.find((one) => one.name === name);
  const app = path.join(folder, name);
  // Taken already, for another stage that builds on it.
  if (!stage || existsSync(app)) return app;
  const parent = await takeSteps(stages, stage.from, { source, folder });
  await mkdir(app, { recursive: true });
  if (stages.some((one) => one.name === stage.from && one.steps.length > 0))
    await copy(`${parent}/.`, app, '-al');
  for (const [keyword, rest] of stage.steps) {
    if (keyword === 'COPY') {
      const [, from, files = rest] = /^--from=(\S+)\s+(.*)$/.exec(rest) ?? [];
      const names = files.split(/\s+/);
      const target = names.pop() ?? '';
      const other = from === undefined ? source : await takeSteps(stages, from, { source, folder });
      for (const file of names) {
        const to = path.join(app, target.endsWith('/') ? path.join(target, file) : target);
        const given = path.join(other, file.replace(/^\/app\//, ''));
        const isFolder = (await stat(given)).isDirectory();
        await mkdir(isFolder ? to : path.dirname(to), { recursive: true });
        await copy(isFolder ? `${given}/.` : given, to, from === undefined ? '-a' : '-al');
      }
    }
    if (keyword === 'RUN') {
      const command = rest.replace('--cache /tmp/npm', '--prefer-offline');
      try {
        await run('sh', ['-ec', command], { cwd: app, maxBuffer: 2 ** 26 });
      } catch (error) {
        await rm(app, { recursive: true, force: true });
        throw error;
      }
    }
  }
  return app;
}
