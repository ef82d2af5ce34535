import { execFile } from 'node:child_process';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Command } from 'commander';
import { DomainError } from '../lib/errors.ts';
import { registerReleases } from '../cli/commands/releases.ts';
import { fakeRelease, folderOf } from './support/releases.ts';

/** Runs `radscribe releases …` in this process, on a store in a fresh folder; gives what it printed. */
async function commandLine(t: ExecutionContext) {
  const root = await folderOf(t);
  const store = join(root, 'store');
  const releases = async (...args: readonly string[]): Promise<string> => {
    const program = new Command().exitOverride();
    registerReleases(program);
    const printed: string[] = [];
    const write = process.stdout.write.bind(process.stdout);
    process.stdout.write = (text: string | Uint8Array) => {
      printed.push(String(text));
      return true;
    };
    try {
      await program.parseAsync(['releases', ...args, '--store', store], { from: 'user' });
    } finally {
      process.stdout.write = write;
    }
    return printed.join('');
  };
  const json = async (...args: readonly string[]) =>
    JSON.parse(await releases(...args, '--json')) as Record<string, unknown>;
  return { root, store, releases, json };
}

test.serial(
  'releases are imported, listed, promoted, rolled back, exported and cleared away',
  async (t) => {
    const { root, releases, json } = await commandLine(t);
    const [a, b] = [await fakeRelease(join(root, 'a'), 1), await fakeRelease(join(root, 'b'), 2)];
    t.deepEqual(await json('import', join(root, 'a')), { releases: [a.id] });
    await releases('import', join(root, 'b'));
    t.like(await json('promote', 'stable', a.id), { release: a.id, generation: 1 });
    t.like(await json('promote', 'stable', b.id, '--expect', '1'), { generation: 2 });
    const late = releases('promote', 'stable', a.id, '--expect', '1');
    await t.throwsAsync(late, { instanceOf: DomainError, message: /stable was moved by another/ });
    t.is(await releases('rollback', 'stable'), `stable serves ${a.id} again, generation 3\n`);
    const worse = await fakeRelease(join(root, 'worse'), 3, { microF1: 0.5 });
    await releases('import', join(root, 'worse'));
    await t.throwsAsync(releases('promote', 'stable', worse.id), {
      message: /is 0.5000, worse than 0.8123 of/,
    });
    t.like(await json('promote', 'other', worse.id, '--force'), { release: worse.id });
    await releases('tag', 'v1', b.id);
    const listed = await releases('list');
    t.regex(listed, new RegExp(`${a.id} .*vit-label .* stable\n`));
    t.regex(listed, new RegExp(`${b.id} .*tag v1\n`));
    t.regex(await releases('show', 'v1'), /microF1 +0.812 \(0.780..0.840\) +0.300/);
    t.regex(await releases('verify', 'stable'), /10 files, .* all as released/);
    t.regex(await releases('history', 'stable'), /^generation .*\n +3 .*rollback/);
    t.like(await json('export', 'v1', join(root, 'out')), { release: b.id });
    t.is((await readdir(join(root, 'out'))).length, 11);
    t.like(await json('gc', '--min-age', '0', '--keep', '0'), { removed: [] });
  },
);

test.serial('a release with a damaged part is promoted by nobody, even by force', async (t) => {
  const { root, store, releases, json } = await commandLine(t);
  const [good, bad] = [
    await fakeRelease(join(root, 'good'), 1),
    await fakeRelease(join(root, 'bad'), 2),
  ];
  for (const name of ['good', 'bad']) await releases('import', join(root, name));
  await releases('promote', 'stable', good.id);
  const part = join(store, 'releases', bad.id, 'labeler.safetensors');
  const bytes = await readFile(part);
  bytes[bytes.length - 1]! ^= 1;
  await writeFile(part, bytes);
  for (const how of [[], ['--force']]) {
    await t.throwsAsync(releases('promote', 'stable', bad.id, ...how), {
      message: /labeler\.safetensors/,
    });
  }
  t.like(await json('show', 'stable'), { id: good.id });
});

test.serial(
  'a wrong name or an unknown store ends with a line on stderr and exit code 2',
  async (t) => {
    const { root, store, releases } = await commandLine(t);
    t.regex(await releases('list'), /^file:.* holds no releases\n$/);
    await t.throwsAsync(releases('import', root), { message: /holds no release.json/ });
    const cli = new URL('../cli/main.ts', import.meta.url).pathname;
    const { promise, resolve } = Promise.withResolvers<[unknown, string]>();
    execFile(
      process.execPath,
      [cli, 'releases', 'show', 'no', '--store', store],
      (error, _, stderr) => {
        resolve([error?.code, stderr]);
      },
    );
    const [code, stderr] = await promise;
    t.is(code, 2);
    t.regex(stderr, /^radscribe: store file:.* has no release, tag or channel no\n/);
  },
);
