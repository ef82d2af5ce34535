import { readFile, readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { agrees } from './support/golden/compare.ts';
import { checkGolden } from './support/golden/kinds.ts';

/**
 * `npm run golden -- DIR`: checks every golden file below DIR (default: test/golden), a line per
 * comparison: file, what, relative error, tolerance, ok or not.
 */
const folder = process.argv[2] ?? new URL('golden', import.meta.url).pathname;
const entries = await readdir(folder, { recursive: true, withFileTypes: true });
const files = entries
  .filter((entry) => entry.isFile() && entry.name.endsWith('.json'))
  .map(({ parentPath, name }) => join(parentPath, name))
  .sort();

const counts = { ok: 0, wrong: 0 };
const report = (file: string, what: string, figures: string, ok: boolean): void => {
  counts[ok ? 'ok' : 'wrong']++;
  process.stdout.write(`${relative(folder, file)}  ${what}  ${figures}  ${ok ? 'ok' : 'NOT OK'}\n`);
};
for (const file of files) {
  try {
    const golden = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
    for (const comparison of await checkGolden(golden)) {
      const { what, error, tolerance } = comparison;
      report(file, what, `${error.toExponential(1)} (${tolerance})`, agrees(comparison));
    }
  } catch (error) {
    report(file, error instanceof Error ? error.message : String(error), 'failed', false);
  }
}
process.stdout.write(`${files.length} files: ${counts.ok} ok, ${counts.wrong} not ok\n`);
if (counts.wrong > 0 || files.length === 0) process.exitCode = 1;
