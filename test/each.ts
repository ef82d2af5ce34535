/** Runs every test file by itself, one after the other: `npm run test:each -- [FILE...]`. */
import { spawn } from 'node:child_process';
import { globSync } from 'node:fs';
import { resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const ava = resolve(root, 'node_modules/ava/entrypoints/cli.js');
const given = process.argv.slice(2);
const files = given.length > 0 ? given : globSync('test/**/*.test.ts', { cwd: root }).sort();

/** Whether the file passes; writes what ava wrote where it does not. */
function passes(file: string): Promise<boolean> {
  const child = spawn(process.execPath, [ava, file], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  return new Promise((done) =>
    child.once('close', (code) => {
      if (code !== 0) process.stdout.write(output);
      done(code === 0);
    }),
  );
}

const failed: string[] = [];
for (const file of files) {
  const startMs = performance.now();
  const passed = await passes(file);
  if (!passed) failed.push(file);
  const seconds = ((performance.now() - startMs) / 1000).toFixed(0);
  process.stdout.write(`${passed ? 'passed' : 'FAILED'} ${file} in ${seconds} s\n`);
}
const list = failed.map((file) => `\n  ${file}`).join('');
process.stdout.write(
  `${files.length - failed.length} of ${files.length} files passed alone${list && `; failed:${list}`}\n`,
);
process.exitCode = failed.length > 0 ? 1 : 0;
