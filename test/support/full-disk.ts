import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ExecutionContext } from 'ava';
import { folderOf } from './releases.ts';

const run = promisify(execFile);

/**
 * Runs a module with `disk`, a file system of `bytes` in a mount namespace of its own, and gives what it
 * prints, as JSON. Gives undefined where this system lets nobody mount.
 */
export async function onSmallDisk(
  t: ExecutionContext<unknown>,
  bytes: number,
  module: (disk: string) => string,
): Promise<unknown> {
  const folder = await folderOf(t);
  const disk = await folderOf(t);
  const script = join(folder, 'script.mts');
  await writeFile(script, module(disk));
  const mount = `mount -t tmpfs -o size=${bytes} none "$0" || exit 77; exec "$1" "$2"`;
  try {
    const shell = ['-rm', 'sh', '-c', mount, disk, process.execPath, script];
    const { stdout } = await run('unshare', shell);
    return JSON.parse(stdout) as unknown;
  } catch (error) {
    const { code, stderr = '' } = error as { code?: unknown; stderr?: string };
    if (code === 77 || code === 'ENOENT' || stderr.startsWith('unshare:')) return undefined;
    throw error;
  }
}
