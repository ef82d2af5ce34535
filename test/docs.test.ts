import { existsSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import test from 'ava';
import { generated, placeOf } from '../docs/generate.ts';
import { importTable } from '../oxlint.config.ts';

test('the references, the import table and the diagram are those that their sources give', async (t) => {
  for (const [file, text] of await generated()) {
    t.is(await readFile(placeOf(file), 'utf8'), text, `${file} is stale: npm run docs`);
  }
});

test('the architecture says of every module what it holds', async (t) => {
  const text = await readFile(placeOf('docs/architecture.md'), 'utf8');
  const rows = [...text.matchAll(/^\| `([a-z/]+)` +\| \S/gm)].map(([, module = '']) => module);
  t.deepEqual(new Set(rows), new Set(Object.keys(importTable)));
  t.is(rows.length, new Set(rows).size);
});

/** Every page that people read, by its path from the repository's root. */
async function pages(): Promise<readonly string[]> {
  const found: string[] = [];
  for (const folder of ['', '.github', 'docs', 'deploy']) {
    const recursive = folder !== '';
    for (const name of await readdir(placeOf(folder || '.'), { recursive })) {
      if (name.endsWith('.md')) found.push(path.join(folder, name));
    }
  }
  return found;
}

test('every link from one page of the repository to another file leads somewhere', async (t) => {
  for (const page of await pages()) {
    const text = await readFile(placeOf(page), 'utf8');
    for (const [, target = ''] of text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)) {
      t.true(existsSync(path.join(path.dirname(placeOf(page)), target)), `${page}: ${target}`);
    }
  }
});

test('every `npm run` command that a page names exists', async (t) => {
  const { scripts } = JSON.parse(await readFile(placeOf('package.json'), 'utf8')) as {
    readonly scripts: Readonly<Record<string, string>>;
  };
  for (const page of await pages()) {
    const text = await readFile(placeOf(page), 'utf8');
    for (const [, name = ''] of text.matchAll(/npm run ([a-z]+)/g)) {
      t.true(name in scripts, `${page}: npm run ${name}`);
    }
  }
});
