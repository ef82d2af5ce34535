import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Mutation } from './mutations.ts';

export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const ava = join(root, 'node_modules/ava/entrypoints/cli.js');
const hook = new URL('hook.ts', import.meta.url).href;
/** Of what a run prints, the end is kept. */
const keptCharacters = 4000;

export interface TestRun {
  readonly outcome: 'passed' | 'failed' | 'timed out';
  readonly durationMs: number;
  /** Source files that its processes loaded; none for a mutated run. */
  readonly loaded: readonly string[];
  /** The mutated file was loaded, and the mutation with it. */
  readonly applied: boolean;
  readonly output: string;
}

let folderOfRun: string | undefined;

/** Ends what a run may have left when the runner itself is ended. */
process.once('exit', () => {
  if (folderOfRun !== undefined) endRun(folderOfRun, undefined);
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

/** Runs one test file up to its first failure, or for `limitMs`. No process of it is left after. */
export async function runTest(
  test: string,
  mutation: Mutation | undefined,
  limitMs: number | undefined,
): Promise<TestRun> {
  const folder = mkdtempSync(join(tmpdir(), 'mutants-'));
  folderOfRun = folder;
  const startMs = performance.now();
  const child = spawn(process.execPath, [ava, '--fail-fast', '--no-color', test], {
    cwd: root,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      NODE_OPTIONS: `--import=${hook}`,
      NODE_COMPILE_CACHE: '',
      TMPDIR: folder,
      MUTANTS_FOLDER: folder,
      MUTANTS_RUNNER: String(process.pid),
      MUTANTS_MUTATION: JSON.stringify(mutation ?? null),
    },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (part: Buffer) => {
      output = (output + part.toString()).slice(-keptCharacters);
    });
  let timedOut = false;
  const expire = () => {
    timedOut = true;
    endRun(folder, child.pid);
  };
  const timer = limitMs === undefined ? undefined : setTimeout(expire, limitMs);
  const code = await new Promise<number | null>((resolve) => child.once('exit', resolve));
  clearTimeout(timer);
  const durationMs = performance.now() - startMs;
  const list = join(folder, 'loaded');
  const loaded = existsSync(list) ? readFileSync(list, 'utf8').trim().split('\n') : [];
  const applied = existsSync(join(folder, 'applied'));
  if (existsSync(join(folder, 'misfit'))) throw new Error(`${mutation?.file} changed meanwhile`);
  endRun(folder, child.pid);
  const outcome = timedOut ? 'timed out' : code === 0 ? 'passed' : 'failed';
  return { outcome, durationMs, loaded: [...new Set(loaded)].sort(), applied, output };
}

/** Kills every process of a run and removes its folder. */
function endRun(folder: string, pid: number | undefined): void {
  if (pid !== undefined) kill(-pid);
  // A service has a process group of its own: it is known by its environment.
  for (const name of existsSync('/proc') ? readdirSync('/proc') : [])
    if (/^\d+$/.test(name) && environmentOf(name).includes(`MUTANTS_FOLDER=${folder}\0`))
      kill(Number(name));
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  folderOfRun = undefined;
}

function environmentOf(pid: string): string {
  try {
    return `${readFileSync(`/proc/${pid}/environ`, 'latin1')}\0`;
  } catch {
    return '';
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}
