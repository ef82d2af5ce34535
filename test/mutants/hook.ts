import { ChildProcess } from 'node:child_process';
import { appendFileSync, writeFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';
import type { Mutation } from './mutations.ts';

/**
 * Loaded into every process and thread of a run through NODE_OPTIONS. Applies the one mutation as its
 * file is loaded, so that no file changes, and writes down which files are loaded.
 */

/** Environment of a run: its folder, and the mutation as JSON; none for an unmutated run. */
const folder = process.env['MUTANTS_FOLDER'] ?? '';
const mutation = JSON.parse(process.env['MUTANTS_MUTATION'] ?? 'null') as Mutation | null;

const root = join(import.meta.dirname, '../..');
const inherited = [
  'NODE_OPTIONS',
  'MUTANTS_FOLDER',
  'MUTANTS_MUTATION',
  'MUTANTS_RUNNER',
  'TMPDIR',
] as const;

/** Nothing outlives the runner, not even one that was killed. */
if (isMainThread)
  setInterval(() => {
    try {
      process.kill(Number(process.env['MUTANTS_RUNNER']), 0);
    } catch {
      process.kill(process.pid, 'SIGKILL');
    }
  }, 1000).unref();

/** Node's way to start any child; tests and the local cluster give children a whole environment. */
interface Starting {
  spawn: (this: unknown, options: { envPairs?: string[] }) => unknown;
}
const starting = ChildProcess.prototype as unknown as Starting;
const { spawn } = starting;
starting.spawn = function spawnHooked(options) {
  const pairs = options.envPairs ?? [];
  for (const name of inherited)
    if (!pairs.some((pair) => pair.startsWith(`${name}=`)))
      pairs.push(`${name}=${process.env[name] ?? ''}`);
  options.envPairs = pairs;
  return spawn.call(this, options);
};

registerHooks({
  load(url, context, nextLoad) {
    const result = nextLoad(url, context);
    if (!url.startsWith('file:')) return result;
    const path = fileURLToPath(url);
    if (!path.startsWith(`${root}/`) || path.includes('/node_modules/')) return result;
    const file = path.slice(root.length + 1);
    if (!mutation) appendFileSync(join(folder, 'loaded'), `${file}\n`);
    if (file !== mutation?.file) return result;
    const source = Buffer.from(result.source as Uint8Array).toString();
    const { start, end, original, replacement } = mutation;
    const fits = source.slice(start, end) === original;
    writeFileSync(join(folder, fits ? 'applied' : 'misfit'), '');
    return { ...result, source: source.slice(0, start) + replacement + source.slice(end) };
  },
});
